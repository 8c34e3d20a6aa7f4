"""What every estimation has in common: estimates with a covariance, and the words by which they are read."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from spatial_zb.arguments import check_alpha
from spatial_zb.data.panel import Panel
from spatial_zb.weights.matrix import Weights

__all__ = ["TABLE_COLUMNS", "Estimates", "coefficient_columns", "coefficient_table", "term_index"]

TABLE_COLUMNS = pd.Index(["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"])

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
#: What maketables calls each kind of fixed effects, joined by plus signs.
FIXED_EFFECTS = {"unit": "unit", "time": "time", "two_way": "unit+time"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimates(ABC):
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
    convergence
        ``converged`` and what else the estimator has to say.

    Notes
    -----
    ``maketables.ETable`` reads a record by its attributes ``__maketables_…__``, unless it has ``pvalues`` as well: it
    then reads it by the names of statsmodels, which know coefficients by one name each.
    """

    #: What names a coefficient.
    KEYS: ClassVar[tuple[str, ...]] = ("term",)

    weights: Weights
    panel: Panel
    covariance: str
    params: pd.Series
    cov: pd.DataFrame
    log_likelihood: float
    nobs: int
    residuals: NDArray[np.float64]
    df_resid: int | None = None
    convergence: Mapping[str, Any]

    @property
    def converged(self) -> bool:
        """False when the likelihood has no interior maximum, or its information is not positive definite."""
        return bool(self.convergence["converged"])

    @property
    def bse(self) -> pd.Series:
        """Standard errors."""
        return pd.Series(np.sqrt(np.diag(self.cov)), index=self.params.index, name="std_error")

    @property
    def tvalues(self) -> pd.Series:
        """Estimates over standard errors."""
        return self.params / self.bse

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
        """−2 ln L + 2 × number of parameters; NaN without a likelihood."""
        return -2 * self.log_likelihood + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """−2 ln L + ln(N) × number of parameters; NaN without a likelihood."""
        return -2 * self.log_likelihood + np.log(self.nobs) * self.n_parameters

    @property
    def resid(self) -> NDArray[np.float64]:
        """Residuals, periods first."""
        return self.residuals

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Confidence limits at level 1 − alpha."""
        return self._table(alpha)[["conf_low", "conf_high"]]

    def tidy(self, alpha: float = 0.05) -> pd.DataFrame:
        """One row per coefficient: its name, estimate, std_error, statistic, p_value, conf_low, conf_high."""
        return self._table(alpha).reset_index()

    @abstractmethod
    def glance(self) -> pd.DataFrame:
        """The estimation in one row."""

    @abstractmethod
    def summary(self) -> str:
        """The estimation as text."""

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"

    def _keys(self) -> list[tuple[str, ...]]:
        return [key if isinstance(key, tuple) else (key,) for key in self.params.index]

    def _table(self, alpha: float = 0.05) -> pd.DataFrame:
        table = coefficient_table(self.params, self.bse, alpha, self.df_resid)
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
        clustered = self.covariance == "cluster"
        return {"vcov_type": self.covariance, "clustervar": "unit" if clustered else None}

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


def coefficient_table(
    estimate: pd.Series, std_error: pd.Series, alpha: float = 0.05, df: int | None = None
) -> pd.DataFrame:
    """Statistic, two-sided p-value and limits from estimates and standard errors; NaN stays NaN."""
    numbers = coefficient_columns(estimate.to_numpy(float), std_error.to_numpy(float), alpha, df)
    return pd.DataFrame(numbers, index=estimate.index, columns=TABLE_COLUMNS)


def coefficient_columns(
    estimate: NDArray[np.float64], std_error: NDArray[np.float64], alpha: float, df: int | None = None
) -> NDArray[np.float64]:
    """The numbers of :func:`coefficient_table` (p, 6), from arrays (p,); normal, or Student's t with df."""
    check_alpha(alpha)
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = estimate / std_error
    if df is None:
        tail, quantile = special.ndtr(-np.abs(statistic)), -special.ndtri(alpha / 2)
    else:
        tail, quantile = special.stdtr(df, -np.abs(statistic)), -special.stdtrit(df, alpha / 2)
    half = quantile * std_error
    return np.column_stack([estimate, std_error, statistic, 2 * tail, estimate - half, estimate + half])
