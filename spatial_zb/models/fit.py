"""``Fit``, the frozen result of every single-equation estimate, and the statistics common to all estimates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.arguments import alpha_of, renamed
from spatial_zb.base.notes import FitWords, Note, fit_words
from spatial_zb.base.printing import Drawn, shown_in_html
from spatial_zb.base.results import Degrees, coefficient_table
from spatial_zb.base.text import Text
from spatial_zb.core.clusters import Clusters, bartlett_law
from spatial_zb.core.likelihood.covariance import bartlett_bandwidth
from spatial_zb.core.transforms import demean
from spatial_zb.core.unit_rows import RowClusters
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import Design
from spatial_zb.models.spec import CLUSTERED, Convergence, Covariance, DurbinSpec, Estimator
from spatial_zb.weights.matrix import Weights

#: Columns of maketables for ours.
MAKETABLES = {
    "estimate": "b",
    "std_error": "se",
    "statistic": "t",
    "p_value": "p",
    "conf_low": "ci95l",
    "conf_high": "ci95u",
}
#: Statistics of maketables that have another name in ``glance()``.
STATISTICS = {"N": "nobs", "ll": "log_likelihood"}
#: Numbers of ``glance()`` that only a solution has.
OF_THE_SOLUTION = ("log_likelihood", "aic", "bic", "sigma2", "r2_within")
NOT_CONVERGED = "n.c. — NOT CONVERGED, or at the end of the admissible region: no estimate is claimed."
#: What maketables calls each kind of fixed effects, joined by plus signs.
FIXED_EFFECTS = {"unit": "unit", "time": "time", "two_way": "unit+time"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimates(Drawn, ABC):
    """The record that a single-equation fit and a system share.

    Attributes
    ----------
    params, cov
        Estimates by name and their covariance; NaN where no standard error can be claimed.
    covariance
        Which covariance it is.
    log_likelihood
        With all constants; NaN where the estimator has none.
    residuals
        ε̂, periods first.
    df_resid
        Degrees of freedom of Student's t; None where statistics are standard normal.
    clusters
        What CR2 needs of every unit: statistics then have degrees of freedom of their own, see :meth:`degrees`.
    convergence
        How the estimate was reached.
    notes
        What a reader of the estimates should know, as it was warned of.

    Notes
    -----
    ``maketables.ETable`` reads a record by its attributes ``__maketables_…__``, unless it has ``pvalues`` as well: it
    then reads it by the names of statsmodels, which know coefficients by one name each.
    """

    #: What names a coefficient.
    KEYS: ClassVar[tuple[str, ...]] = ("term",)
    pictures = ("effects", "coefficients", "map")

    design: Any
    covariance: str
    params: pd.Series
    cov: pd.DataFrame
    log_likelihood: float
    nobs: int
    residuals: NDArray[np.float64]
    df_resid: int | None = None
    clusters: Clusters | RowClusters | None = None
    convergence: Convergence
    notes: tuple[Note, ...] = ()

    @property
    def panel(self) -> Panel:
        """The periods that are explained, and all units."""
        return self.design.panel

    @property
    def weights(self) -> Weights:
        """W, in the order of the units of the panel."""
        return self.design.weights

    @property
    def facts(self) -> dict[str, Any]:
        """What a table that is made from the estimates is of, for its ``glance()``."""
        size = {"n_units": len(self.panel.units), "n_periods": len(self.panel.periods)}
        return {"fixed_effects": self.design.spec.fixed_effects, "weights": self.weights.label} | size

    @property
    @abstractmethod
    def subject(self) -> FitWords:
        """What a note about it is about."""

    @property
    def converged(self) -> bool:
        """False when the likelihood has no interior maximum, or its information is not positive definite."""
        return self.convergence.converged

    @property
    def bse(self) -> pd.Series:
        """Standard errors; NaN where none is claimed, as in :meth:`tidy`."""
        errors = pd.Series(np.sqrt(np.diag(self.cov)), index=self.params.index, name="std_error")
        df = self.degrees(np.eye(len(errors)))
        return errors.mask(np.isnan(df)) if isinstance(df, np.ndarray) else errors

    @property
    def claimed(self) -> pd.Series:
        """Estimates that a table may print: :attr:`params`, NaN where the fit did not converge."""
        return self.params if self.converged else self.params * np.nan

    @property
    def tvalues(self) -> pd.Series:
        """Estimates over standard errors."""
        return self.claimed / self.bse

    @property
    def llf(self) -> float:
        """Log-likelihood."""
        return self.log_likelihood

    @property
    def n_parameters(self) -> int:
        """Number of parameters, as the information criteria count them."""
        return len(self.params)

    @property
    def aic(self) -> float:
        """−2 ln L + 2 × number of parameters; NaN without a likelihood or its maximum."""
        return -2 * self.log_likelihood + 2 * self.n_parameters if self.converged else np.nan

    @property
    def bic(self) -> float:
        """−2 ln L + ln(N) × number of parameters; NaN without a likelihood or its maximum."""
        return -2 * self.log_likelihood + np.log(self.nobs) * self.n_parameters if self.converged else np.nan

    @property
    def resid(self) -> NDArray[np.float64]:
        """Residuals, periods first."""
        return self.residuals

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Confidence limits at level 1 − alpha, as statsmodels names it."""
        return self._table(alpha)[["conf_low", "conf_high"]]

    @renamed(alpha="level")
    def tidy(self, *, level: float = 0.95) -> pd.DataFrame:
        """One row per coefficient: its name, estimate, std_error, statistic, p_value, conf_low, conf_high.

        NaN where the fit did not converge; ``params`` has where it stopped.
        """
        return self._table(alpha_of(level)).reset_index()

    @abstractmethod
    def glance(self) -> pd.DataFrame:
        """The estimation in one row; NaN for what only a solution has where the fit did not converge."""

    @abstractmethod
    def summary(self) -> str:
        """The estimation as text."""

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        head, notes = self.summary().partition("\n\n")[0], [note.text.en for note in self.notes]
        return shown_in_html(type(self).__name__, head, self.tidy(), notes)

    def _keys(self) -> list[tuple[str, ...]]:
        return [key if isinstance(key, tuple) else (key,) for key in self.params.index]

    def degrees(self, gradient: NDArray[np.float64]) -> Degrees:
        """Degrees of freedom of functions of the parameters, from their gradients (…, p) in the order of ``params``.

        Of clustered errors an array (…): those of Bell & McCaffrey under CR2, in which λ and variances have no part, and
        clusters less one under CR1. Laws of few periods (Driscoll-Kraay) or of a kernel (Conley). Else ``df_resid``.
        """
        if self.covariance == "driscoll_kraay":
            periods, lags = len(self.panel.periods), self.convergence.bandwidth
            return bartlett_law(periods, bartlett_bandwidth(periods) if lags is None else lags)
        if self.convergence.kernel is not None:
            return self.convergence.kernel.law
        if self.clusters is None:
            shared = self.df_resid is not None and self.covariance in CLUSTERED
            return np.full(gradient.shape[:-1], float(self.df_resid or 0)) if shared else self.df_resid
        return self.clusters.degrees(gradient[..., : self.clusters.back.shape[1]])

    @property
    def _degrees_facts(self) -> dict[str, float]:
        """``df_min`` and ``df_max`` of the coefficients under clustered errors; NaN without."""
        found = self.degrees(np.eye(len(self.params)))
        if not isinstance(found, np.ndarray):
            return {"df_min": np.nan, "df_max": np.nan}
        if self.clusters is not None and self.clusters.back.shape[1]:
            found = found[: self.clusters.back.shape[1]]
        return {"df_min": float(found.min()), "df_max": float(found.max())}

    @property
    def _law(self) -> list[str]:
        """By which law statistics are judged, as a line of ``summary()``; nothing of the normal one."""
        if self.clusters is not None:
            return ["CR2 errors; Student's t with df (Bell-McCaffrey) by estimate"]
        return [] if self.df_resid is None else [f"Student's t with {self.df_resid} degrees of freedom"]

    def _table(self, alpha: float = 0.05) -> pd.DataFrame:
        table = coefficient_table(self.claimed, self.bse, alpha, self.degrees(np.eye(len(self.params))))
        return table.rename_axis(list(self.KEYS))

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        names = pd.Index([_one_name(*key) for key in self._keys()], name="Coefficient")
        return self._table().rename(columns=MAKETABLES).set_axis(names)

    def __maketables_stat__(self, key: str) -> Any:
        return self.glance().iloc[0].get(STATISTICS.get(key, key))

    @property
    def __maketables_depvar__(self) -> str:
        return str(self.glance().iloc[0].get("y", "system"))

    @property
    def __maketables_fixef_string__(self) -> str | None:
        return FIXED_EFFECTS.get(self.glance()["fixed_effects"].iloc[0])

    @property
    def __maketables_var_labels__(self) -> dict[str, str]:
        words = {name: self.panel.label(name).en for name in self.panel.columns}
        words |= {f"W_{name}": f"W × {word}" for name, word in words.items()}
        terms = {_one_name(*key): _one_name(*key[:-1], words.get(key[-1], key[-1])) for key in self._keys()}
        return words | terms

    @property
    def __maketables_vcov_info__(self) -> dict[str, Any]:
        return {"vcov_type": self.covariance, "clustervar": "unit" if self.covariance in CLUSTERED else None}

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        return {"n_units": "Units", "n_periods": "Periods", "weights": "W", "estimator": "Estimator"}

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        return ["N", "n_units", "n_periods", "weights", "r2_within", "ll", "aic"]


def term_index(terms: tuple[str, ...]) -> pd.Index:
    """The index of these coefficients: a view of one that is made once, since most models share a few."""
    return _term_index(terms).view()


@lru_cache(maxsize=256)
def _term_index(terms: tuple[str, ...]) -> pd.Index:
    return pd.Index(terms, name="term")


def _one_name(*key: str) -> str:
    """One name of a coefficient where tables know no equations: the term, and the equation in brackets."""
    *equation, term = key
    return f"{term} ({equation[0]})" if equation else term


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit(Estimates):
    """An estimated single-equation model.

    Attributes
    ----------
    design
        The model, its panel and W, and their arrays: what was estimated.
    params, cov
        Estimates by term (x, ``W_x``, ``rho``, ``lam``, ``sigma2``, and ``phi`` = σ²_μ/σ²_ε with random
        effects) and their covariance; NaN where no standard error can be claimed.
    estimator
        ``"lee_yu"``, ``"direct"``, ``"gmm"``, ``"yang"`` or ``"uncorrected"`` as asked; ``"ml"`` with random effects,
        ``"adjusted_score"`` for panels of other shapes (:mod:`spatial_zb.models.shape`).
    log_likelihood
        With all constants; under ``lee_yu`` that of the transformed data, with lags in time at its maximum before the
        correction; NaN with ``gmm``, and with regimes under two-way effects.
    residuals
        (T, n) ε̂ after the fixed-effects transform; with random effects, after the best linear prediction of
        the unit effects.
    """

    design: Design
    estimator: Estimator | Literal["ml", "adjusted_score"]
    covariance: Covariance
    absorbed: int

    @property
    def spec(self) -> DurbinSpec:
        """The model as it was asked for."""
        return self.design.spec

    @property
    def estimator_asked(self) -> Estimator:
        """Estimator to give ``fit_durbin`` to fit the same again: the default for random effects and any shape."""
        if self.estimator == "ml" or self.estimator == "adjusted_score":
            return "lee_yu"
        return self.estimator

    @property
    def subject(self) -> FitWords:
        """What a note about the fit is about: ``SDM of 'y' by GMM under 'queen'``."""
        made = {
            "gmm": Text("by GMM", "GMM"),
            "robust_score": Text("by the robust score", "稳健得分"),
            "ml": Text("with random effects", "随机效应"),
            "adjusted_score": Text("by the adjusted score", "调整得分"),
        }
        return fit_words(self.spec.title, self.spec.y, self.weights.label, made.get(self.estimator))

    def __repr__(self) -> str:
        state = "" if self.converged else ", n.c."
        what = f"{self.spec.title} of {self.spec.y!r}, {self.spec.fixed_effects} effects"
        return f"Fit({what}, {self.weights.label!r}{state})"

    @property
    def sigma2(self) -> float:
        """Variance of ε."""
        return float(self.params["sigma2"])

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values, standard normal (Student's t where least squares gave the estimate)."""
        return self._table()["p_value"]

    @property
    def endog_names(self) -> str:
        """Name of y, as statsmodels calls it."""
        return self.spec.y

    @property
    def cov_type(self) -> str:
        """Which covariance it is, as statsmodels calls it."""
        return self.covariance

    @property
    def r2_within(self) -> float:
        """1 − ε'ε / y'y after the transform; from unit means (mean) with random (without any) effects."""
        if not self.converged:
            return np.nan
        y, residuals = self.design.y, self.residuals
        if self.spec.fixed_effects == "none":
            y = y - np.nanmean(y)
        if self.spec.fixed_effects == "random":
            y, residuals = demean(y, "unit"), demean(residuals, "unit")
        return float(1 - np.nansum(residuals**2) / np.nansum(y**2))  # NaN where a shape has no row

    @property
    def least_squares_df(self) -> int | None:
        """Residual degrees of freedom N − k of least squares, whose σ² and errors have them; None of other estimates."""
        spec = self.spec
        if spec.spatial_terms or spec.regimes or self.estimator in ("gmm", "ml"):
            return None
        return int(np.isfinite(self.residuals).sum()) - self.absorbed - len(spec.terms)

    @property
    def n_parameters(self) -> int:
        """Coefficients and variances; with ``direct``, the effects are parameters too."""
        return len(self.params) + (self.absorbed if self.estimator == "direct" else 0)

    @property
    def bias_correction(self) -> bool:
        """Whether the moments of ``gmm`` are less the bias of many instruments (Liu & Lee 2010)."""
        return self.estimator == "gmm" and bool(self.convergence.corrected)

    @property
    def asked(self) -> dict[str, Any]:
        """Options of the call beside estimator and covariance, to estimate again."""
        record = self.convergence
        more: dict[str, Any] = {} if record.bandwidth is None else {"bandwidth": record.bandwidth}
        if self.estimator == "gmm":
            more = {"powers": record.powers, "bias_correction": self.bias_correction}
        return self.design.own_lags | more

    @property
    def facts(self) -> dict[str, Any]:
        """What a table that is made from the fit is of."""
        return {"y": self.spec.y, "estimator": self.estimator} | super().facts

    def glance(self) -> pd.DataFrame:
        """The fit in one row."""
        row = {
            "model": self.spec.title,
            "y": self.spec.y,
            "fixed_effects": self.spec.fixed_effects,
            "estimator": self.estimator,
            "weights": "; ".join(
                [self.weights.label, *(f"{k}: {W.label}" for k, W in self.design.own_lags.items())]
            ),
            "normalisation": getattr(self.weights, "normalisation", "by period"),
            "covariance": self.covariance,
            **self._degrees_facts,
            "nobs": self.nobs,
            "n_units": len(self.panel.units),
            "n_periods": len(self.panel.periods),
            "log_likelihood": self.log_likelihood,
            "aic": self.aic,
            "bic": self.bic,
            "sigma2": self.sigma2,
            "r2_within": self.r2_within,
            "converged": self.converged,
        }
        row |= self.design.shape_facts
        row |= {"bias_correction": self.bias_correction} if self.estimator == "gmm" else {}
        return pd.DataFrame([row if self.converged else row | dict.fromkeys(OF_THE_SOLUTION, np.nan)])

    def summary(self) -> str:
        """The fit as text, for a terminal."""
        head = self.glance().iloc[0]
        known = np.isfinite(self.log_likelihood)  # not by moments or a score
        likelihood = f"ln L = {self.log_likelihood:.4f}   AIC = {self.aic:.2f}   " if known else ""
        several = head["n_periods"] > 1
        effects = f"effects: {head['fixed_effects']}   " if several else ""
        size = f"{head['n_units']} units × {head['n_periods']} periods, " if several else ""
        plain = not several and self.estimator in ("lee_yu", "direct")  # nothing is transformed in one period
        lines = [
            f"{head['model']} of {self.spec.y}   {effects}W: {head['weights']} ({head['normalisation']})",
            f"estimator: {'ml' if plain else head['estimator']}   covariance: {head['covariance']}   "
            f"{size}{head['nobs']} observations",
        ]
        if self.converged:
            lines.append(f"{likelihood}{'within ' if several else ''}R² = {self.r2_within:.4f}")
        if "reason" in head:
            how = "rows as they are" if self.estimator == "gmm" else "adjusted score"
            share = f"{head['rows']} rows, {head['present']:.0%} of the panel"
            lines.append(f"{how}, since {head['reason']}: {share}")
        if self.bias_correction:
            lines.append("moments less the bias of many instruments (Liu & Lee 2010)")
        lines += self._law
        if not self.converged:
            lines.append(NOT_CONVERGED)
        body = self.tidy().to_string(index=False, float_format=lambda v: f"{v: .5f}")
        return "\n".join([*lines, "", body])
