"""Sets of the coefficients of one equation of a system that keep their level however weak the instruments are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import alpha_of
from spatial_zb.base.errors import SpecificationError, listed, listed_zh, not_one_of
from spatial_zb.base.printing import Printed
from spatial_zb.base.results import ConfidenceSet, coefficient_columns
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.core.system.sets import (
    CLUSTERS_PER_INSTRUMENT,
    Scalar,
    WeakMoments,
    lowest,
    scalar_pieces,
    weak_moments,
)
from spatial_zb.data.panel import Panel
from spatial_zb.models.design import check_kinds
from spatial_zb.models.system.design import SystemDesign, instrument_columns, system_design
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.models.system.spec import SystemSpec

TOTAL = "total:"
EVERYTHING = (-np.inf, np.inf)


@dataclass(frozen=True, eq=False, repr=False)
class ConfidenceSets(Printed):
    """Sets of the endogenous coefficients of one equation, and of the total effects that they give.

    Attributes
    ----------
    equation
        Its name.
    sets
        A :class:`~spatial_zb.base.results.ConfidenceSet` for each coefficient or total effect: ``pieces`` by the shorter
        statistic (plug-in), ``guaranteed`` by projection.
    wald
        With a fit of the system: its estimates and Wald limits of the same, by term; else None.
    facts
        The row of ``glance()``: instruments and clusters, ``weakest_f`` (F of the direction that the instruments say least
        of, in place of a first-stage F) with its p-value, J at the value that the data reject least, with its p-value, and
        ``bounded``: whether the joint set has bounds.
    """

    equation: str
    sets: tuple[ConfidenceSet, ...]
    facts: Mapping[str, Any]
    level: float
    moments: WeakMoments
    terms: tuple[str, ...]
    given: Mapping[str, float]
    wald: pd.DataFrame | None = None

    def __getitem__(self, term: str) -> ConfidenceSet:
        found = next((one for one in self.sets if one.term == term), None)
        if found is None:
            raise KeyError(term)
        return found

    def __iter__(self) -> Iterator[ConfidenceSet]:
        return iter(self.sets)

    def __len__(self) -> int:
        return len(self.sets)

    def test(self, **values: float) -> float:
        """p-value of given values of all endogenous coefficients at once: the joint set holds those above 1 − level.

        Raises
        ------
        SpecificationError
            Not a value for each of ``terms``; values that were given already may be left out.
        """
        values = {**self.given, **values}
        if set(values) != set(self.terms):
            raise SpecificationError(
                f"A joint test of {self.equation!r} needs a value for each of {listed(self.terms)}; given are "
                f"{listed(values)}.",
                f"{self.equation!r}的联合检验须给出{listed_zh(self.terms)}各自的取值；给出的是{listed_zh(values)}。",
            )
        c = np.array([1.0, *(-values[term] for term in self.terms)])
        return self.moments.f(float(self.moments.value(c)))[1]

    def tidy(self) -> pd.DataFrame:
        """One row for each piece of a set: equation, term, ``set`` (plug-in or projection), estimate and limits.

        ``open_low`` and ``open_high`` say that the data do not bound it there (limits are then −∞ and ∞); limits of an
        empty set are NaN. Pieces follow each other in ascending order.
        """
        frames = [one.tidy() for one in self.sets]
        frame = pd.concat(frames, ignore_index=True)
        frame.insert(0, "equation", self.equation)
        return frame

    def glance(self) -> pd.DataFrame:
        """The equation in one row."""
        return pd.DataFrame([{"equation": self.equation, "level": self.level, **self.facts}])


@one_thread
def confidence_set(
    system: SystemSpec | SystemFit,
    panel: Panel | None = None,
    W: Any = None,
    *,
    equation: str,
    parameters: Sequence[str] | None = None,
    given: Mapping[str, float] | None = None,
    level: float = 0.95,
    instruments: Sequence[str] | None = None,
) -> ConfidenceSets:
    r"""All values of the coefficients of one equation that its instruments do not reject, however weak they are.

    y = Σ γ_l y_l + Σ ψ_l W y_l + Xβ + W Xθ + effects + u. Values of (γ, ψ) are rejected where instruments explain
    y − Σ γ_l y_l − Σ ψ_l W y_l, by a statistic that is clustered by unit with the null imposed. Nothing is assumed of
    the first stage; what the instruments do not say comes out as a set without bounds.

    Parameters
    ----------
    system, panel, W
        The specification with its data; or a fit of it alone, whose estimates and Wald limits are then beside the sets.
    equation
        Name of the equation.
    parameters
        Its endogenous terms (``"talent"``: γ; ``"W_talent"``: ψ), and ``"total:talent"``, the total effect
        (γ + ψ)/(1 − ψ_own) of talent on y while the other equations rest. By default all of them.
    given
        Values of endogenous terms that are taken as known, by term.
    level
        Confidence level of every set.
    instruments
        Excluded instruments to use, by name (``"ln_wage"``, ``"W_ln_wage"``, ``"W2_ln_wage"``). By default those of
        :func:`spatial_zb.fit_system`, with the highest powers of W left out until five clusters stand behind each.

    Returns
    -------
    ConfidenceSets: for each parameter the set by the plug-in statistic, and the one by projection, which is wider and whose
    level holds in any case. Measured in spatial-zb docs validation/sets.

    Raises
    ------
    SpecificationError
        An unknown equation, parameter or instrument; random effects, lags in time or a spatial error; fewer instruments
        than endogenous terms, or more than a fifth of the units; a total effect under a W whose rows do not sum to one.

    Notes
    -----
    Formulas and sources: :mod:`spatial_zb.core.system.sets`. An example is in spatial-zb docs sets.
    """
    fit = system if isinstance(system, SystemFit) else None
    if fit is not None:
        spec, panel, W = fit.spec, fit.panel, fit.weights
    else:
        check_kinds(system, SystemSpec, panel)
        assert isinstance(system, SystemSpec), "checked above"
        spec = system
    assert isinstance(panel, Panel), "checked above"
    alpha_of(level)
    _check_equation(spec, equation)
    needed = len(set(spec.equations[equation].endogenous_terms) - set(given or {}))
    design = _design(spec, panel, W, equation, needed, instruments)
    built, used = _moments(design, equation, needed, instruments)
    case = _Case(spec, equation, built, dict(given or {}), design.rows_sum_to_one)
    names = case.asked(parameters)
    wald = (
        None if fit is None else pd.DataFrame([_wald(fit, case, name, level) for name in names], index=names)
    )
    sets = tuple(case.scalar_set(name, level, wald) for name in names)
    facts = case.facts(level) | {"used": ", ".join(used)}
    return ConfidenceSets(equation, sets, facts, level, built, case.terms, case.given, wald)


def _check_equation(spec: SystemSpec, equation: str) -> None:
    if equation not in spec.names:
        raise not_one_of("equation", equation, tuple(spec.names))
    if spec.fixed_effects == "random" or spec.dynamic:
        raise SpecificationError(
            "Sets for weak instruments are for fixed effects or none, and no lags in time (which need no instruments: "
            'read fit.conf_int() of method="fiml").',
            "弱工具变量下的置信集用于固定效应或无效应、且不含时间滞后的系统"
            '（含时间滞后的系统不需要工具变量：请看method="fiml"的fit.conf_int()）。',
        )
    own = spec.equations[equation]
    if own.lag_error:
        raise SpecificationError(
            f"Equation {equation!r} has a spatial error, which ties the units that the statistic takes as independent: use "
            "lag_error=False for it.",
            f"方程{equation!r}含空间误差，各地区因而相关，而该统计量以地区间独立为前提：请设lag_error=False。",
        )
    if not own.endogenous_terms:
        raise SpecificationError(
            f"Equation {equation!r} has no endogenous regressor: its coefficients need no instruments. Read fit.conf_int().",
            f"方程{equation!r}没有内生解释变量，其系数不需要工具变量：请用fit.conf_int()。",
        )


def _excluded(design: SystemDesign, equation: str) -> tuple[str, ...]:
    """Names of the instruments that are not regressors of the equation."""
    own = {*design.spec.equations[equation].exogenous_terms, "(Intercept)"}
    return tuple(name for name in design.instruments if name not in own)


def _design(
    spec: SystemSpec,
    panel: Panel,
    W: Any,
    equation: str,
    needed: int,
    instruments: Sequence[str] | None,
) -> SystemDesign:
    """The system with as many powers of W among its instruments as its clusters can carry."""
    n, highest = len(panel.units), 2 * bool(spec.lags_endogenous)
    most = n // CLUSTERS_PER_INSTRUMENT
    if needed > most:
        raise SpecificationError(
            f"Equation {equation!r} has {needed} endogenous terms and needs as many instruments, of which {n} units "
            f"carry {most} (one for {CLUSTERS_PER_INSTRUMENT} units). Use {needed * CLUSTERS_PER_INSTRUMENT} units or more, "
            "or an equation with fewer spatial lags of endogenous variables.",
            f"方程{equation!r}有{needed}个内生项，至少需要同样多的工具变量；{n}个地区只能承载{most}个（每"
            f"{CLUSTERS_PER_INSTRUMENT}个地区一个）。请用至少{needed * CLUSTERS_PER_INSTRUMENT}个地区，"
            "或减少内生变量的空间滞后项。",
        )
    if instruments is not None:
        return system_design(spec, panel, W, max(highest, _power(instruments)), True)
    for powers in range(highest, -1, -1):
        design = system_design(spec, panel, W, powers, True)
        excluded = _excluded(design, equation)
        if len(excluded) <= most:
            break
    _check_count(design, equation, needed, excluded)
    return design


def _check_count(design: SystemDesign, equation: str, needed: int, used: tuple[str, ...]) -> None:
    """Refuse fewer instruments than endogenous terms, or more than a fifth of the units."""
    n, most = len(design.panel.units), len(design.panel.units) // CLUSTERS_PER_INSTRUMENT
    if needed <= len(used) <= most:
        return
    own = sorted(_excluded(design, equation), key=lambda name: name.startswith("W"))[:most]
    raise SpecificationError(
        f"{len(used)} instruments for {equation!r} ({listed(used)}): its {needed} endogenous terms need at least {needed}, "
        f"and {n} units carry at most {most}. Choose them before looking at results, for example instruments={own!r}.",
        f"{equation!r}有{len(used)}个工具变量（{listed_zh(used)}）：其{needed}个内生项至少需要{needed}个，"
        f"而{n}个地区至多承载{most}个。请在看到结果之前自行选定，例如instruments={own!r}。",
    )


def _power(names: Sequence[str]) -> int:
    """The highest power of W among names of instruments."""
    heads = [name.split("_", 1)[0][1:] for name in names if name.startswith("W") and "_" in name]
    return max((int(head or 1) for head in heads if not head or head.isdigit()), default=0)


def _moments(
    design: SystemDesign, equation: str, needed: int, instruments: Sequence[str] | None
) -> tuple[WeakMoments, tuple[str, ...]]:
    arrays, g = design.arrays, design.spec.names.index(equation)
    available = _excluded(design, equation)
    H, used = arrays.H, available
    if instruments is not None:
        used = tuple(instruments)
        unknown = [name for name in used if name not in available]
        if unknown:
            raise SpecificationError(
                f"{listed(unknown)} cannot be an instrument of {equation!r}: it must be exogenous and left out of the "
                f"equation. There are {listed(available)}.",
                f"{listed_zh(unknown)}不能作{equation!r}的工具变量：须为外生且不在该方程中。可用的有{listed_zh(available)}。",
            )
        _check_count(design, equation, needed, used)
        H = instrument_columns(design, used)
    p, Z = arrays.endogenous[g], arrays.Z[g]
    sample, effects = arrays.sample, None if design.rows is None else design.rows.stacked_effects
    columns = arrays.y[:, g], Z[:, :p], Z[:, p:], H
    return weak_moments(*columns, sample.n_units, sample.centred, effects=effects), used


class _Case:
    """One equation: what its terms stand for in c, and the sets of functions of them."""

    def __init__(
        self,
        spec: SystemSpec,
        equation: str,
        moments: WeakMoments,
        given: dict[str, float],
        row_normalised: bool,
    ) -> None:
        self.own, self.equation, self.moments, self.given = spec.equations[equation], equation, moments, given
        self.terms = tuple(self.own.endogenous_terms)
        self.row_normalised = row_normalised
        unknown = [term for term in given if term not in self.terms]
        if unknown:
            raise not_one_of("given", unknown[0], self.terms)
        if len(given) == len(self.terms):
            raise SpecificationError(
                f"All endogenous terms of {equation!r} are given: nothing is left to find. Leave one out, or use test().",
                f"{equation!r}的全部内生项都已给定，没有可求的集合：请留出一个，或用test()。",
            )
        self.free = tuple(term for term in self.terms if term not in given)
        self.unit = np.eye(1 + len(self.terms))

    @cached_property
    def start(self) -> Array:
        """c of y less what is given."""
        return self.unit[0] - sum(value * self.of(term) for term, value in self.given.items())

    def of(self, term: str) -> Array:
        """The direction of a term."""
        return self.unit[1 + self.terms.index(term)]

    def totals(self) -> tuple[str, ...]:
        """Variables that have a total effect: what it is made of is not given."""
        made = [[*self.parts(name), f"W_{self.own.y}"] for name in self.others]
        held = [any(term in self.given for term in parts) for parts in made]
        return tuple(f"{TOTAL}{name}" for name, known in zip(self.others, held, strict=True) if not known)

    @property
    def others(self) -> tuple[str, ...]:
        """Endogenous variables of other equations that enter, themselves or by their spatial lags."""
        return tuple(dict.fromkeys([*self.own.endog, *(y for y in self.own.lagged if y != self.own.y)]))

    def parts(self, name: str) -> list[str]:
        return [term for term in (name, f"W_{name}") if term in self.terms]

    def asked(self, parameters: Sequence[str] | None) -> list[str]:
        known = [*self.free, *(self.totals() if self.row_normalised else ())]
        if parameters is None:
            return known
        if isinstance(parameters, str):
            raise SpecificationError(
                f"parameters is a list: write [{parameters!r}].",
                f"parameters须为列表：请写[{parameters!r}]。",
            )
        for name in parameters:
            if name in self.totals() and not self.row_normalised:
                raise SpecificationError(
                    f"{name!r} is (γ + ψ)/(1 − ψ) only where the rows of W sum to one. Use W.standardise('row').",
                    f"只有W的行和为1时{name!r}才等于(γ + ψ)/(1 − ψ)。请用W.standardise('row')。",
                )
            if name not in known:
                raise not_one_of("parameters", name, tuple(known))
        return list(parameters)

    def scalar(self, name: str) -> Scalar:
        """A parameter as c = c₀ + b c₁ + N a."""
        rest = [self.of(term) for term in self.free if term != name]
        if not name.startswith(TOTAL):
            return self._scaled(name, self.start, -self.of(name), rest)
        variable, own = name.removeprefix(TOTAL), f"W_{self.own.y}"
        parts = self.parts(variable)
        first = self.of(parts[0])
        rest = [self.of(term) for term in self.free if term not in (*parts, own)]
        rest += [first - self.of(term) for term in parts[1:]]
        # s(y − τq) + a(y − Wy) with s + a = 1 has −τ(1 − ψ) before q and −ψ before Wy: linear, also at τ = ∞, ψ = 1.
        rest += [self.start - self.of(own)] if own in self.terms else []
        return self._scaled(name, self.start, -first, rest)

    def _scaled(self, name: str, c0: Array, c1: Array, rest: list[Array]) -> Scalar:
        centre, size = self.by_two_stage(name)
        N = np.column_stack(rest) if rest else np.empty((len(c0), 0))
        return Scalar(c0, c1, N, centre, 2 * size)

    @cached_property
    def _two_stage(self) -> tuple[Array, Array]:
        """b of the free terms by 2SLS, and a covariance clustered by unit."""
        m = self.moments
        A = m.sums @ (np.column_stack([self.of(term) for term in self.free]) * m.scale[:, None])
        b = np.asarray(np.linalg.lstsq(A, m.sums @ (self.start * m.scale), rcond=None)[0], dtype=np.float64)
        c = (
            self.start - sum(value * self.of(term) for value, term in zip(b, self.free, strict=True))
        ) * m.scale
        omega = np.einsum("j,l,jlqr->qr", c, c, m.blocks)
        turn = np.linalg.pinv(A)
        return b, turn @ omega @ turn.T

    def by_two_stage(self, name: str) -> tuple[float, float]:
        """A parameter by 2SLS with these instruments, and its standard error: where its set is looked for first."""
        b, cov = self._two_stage
        values = dict(self.given) | dict(zip(self.free, b, strict=True))
        estimate, slopes = self.function(name, values)
        g = np.array([slopes.get(term, 0.0) for term in self.free])
        return estimate, float(np.sqrt(g @ cov @ g)) or 1.0

    def function(self, name: str, values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """A parameter as a function of the endogenous terms, and its derivatives."""
        if not name.startswith(TOTAL):
            return float(values[name]), {name: 1.0}
        own = f"W_{self.own.y}"
        rest = 1 - values.get(own, 0.0)
        total = sum(values[term] for term in self.parts(name.removeprefix(TOTAL))) / rest
        slopes = dict.fromkeys(self.parts(name.removeprefix(TOTAL)), 1 / rest)
        return float(total), slopes | ({own: total / rest} if own in self.terms else {})

    def scalar_set(self, name: str, level: float, wald: pd.DataFrame | None) -> ConfidenceSet:
        """The set of one parameter, by the plug-in statistic and by projection."""
        scalar = self.scalar(name)
        plug_in = self.moments.critical(level, scalar.N.shape[1])
        shorter, wider = scalar_pieces(self.moments, scalar, (plug_in, self.moments.critical(level)))
        estimate = self.by_two_stage(name)[0] if wald is None else float(wald.loc[name, "estimate"])
        facts = {"method": "clustered Anderson-Rubin", "equation": self.equation}
        return ConfidenceSet(name, estimate, shorter, EVERYTHING, level, plug_in, facts, wider)

    def facts(self, level: float) -> dict[str, Any]:
        """What the instruments say of the equation as a whole."""
        m = self.moments
        directions = np.column_stack([self.of(term) for term in self.free])
        r = directions.shape[1]
        away = float(lowest(m, directions[None])[0][0])
        least = float(lowest(m, np.column_stack([self.start, directions])[None])[0][0])
        weakest = m.f(away, r - 1)
        return {
            "instruments": m.k,
            "clusters": m.clusters,
            "form": m.form,
            "weakest_f": weakest[0],
            "weakest_p": weakest[1],
            "j": least,
            "j_df": m.k - r,
            "j_p": m.f(least, r)[1],
            "bounded": away > m.critical(level),
        }


def _wald(fit: SystemFit, case: _Case, name: str, level: float) -> dict[str, float]:
    """Estimate and limits that the fit of the system gives a parameter, by its own covariance."""
    own = fit.params.loc[case.equation]
    values = {**own.to_dict(), **case.given}
    estimate, slopes = case.function(name, values)
    gradient = np.zeros(len(fit.params))
    for term, slope in slopes.items():
        if term not in case.given:
            gradient[fit.params.index.get_loc((case.equation, term))] = slope
    error = np.sqrt(gradient @ fit.cov.to_numpy() @ gradient)
    columns = coefficient_columns(
        np.array([estimate]), np.array([error]), 1 - level, fit.degrees(gradient[None])
    )[0]
    return {"estimate": estimate, "std_error": columns[1], "conf_low": columns[4], "conf_high": columns[5]}
