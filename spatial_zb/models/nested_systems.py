"""Tests of what a system by full-information likelihood could do without."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from spatial_zb.core.system_ml import SigmaForm
from spatial_zb.errors import SpatialZbWarning, SpecificationError, listed, listed_zh
from spatial_zb.models.simultaneous import fit_system
from spatial_zb.models.system_fit import SystemFit
from spatial_zb.models.system_spec import SystemSpec
from spatial_zb.text import Text

__all__ = ["likelihood_ratio", "restriction_tests"]


def likelihood_ratio(restricted: SystemFit, full: SystemFit) -> pd.Series:
    """Likelihood-ratio test of a FIML fit against one that nests it.

    Returns
    -------
    Series with statistic, df, p_value.

    Raises
    ------
    SpecificationError
        Not both FIML, not the same data and weights, or not nested, with what differs.
    """
    if {restricted.method, full.method} != {"fiml"}:
        raise SpecificationError(
            'Likelihood ratios compare two fits by method="fiml".', '似然比检验比较两个method="fiml"的估计。'
        )
    _refuse_different_data(restricted, full)
    extra = [key for key in restricted.params.index if key not in full.params.index]
    if extra or (full.sigma_form == "diagonal" and restricted.sigma_form == "full"):
        own = [": ".join(key) for key in extra]
        what = Text(listed(own), listed_zh(own)) if own else Text("a full Σ", "完整的Σ")
        raise SpecificationError(
            f"The fits are not nested: the restricted one has {what.en}, the full one has not.",
            f"两个估计不嵌套：受约束的有{what.zh}，完整的没有。",
        )
    df = full.n_parameters - restricted.n_parameters
    if df <= 0:
        raise SpecificationError(
            "The fits have the same parameters: there is nothing to test.",
            "两个估计的参数相同：没有可检验的内容。",
        )
    statistic = 2 * (full.log_likelihood - restricted.log_likelihood)
    if not (full.converged and restricted.converged):
        statistic = np.nan
    return pd.Series({"statistic": statistic, "df": df, "p_value": stats.chi2.sf(statistic, df)})


def _refuse_different_data(a: SystemFit, b: SystemFit) -> None:
    same = (
        a.spec.endogenous == b.spec.endogenous
        and a.spec.names == b.spec.names
        and a.spec.fixed_effects == b.spec.fixed_effects
        and a.panel.periods == b.panel.periods
        and a.panel.units.equals(b.panel.units)
        and (a.weights.matrix != b.weights.matrix).nnz == 0
        and np.array_equal(a.design.arrays.y, b.design.arrays.y)
    )
    if not same:
        raise SpecificationError(
            "The fits differ in equations, effects, sample or weights, so their likelihoods cannot be compared.",
            "两个估计的方程、效应、样本或权重矩阵不同，似然不能比较。",
        )


def restriction_tests(fit: SystemFit) -> pd.DataFrame:
    """Likelihood-ratio tests of what a FIML system could do without, each by a new fit.

    ``no cross spillover`` (every ψ_gl = 0, g ≠ l), ``no own spillover`` (ψ_gg = 0), ``no feedback`` (γ = 0),
    ``no <a> → <b>`` (γ and ψ of one variable in one equation: the system is recursive for m = 2), and
    ``uncorrelated errors`` (Σ diagonal).

    Returns
    -------
    DataFrame with test, statistic, df, p_value, note; NaN where the restricted system has no maximum or is
    not identified, said in the note.
    """
    if fit.method != "fiml":
        raise SpecificationError(
            'Restrictions are tested from a fit by method="fiml".', '约束检验须从method="fiml"的估计出发。'
        )
    rows = [_restriction_row(fit, name, spec, "full") for name, spec in _restrictions(fit.spec)]
    if fit.sigma_form == "full" and len(fit.spec.names) > 1:
        rows.append(_restriction_row(fit, "uncorrelated errors", fit.spec, "diagonal"))
    return pd.DataFrame(rows, columns=["test", "statistic", "df", "p_value", "note"])


def _restrictions(spec: SystemSpec) -> list[tuple[str, SystemSpec]]:
    candidates: list[tuple[str, dict]] = [
        ("no cross spillover", {name: {"lag_endog": ()} for name in spec.names}),
        ("no own spillover", {name: {"lag_y": False} for name in spec.names}),
        ("no feedback", {name: {"endog": ()} for name in spec.names}),
    ]
    for target, equation in spec.equations.items():
        for source, other in spec.equations.items():
            if other.y in (*equation.endog, *equation.lag_endog):
                changes = {
                    "endog": _without(equation.endog, other.y),
                    "lag_endog": _without(equation.lag_endog, other.y),
                }
                candidates.append((f"no {source} → {target}", {target: changes}))
    out = []
    for name, changes in candidates:
        equations = {key: replace(e, **changes.get(key, {})) for key, e in spec.equations.items()}
        restricted = replace(spec, equations=equations)
        if restricted != spec:
            out.append((name, restricted))
    return out


def _without(names: Sequence[str], dropped: str) -> tuple[str, ...]:
    return tuple(name for name in names if name != dropped)


def _restriction_row(fit: SystemFit, name: str, spec: SystemSpec, sigma: SigmaForm) -> tuple:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        try:
            form = "diagonal" if fit.sigma_form == "diagonal" else sigma
            restricted = fit_system(spec, fit.panel, fit.weights, "fiml", sigma=form)
        except SpecificationError as error:
            return name, np.nan, 0, np.nan, str(error)
    test = likelihood_ratio(restricted, fit)
    note = "" if np.isfinite(test["statistic"]) else "the restricted system has no maximum"
    return name, test["statistic"], int(test["df"]), test["p_value"], note
