"""Names that one part of a study uses and another defines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.study.columns import (
    VARIABLE,
    Known,
    check_cells,
    check_claims,
    check_columns,
    check_cross_section,
    check_expressions,
    check_known,
    check_polygons,
    entries_of,
)
from spatial_zb.study.entries import Problems
from spatial_zb.study.sections import (
    Battery,
    Combination,
    Compare,
    Dynamics,
    Economic,
    Figures,
    Model,
    Scenario,
    System,
)

WEIGHTS, SAMPLE, MODEL = Text("weights", "权重"), Text("sample", "样本"), Text("model", "模型")
REGRESSOR = Text("regressor of x", "x中的解释变量")
DEPENDENT = Text("dependent variable of the system", "方程组的被解释变量")
OTHER_DEPENDENT = Text("dependent variable of another equation", "其他方程的被解释变量")


def check_references(
    parts: Mapping[str, Any],
    headers: Mapping[str, list[str] | None],
    attributes: Collection[str],
    problems: Problems,
) -> None:
    """``attributes``: columns of the polygons, which variables may be too."""
    columns = headers["file"]
    check_polygons(parts, problems)
    check_cross_section(parts, problems)
    check_columns(parts, columns, problems)
    check_cells("flags", ["column", "kind"], parts, headers["flags"], problems)
    check_cells("events", ["event"], parts, headers["events"], problems)
    check_expressions(parts, columns, headers["reference"], attributes, problems)
    _check_samples(parts, problems)
    usable = None if columns is None else Known([*parts["variables"], *columns], attributes)
    _check_indices(parts, columns, usable, problems)
    scores = [*parts["indices"], *parts["coupling"]]
    usable = None if columns is None else Known([*scores, *parts["variables"], *columns], attributes)
    _check_weights(parts, usable, problems)
    for key, entry in entries_of(parts, "models"):
        _check_model(key, entry, parts, usable, problems)
    for key, entry in entries_of(parts, "systems"):
        _check_system(key, entry, parts, usable, problems)
    for key, entry in entries_of(parts, "scenarios"):
        _check_scenario(key, entry, parts, problems)
    if parts.get("compare") is not None:
        _check_compare(parts["compare"], parts, usable, problems)
    if parts.get("concentration") is not None:
        chosen = parts["concentration"]
        check_known("concentration.sectors", VARIABLE, chosen.sectors, usable, problems)
        total = [] if chosen.total is None else [chosen.total]
        check_known("concentration.total", VARIABLE, total, usable, problems)
    if parts.get("dynamics") is not None:
        _check_dynamics(parts["dynamics"], parts, usable, problems)
    for key in ("moran", "maps"):
        if parts.get(key) is not None:
            check_known(f"{key}.variables", VARIABLE, parts[key].variables, usable, problems)
    if parts.get("moran") is not None:
        both = list(dict.fromkeys(name for pair in parts["moran"].bivariate for name in pair))
        check_known("moran.bivariate", VARIABLE, both, usable, problems)
        check_known("moran.weights", WEIGHTS, parts["moran"].weights, parts["weights"], problems)
        check_known("moran.samples", SAMPLE, parts["moran"].samples, parts["samples"], problems)
    if (maps := parts.get("maps")) is not None:
        check_known("maps.clusters", WEIGHTS, maps.clusters, parts["weights"], problems)
        for key, names in maps.by_variable.items():
            check_known(f"maps.{key}", VARIABLE, names, usable, problems)
    if parts.get("figures") is not None:
        _check_figures(parts["figures"], parts, usable, problems)
    check_claims(parts, usable, problems)
    _check_periods(parts, problems)


def _check_indices(
    parts: Mapping[str, Any], columns: list[str] | None, usable: Collection[str] | None, problems: Problems
) -> None:
    """Variables of indices, and the two indices of a coupling; each name stands for one thing only."""
    taken = {*(columns or ()), *parts["variables"], *parts["constants"]}
    for section in ("indices", "coupling"):
        for dotted, _ in entries_of(parts, section):
            name = dotted.partition(".")[2]
            if name in taken:
                said = Text(
                    "a column, variable or index has this name; choose another",
                    "已有列、变量或指数用此名称，请另取",
                )
                problems.add(dotted, said)
            taken.add(name)
    for dotted, index in entries_of(parts, "indices"):
        check_known(f"{dotted}.columns", VARIABLE, index.columns, usable, problems)
        check_known(
            f"{dotted}.less",
            Text("variable of columns", "columns中的变量"),
            index.less,
            index.columns,
            problems,
        )
    for dotted, pair in entries_of(parts, "coupling"):
        check_known(dotted, Text("index", "指数"), (pair.first, pair.second), parts["indices"], problems)


def _check_samples(parts: Mapping[str, Any], problems: Problems) -> None:
    main = getattr(parts.get("study"), "sample", None)
    check_known("study.sample", SAMPLE, [] if main is None else [main], parts["samples"], problems)


def _check_weights(parts: Mapping[str, Any], usable: Collection[str] | None, problems: Problems) -> None:
    """Variables of economic weights, and parts of combined ones, which must not lead back to themselves."""
    earlier: list[str] = []
    for dotted, entry in entries_of(parts, "weights"):
        if isinstance(entry, Economic):
            check_known(f"{dotted}.variable", VARIABLE, [entry.variable], usable, problems)
        if isinstance(entry, Combination):
            place = f"{dotted}.parts"
            check_known(place, WEIGHTS, entry.parts, parts["weights"], problems)
            later = [name for name in entry.parts if name in parts["weights"] and name not in earlier]
            if later:
                problems.add(
                    place,
                    Text(
                        f"{listed(later)} must stand above it in the file", f"{listed_zh(later)}须写在它之前"
                    ),
                )
            _check_scales(place, entry, parts["weights"], problems)
        earlier.append(dotted.partition(".")[2])


def _check_scales(place: str, entry: Combination, weights: Mapping[str, Any], problems: Problems) -> None:
    scales = {getattr(weights.get(name), "normalisation", "") for name in entry.parts}
    if entry.how == "mix" and len(scales) > 1 and "" not in scales:
        found = sorted(scales)
        said = Text(
            f"the parts of a mixture need one normalisation, not {listed(found)}",
            f"混合的各部分须用同一种标准化，而不是{listed_zh(found)}",
        )
        problems.add(place, said)


def _check_model(
    dotted: str, model: Model, parts: Mapping[str, Any], usable: Collection[str] | None, problems: Problems
) -> None:
    check_known(f"{dotted}.y", VARIABLE, [model.y], usable, problems)
    check_known(f"{dotted}.x", VARIABLE, model.x, usable, problems)
    check_known(f"{dotted}.weights", WEIGHTS, model.weights, parts["weights"], problems)
    for key in ("W_x", "W_error"):
        named = [name for name in (getattr(model, key),) if name is not None]
        check_known(f"{dotted}.{key}", WEIGHTS, named, parts["weights"], problems)
    check_known(f"{dotted}.fixed_effects", VARIABLE, model.effect_variables, usable, problems)
    check_known(f"{dotted}.samples", SAMPLE, model.samples, parts["samples"], problems)
    if model.lag_x != "all":
        check_known(f"{dotted}.lag_x", REGRESSOR, model.lag_x, model.x, problems)
    if model.y in model.x:
        said = Text(
            f"the dependent variable {model.y!r} is also among the regressors",
            f"被解释变量{model.y!r}也在解释变量之中",
        )
        problems.add(f"{dotted}.x", said)
    if model.bandwidth_km is not None and model.covariance != "conley":
        said = Text(
            'bandwidth_km goes with covariance = "conley"', 'bandwidth_km须与covariance = "conley"一并使用'
        )
        problems.add(f"{dotted}.bandwidth_km", said)
    _check_lags_and_regimes(dotted, model, usable, problems)


def _check_lags_and_regimes(
    dotted: str, model: Model, usable: Collection[str] | None, problems: Problems
) -> None:
    """What lags in time and regimes go with; the rest is for DurbinSpec to say."""
    dynamic = model.time_lag or model.lag_time_lag
    kinds = set(model.fixed_effects)
    if (dynamic and not kinds <= {"unit", "two_way"}) or (model.regimes and kinds & {"time", "random"}):
        said = Text(
            "lags in time need unit or two_way effects, regimes these or none",
            "时间滞后须用unit或two_way效应，分区制还可用none",
        )
        problems.add(f"{dotted}.fixed_effects", said)
    if dynamic and model.estimator in ("direct", "gmm", "robust_score"):
        said = Text(
            "with a lag in time it is lee_yu, yang or uncorrected",
            "有时间滞后时须为lee_yu、yang或uncorrected",
        )
        problems.add(f"{dotted}.estimator", said)
    if not dynamic and model.estimator in ("yang", "uncorrected"):
        said = Text(
            f"{model.estimator} is about a lag in time; add time_lag = true",
            f"{model.estimator}用于时间滞后；请加time_lag = true",
        )
        problems.add(f"{dotted}.estimator", said)
    if model.estimator == "robust_score" and "random" in model.fixed_effects:
        said = Text(
            "robust_score is for models without random effects",
            "robust_score用于不含随机效应的模型",
        )
        problems.add(f"{dotted}.estimator", said)
    if model.regimes is None:
        if model.common:
            said = Text("common is for models with regimes", "common用于分区制模型")
            problems.add(f"{dotted}.common", said)
        return
    check_known(f"{dotted}.regimes", VARIABLE, [model.regimes], usable, problems)
    if dynamic or model.lag_error or model.regimes in (model.y, *model.x):
        said = Text(
            "regimes go neither with lags in time or of the error nor with a variable of x or y",
            "分区制不能与时间滞后、误差滞后并用，也不能取x或y中的变量",
        )
        problems.add(f"{dotted}.regimes", said)
    if model.estimator != "lee_yu" or model.covariance not in (
        "information",
        "cluster",
        "cr1",
        "cr2",
        "driscoll_kraay",
    ):
        said = Text(
            "regimes go with lee_yu and with information, cluster, cr1, cr2 or driscoll_kraay",
            "分区制只能用lee_yu，协方差为information、cluster、cr1、cr2或driscoll_kraay",
        )
        problems.add(f"{dotted}.regimes", said)


def _check_compare(
    compare: Compare, parts: Mapping[str, Any], usable: Collection[str] | None, problems: Problems
) -> None:
    check_known("compare.model", MODEL, [compare.model], parts["models"], problems)
    if compare.model in parts["models"] and parts["models"][compare.model].covariance == "conley":
        said = Text(
            'comparisons have no errors by kilometres: take a model with covariance = "cluster"',
            '比较中没有按公里的标准误：请选用covariance = "cluster"的模型',
        )
        problems.add("compare.model", said)
    check_known("compare.weights", WEIGHTS, compare.weights, parts["weights"], problems)
    check_known("compare.samples", SAMPLE, compare.samples, parts["samples"], problems)
    for name, controls in compare.controls.items():
        check_known(f"compare.controls.{name}", VARIABLE, controls, usable, problems)
    battery = compare.robustness or Battery()
    for place, part in (("compare", compare), ("compare.robustness", battery)):
        check_known(f"{place}.y", VARIABLE, part.y, usable, problems)
        for name, others in part.x.items():
            check_known(f"{place}.x.{name}", VARIABLE, others, usable, problems)
    base = parts["models"].get(compare.model)
    if base is not None:
        kept = [name for name in base.x if all(name not in c for c in compare.controls.values())]
        what = Text(
            f"regressor of the model {compare.model!r} that is in no set of controls",
            f"模型{compare.model!r}中不属于任何控制变量组的解释变量",
        )
        spatial = ("rho", "lam") if compare.effect == "coefficient" else ()
        lagged = [f"W_{name}" for name in kept] if compare.effect == "coefficient" else []
        check_known("compare.term", what, [compare.term], [*kept, *lagged, *spatial], problems)
        check_known("compare.x", what, compare.x, kept, problems)
        what = Text(f"regressor of the model {compare.model!r}", f"模型{compare.model!r}的解释变量")
        check_known("compare.robustness.x", what, battery.x, base.x, problems)
    data = parts.get("data")
    for name, (first, last) in battery.periods.items():
        if data is not None and data.dated and not data.span[0] <= first <= last <= data.span[1]:
            begin, end = data.span
            said = Text(
                f"{first} to {last} lies outside data.periods, {begin} to {end}",
                f"{first}至{last}超出data.periods（{begin}至{end}）",
            )
            problems.add(f"compare.robustness.periods.{name}", said)


def _check_system(
    dotted: str, system: System, parts: Mapping[str, Any], usable: Collection[str] | None, problems: Problems
) -> None:
    check_known(f"{dotted}.weights", WEIGHTS, system.weights, parts["weights"], problems)
    check_known(f"{dotted}.samples", SAMPLE, system.samples, parts["samples"], problems)
    explained = [equation.y for equation in system.equations.values()]
    _check_time(dotted, system, explained, problems)
    for name, equation in system.equations.items():
        place = f"{dotted}.equations.{name}"
        others = [y for y in explained if y != equation.y]
        check_known(f"{place}.y", VARIABLE, [equation.y], usable, problems)
        check_known(f"{place}.x", VARIABLE, equation.x, usable, problems)
        check_known(f"{place}.endog", OTHER_DEPENDENT, equation.endog, others, problems)
        if equation.lag_endog != "all":
            check_known(f"{place}.lag_endog", OTHER_DEPENDENT, equation.lag_endog, others, problems)
        if equation.lag_x != "all":
            check_known(f"{place}.lag_x", REGRESSOR, equation.lag_x, equation.x, problems)


def _check_time(dotted: str, system: System, explained: Sequence[str], problems: Problems) -> None:
    """Lags in time: of variables that the system explains, by FIML, with effects whose bias is taken off."""
    asked = [name for e in system.equations.values() for name in (e.time_lag, e.lag_time_lag)]
    dynamic = system.time_lag or system.lag_time_lag or any(asked)
    for name, equation in system.equations.items():
        for key in ("time_lag", "lag_time_lag"):
            wanted = getattr(equation, key)
            if isinstance(wanted, tuple):
                check_known(f"{dotted}.equations.{name}.{key}", DEPENDENT, wanted, explained, problems)
    if not dynamic:
        if system.shocks:
            said = Text("needs time_lag or lag_time_lag", "需要time_lag或lag_time_lag")
            problems.add(f"{dotted}.shocks", said)
        return
    if system.methods != ("fiml",):
        said = Text('must be "fiml" with lags in time', '含时间滞后时须为"fiml"')
        problems.add(f"{dotted}.methods", said)
    if system.fixed_effects not in ("unit", "two_way"):
        said = Text('must be "unit" or "two_way" with lags in time', '含时间滞后时须为"unit"或"two_way"')
        problems.add(f"{dotted}.fixed_effects", said)
    if system.sets:
        problems.add(
            f"{dotted}.sets", Text("is of systems without lags in time", "只用于不含时间滞后的方程组")
        )


def _check_scenario(dotted: str, scenario: Scenario, parts: Mapping[str, Any], problems: Problems) -> None:
    """It is of a model or a system of the file, and changes what that has on its right side, or a shock to it."""
    known = {**parts["models"], **parts["systems"]}
    check_known(f"{dotted}.of", Text("model or system", "模型或方程组"), [scenario.of], known, problems)
    of = known.get(scenario.of)
    if of is None:
        return
    own = list(of.x) if isinstance(of, Model) else []
    if isinstance(of, System):
        for name, equation in of.equations.items():
            own += [name, equation.y, *equation.x]
    for unit, moved in scenario.changes.items():
        what = Text(f"variable of {scenario.of}", f"{scenario.of}的变量")
        check_known(f"{dotted}.changes.{unit}", what, list(moved), dict.fromkeys(own), problems)


def _check_figures(
    figures: Figures, parts: Mapping[str, Any], usable: Collection[str] | None, problems: Problems
) -> None:
    """Every model.variable and system.equation.source must be one that the file has."""
    models, systems = parts["models"], parts["systems"]
    effects = [f"{name}.{x}" for name, model in models.items() if model is not None for x in model.x]
    check_known("figures.effects", Text("model.variable", "“模型.变量”"), figures.effects, effects, problems)
    shocks = []
    for name, system in systems.items():
        equations = {} if system is None else system.equations
        sources = dict.fromkeys([*equations, *(x for equation in equations.values() for x in equation.x)])
        shocks += [f"{name}.{response}.{source}" for response in equations for source in sources]
    what = Text("system.equation.source", "“方程组.方程.来源”")
    check_known("figures.system_effects", what, figures.system_effects, shocks, problems)
    check_known("figures.correlogram", VARIABLE, figures.correlogram, usable, problems)


def _check_dynamics(
    dynamics: Dynamics, parts: Mapping[str, Any], usable: Collection[str] | None, problems: Problems
) -> None:
    for key in ("densities", "ellipses", "inequality", "sigma", "beta", "controls"):
        check_known(f"dynamics.{key}", VARIABLE, getattr(dynamics, key), usable, problems)
    single = ("population", VARIABLE, usable), ("weights", WEIGHTS, parts["weights"])
    for key, what, known in single:
        name = getattr(dynamics, key)
        check_known(f"dynamics.{key}", what, [] if name is None else [name], known, problems)
    if taken := [name for name in dynamics.beta if name in dynamics.controls]:
        said = Text(f"{listed(taken)} is also among beta", f"{listed_zh(taken)}也在beta之中")
        problems.add("dynamics.controls", said)


def _check_periods(parts: Mapping[str, Any], problems: Problems) -> None:
    data = parts.get("data")
    if data is None:
        return
    first, last = data.span
    for key in ("maps", "dynamics"):
        if parts.get(key) is not None:
            outside = [period for period in parts[key].periods if not first <= period <= last]
            if outside and not data.dated:
                said = Text("a cross-section has no periods; leave them out", "截面数据没有时期；请删去")
                problems.add(f"{key}.periods", said)
            elif outside:
                said = Text(
                    f"{listed(outside)} lies outside data.periods, {first} to {last}",
                    f"{listed_zh(outside)}超出data.periods（{first}至{last}）",
                )
                problems.add(f"{key}.periods", said)
    for dotted, constant in entries_of(parts, "constants"):
        blank = [p for p in range(first, last + 1) if p not in constant.values and data.dated]
        if blank:
            problems.add(
                f"{dotted}.values", Text(f"has no number for {listed(blank)}", f"缺{listed_zh(blank)}的数值")
            )
