"""Names that one part of a study uses and another defines."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from spatial_zb.errors import listed
from spatial_zb.study.places import Problems
from spatial_zb.study.sections import (
    Battery,
    Combination,
    Compare,
    Dynamics,
    Economic,
    Figures,
    Model,
    System,
)

__all__ = [
    "check_references",
    "entries_of",
]


def check_references(
    parts: Mapping[str, Any], headers: Mapping[str, list[str] | None], problems: Problems
) -> None:
    columns = headers["file"]
    _check_columns(parts, columns, problems)
    _check_expressions(parts, columns, headers["reference"], problems)
    _check_samples(parts, problems)
    usable = None if columns is None else [*parts["variables"], *columns]
    _check_indices(parts, columns, usable, problems)
    usable = None if usable is None else [*parts["indices"], *parts["coupling"], *usable]
    _check_weights(parts, usable, problems)
    for key, entry in entries_of(parts, "models"):
        _check_model(key, entry, parts, usable, problems)
    for key, entry in entries_of(parts, "systems"):
        _check_system(key, entry, parts, usable, problems)
    if parts.get("compare") is not None:
        _check_compare(parts["compare"], parts, usable, problems)
    if parts.get("concentration") is not None:
        chosen = parts["concentration"]
        _check_known("concentration.sectors", "variable", chosen.sectors, usable, problems)
        total = [] if chosen.total is None else [chosen.total]
        _check_known("concentration.total", "variable", total, usable, problems)
    if parts.get("dynamics") is not None:
        _check_dynamics(parts["dynamics"], parts, usable, problems)
    for key in ("moran", "maps"):
        if parts.get(key) is not None:
            _check_known(f"{key}.variables", "variable", parts[key].variables, usable, problems)
    if parts.get("moran") is not None:
        both = list(dict.fromkeys(name for pair in parts["moran"].bivariate for name in pair))
        _check_known("moran.bivariate", "variable", both, usable, problems)
        _check_known("moran.weights", "weights", parts["moran"].weights, parts["weights"], problems)
        _check_known("moran.samples", "sample", parts["moran"].samples, parts["samples"], problems)
    if getattr(parts.get("maps"), "clusters", None) is not None:
        _check_known("maps.clusters", "weights", [parts["maps"].clusters], parts["weights"], problems)
    if parts.get("maps") is not None:
        _check_known("maps.bivariate", "variable", parts["maps"].bivariate, usable, problems)
    if parts.get("figures") is not None:
        _check_figures(parts["figures"], parts, usable, problems)
    _check_periods(parts, problems)


def _check_indices(
    parts: Mapping[str, Any], columns: list[str] | None, usable: list[str] | None, problems: Problems
) -> None:
    """Variables of indices, and the two indices of a coupling; each name stands for one thing only."""
    taken = {*(columns or ()), *parts["variables"], *parts["constants"]}
    for section in ("indices", "coupling"):
        for dotted, _ in entries_of(parts, section):
            name = dotted.partition(".")[2]
            if name in taken:
                problems.add(dotted, "a column, variable or index has this name; choose another")
            taken.add(name)
    for dotted, index in entries_of(parts, "indices"):
        _check_known(f"{dotted}.columns", "variable", index.columns, usable, problems)
        _check_known(f"{dotted}.less", "variable of columns", index.less, index.columns, problems)
    for dotted, pair in entries_of(parts, "coupling"):
        _check_known(dotted, "index", (pair.first, pair.second), parts["indices"], problems)


def entries_of(parts: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Valid named tables of a section with their dotted places."""
    return [(f"{key}.{name}", entry) for name, entry in parts[key].items() if entry is not None]


def _check_known(
    dotted: str, what: str, names: Iterable[str], known: Collection[str] | None, problems: Problems
) -> None:
    """Every name must be among the known ones; None = not known here, checked later."""
    if known is None:
        return
    for name in names:
        if name not in known:
            problems.unknown(dotted, what, name, known)


def _check_columns(parts: Mapping[str, Any], columns: list[str] | None, problems: Problems) -> None:
    """Columns of the data file that the sections data, missing and suspect name."""
    data = parts.get("data")
    if data is not None and columns is not None:
        for key in ("unit", "period", "flag"):
            name = getattr(data, key)
            _check_known(f"data.{key}", "column", [] if name is None else [name], columns, problems)
    seen: set[str] = set()
    for dotted, entry in parts["missing"].items():
        if entry is None:
            continue
        _check_known(f"{dotted}.columns", "column", entry.columns, columns, problems)
        if repeated := sorted(seen & set(entry.columns)):
            problems.add(f"{dotted}.columns", f"an earlier [[missing]] has a rule for {listed(repeated)}")
        seen |= set(entry.columns)
    cells: set[tuple[str, str, int]] = set()
    for dotted, entry in parts["suspect"].items():
        if entry is None:
            continue
        _check_known(f"{dotted}.column", "column", [entry.column], columns, problems)
        cell = (entry.column, entry.unit, entry.period)
        if cell in cells:
            problems.add(dotted, "an earlier [[suspect]] names the same cell")
        cells.add(cell)


# Names of an expression: not the functions before a bracket, not the e of 1e5. Whether the expression is
# allowed at all is for spatial_zb.data.expressions to say.
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*(?!\w)(?!\s*\()")


def _check_expressions(
    parts: Mapping[str, Any], columns: list[str] | None, reference: list[str] | None, problems: Problems
) -> None:
    defined = [*parts["variables"], *parts["constants"]]
    for section in ("variables", "constants"):
        for name in parts[section]:
            if name in (columns or ()):
                problems.add(f"{section}.{name}", "the data file has a column of this name; choose another")
            elif section == "constants" and name in parts["variables"]:
                problems.add(f"{section}.{name}", "a variable has this name; choose another")
    for dotted, entry in entries_of(parts, "variables"):
        place = f"{dotted}.expression"
        known = None if columns is None else [*columns, *defined]
        _check_known(place, "name", dict.fromkeys(_NAME.findall(entry.expression)), known, problems)
        used = re.search(r"\b(lq|krugman)\s*\(", entry.expression)
        if used is None:
            continue
        if getattr(parts.get("data"), "reference", "") is None:
            problems.add(place, f"{used[1]}() needs a reference region: name its table as data.reference")
    data = parts.get("data")
    if data is not None and reference is not None:
        _check_known("data.reference", "column", [data.period], reference, problems)


def _check_samples(parts: Mapping[str, Any], problems: Problems) -> None:
    for dotted, entry in entries_of(parts, "samples"):
        if entry.units is not None and entry.where is not None:
            problems.add(dotted, "has both units and where; keep one")
        if entry.units is not None and len(entry.units) < 2:
            problems.add(f"{dotted}.units", "a sample needs at least two units")
    main = getattr(parts.get("study"), "sample", None)
    _check_known("study.sample", "sample", [] if main is None else [main], parts["samples"], problems)


def _check_weights(parts: Mapping[str, Any], usable: list[str] | None, problems: Problems) -> None:
    """Variables of economic weights, and parts of combined ones, which must not lead back to themselves."""
    earlier: list[str] = []
    for dotted, entry in entries_of(parts, "weights"):
        if isinstance(entry, Economic):
            _check_known(f"{dotted}.variable", "variable", [entry.variable], usable, problems)
        if isinstance(entry, Combination):
            place = f"{dotted}.parts"
            _check_known(place, "weights", entry.parts, parts["weights"], problems)
            later = [name for name in entry.parts if name in parts["weights"] and name not in earlier]
            if later:
                problems.add(place, f"{listed(later)} must stand above it in the file")
            _check_scales(place, entry, parts["weights"], problems)
        earlier.append(dotted.partition(".")[2])


def _check_scales(place: str, entry: Combination, weights: Mapping[str, Any], problems: Problems) -> None:
    scales = {getattr(weights.get(name), "normalisation", "") for name in entry.parts}
    if entry.how == "mix" and len(scales) > 1 and "" not in scales:
        problems.add(place, f"the parts of a mixture need one normalisation, not {listed(sorted(scales))}")


def _check_model(
    dotted: str, model: Model, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    _check_known(f"{dotted}.y", "variable", [model.y], usable, problems)
    _check_known(f"{dotted}.x", "variable", model.x, usable, problems)
    _check_known(f"{dotted}.weights", "weights", model.weights, parts["weights"], problems)
    _check_known(f"{dotted}.samples", "sample", model.samples, parts["samples"], problems)
    if model.lag_x != "all":
        _check_known(f"{dotted}.lag_x", "regressor of x", model.lag_x, model.x, problems)
    if model.y in model.x:
        problems.add(f"{dotted}.x", f"the dependent variable {model.y!r} is also among the regressors")
    _check_lags_and_regimes(dotted, model, usable, problems)


def _check_lags_and_regimes(dotted: str, model: Model, usable: list[str] | None, problems: Problems) -> None:
    """What lags in time and regimes go with; the rest is for DurbinSpec to say."""
    dynamic = model.time_lag or model.lag_time_lag
    if (dynamic or model.regimes) and not set(model.fixed_effects) <= {"unit", "two_way"}:
        problems.add(f"{dotted}.fixed_effects", "lags in time and regimes need unit or two_way effects")
    if dynamic and model.estimator in ("direct", "gmm"):
        problems.add(f"{dotted}.estimator", "with a lag in time it is lee_yu, yang or uncorrected")
    if not dynamic and model.estimator in ("yang", "uncorrected"):
        problems.add(f"{dotted}.estimator", f"{model.estimator} is about a lag in time; add time_lag = true")
    if model.regimes is None:
        return
    _check_known(f"{dotted}.regimes", "variable", [model.regimes], usable, problems)
    if dynamic or model.lag_error or model.regimes in (model.y, *model.x):
        problems.add(
            f"{dotted}.regimes",
            "regimes go neither with lags in time or of the error nor with a variable of x or y",
        )
    if model.estimator != "lee_yu" or model.covariance not in ("information", "cluster", "driscoll_kraay"):
        problems.add(
            f"{dotted}.regimes", "regimes go with lee_yu and with information, cluster or driscoll_kraay"
        )


def _check_compare(
    compare: Compare, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    _check_known("compare.model", "model", [compare.model], parts["models"], problems)
    _check_known("compare.weights", "weights", compare.weights, parts["weights"], problems)
    _check_known("compare.samples", "sample", compare.samples, parts["samples"], problems)
    for name, controls in compare.controls.items():
        _check_known(f"compare.controls.{name}", "variable", controls, usable, problems)
    battery = compare.robustness or Battery()
    for place, part in (("compare", compare), ("compare.robustness", battery)):
        _check_known(f"{place}.y", "variable", part.y, usable, problems)
        for name, others in part.x.items():
            _check_known(f"{place}.x.{name}", "variable", others, usable, problems)
    base = parts["models"].get(compare.model)
    if base is not None:
        kept = [name for name in base.x if all(name not in c for c in compare.controls.values())]
        what = f"regressor of the model {compare.model!r} that is in no set of controls"
        spatial = ("rho", "lam") if compare.effect == "coefficient" else ()
        lagged = [f"W_{name}" for name in kept] if compare.effect == "coefficient" else []
        _check_known("compare.term", what, [compare.term], [*kept, *lagged, *spatial], problems)
        _check_known("compare.x", what, compare.x, kept, problems)
        what = f"regressor of the model {compare.model!r}"
        _check_known("compare.robustness.x", what, battery.x, base.x, problems)
    data = parts.get("data")
    for name, (first, last) in battery.periods.items():
        if data is not None and not data.periods[0] <= first <= last <= data.periods[1]:
            problems.add(
                f"compare.robustness.periods.{name}",
                f"{first} to {last} lies outside data.periods, {data.periods[0]} to {data.periods[1]}",
            )


def _check_system(
    dotted: str, system: System, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    _check_known(f"{dotted}.weights", "weights", system.weights, parts["weights"], problems)
    _check_known(f"{dotted}.samples", "sample", system.samples, parts["samples"], problems)
    explained = [equation.y for equation in system.equations.values()]
    for name, equation in system.equations.items():
        place = f"{dotted}.equations.{name}"
        others = [y for y in explained if y != equation.y]
        _check_known(f"{place}.y", "variable", [equation.y], usable, problems)
        _check_known(f"{place}.x", "variable", equation.x, usable, problems)
        _check_known(
            f"{place}.endog", "dependent variable of another equation", equation.endog, others, problems
        )
        if equation.lag_endog != "all":
            what = "dependent variable of another equation"
            _check_known(f"{place}.lag_endog", what, equation.lag_endog, others, problems)
        if equation.lag_x != "all":
            _check_known(f"{place}.lag_x", "regressor of x", equation.lag_x, equation.x, problems)


def _check_figures(
    figures: Figures, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    """Every model.variable and system.equation.source must be one that the file has."""
    models, systems = parts["models"], parts["systems"]
    effects = [f"{name}.{x}" for name, model in models.items() if model is not None for x in model.x]
    _check_known("figures.effects", "model.variable", figures.effects, effects, problems)
    shocks = []
    for name, system in systems.items():
        equations = {} if system is None else system.equations
        sources = dict.fromkeys([*equations, *(x for equation in equations.values() for x in equation.x)])
        shocks += [f"{name}.{response}.{source}" for response in equations for source in sources]
    what = "system.equation.source"
    _check_known("figures.system_effects", what, figures.system_effects, shocks, problems)
    _check_known("figures.correlogram", "variable", figures.correlogram, usable, problems)


def _check_dynamics(
    dynamics: Dynamics, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    for key in ("densities", "ellipses", "inequality", "sigma", "beta", "controls"):
        _check_known(f"dynamics.{key}", "variable", getattr(dynamics, key), usable, problems)
    single = ("population", "variable", usable), ("weights", "weights", parts["weights"])
    for key, what, known in single:
        name = getattr(dynamics, key)
        _check_known(f"dynamics.{key}", what, [] if name is None else [name], known, problems)
    if taken := [name for name in dynamics.beta if name in dynamics.controls]:
        problems.add("dynamics.controls", f"{listed(taken)} is also among beta")


def _check_periods(parts: Mapping[str, Any], problems: Problems) -> None:
    data = parts.get("data")
    if data is None:
        return
    first, last = data.periods
    for key in ("maps", "dynamics"):
        if parts.get(key) is not None:
            outside = [period for period in parts[key].periods if not first <= period <= last]
            if outside:
                problems.add(
                    f"{key}.periods", f"{listed(outside)} lies outside data.periods, {first} to {last}"
                )
    for dotted, constant in entries_of(parts, "constants"):
        blank = [period for period in range(first, last + 1) if period not in constant.values]
        if blank:
            problems.add(f"{dotted}.values", f"has no number for {listed(blank)}")
