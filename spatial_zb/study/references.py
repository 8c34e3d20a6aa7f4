"""Names that one part of a study uses and another defines."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.expressions.syntax import QUOTED
from spatial_zb.study.entries import Problems
from spatial_zb.study.sections import (
    Battery,
    Combination,
    Compare,
    Dynamics,
    Economic,
    Figures,
    Model,
    Suspect,
    System,
)

COLUMN, VARIABLE = Text("column", "列"), Text("variable", "变量")
WEIGHTS, SAMPLE, MODEL = Text("weights", "权重"), Text("sample", "样本"), Text("model", "模型")
REGRESSOR = Text("regressor of x", "x中的解释变量")
OTHER_DEPENDENT = Text("dependent variable of another equation", "其他方程的被解释变量")


def check_references(
    parts: Mapping[str, Any], headers: Mapping[str, list[str] | None], problems: Problems
) -> None:
    columns = headers["file"]
    _check_columns(parts, columns, problems)
    _check_flags(parts, headers["flags"], problems)
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
        _check_known("concentration.sectors", VARIABLE, chosen.sectors, usable, problems)
        total = [] if chosen.total is None else [chosen.total]
        _check_known("concentration.total", VARIABLE, total, usable, problems)
    if parts.get("dynamics") is not None:
        _check_dynamics(parts["dynamics"], parts, usable, problems)
    for key in ("moran", "maps"):
        if parts.get(key) is not None:
            _check_known(f"{key}.variables", VARIABLE, parts[key].variables, usable, problems)
    if parts.get("moran") is not None:
        both = list(dict.fromkeys(name for pair in parts["moran"].bivariate for name in pair))
        _check_known("moran.bivariate", VARIABLE, both, usable, problems)
        _check_known("moran.weights", WEIGHTS, parts["moran"].weights, parts["weights"], problems)
        _check_known("moran.samples", SAMPLE, parts["moran"].samples, parts["samples"], problems)
    if getattr(parts.get("maps"), "clusters", None) is not None:
        _check_known("maps.clusters", WEIGHTS, [parts["maps"].clusters], parts["weights"], problems)
    if parts.get("maps") is not None:
        _check_known("maps.bivariate", VARIABLE, parts["maps"].bivariate, usable, problems)
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
                said = Text(
                    "a column, variable or index has this name; choose another",
                    "已有列、变量或指数用此名称，请另取",
                )
                problems.add(dotted, said)
            taken.add(name)
    for dotted, index in entries_of(parts, "indices"):
        _check_known(f"{dotted}.columns", VARIABLE, index.columns, usable, problems)
        _check_known(
            f"{dotted}.less",
            Text("variable of columns", "columns中的变量"),
            index.less,
            index.columns,
            problems,
        )
    for dotted, pair in entries_of(parts, "coupling"):
        _check_known(dotted, Text("index", "指数"), (pair.first, pair.second), parts["indices"], problems)


def entries_of(parts: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Valid named tables of a section with their dotted places."""
    return [(f"{key}.{name}", entry) for name, entry in parts[key].items() if entry is not None]


def _check_known(
    dotted: str, what: Text, names: Iterable[str], known: Collection[str] | None, problems: Problems
) -> None:
    """Every name must be among the known ones; None = not known here, checked later."""
    if known is None:
        return
    for name in names:
        if name not in known:
            problems.unknown(dotted, what, name, known)


#: A heading that is a year.
_YEAR = re.compile(r"(?:19|20)\d\d年?")


def _check_columns(parts: Mapping[str, Any], columns: list[str] | None, problems: Problems) -> None:
    """Columns of the data file that the sections data, missing and suspect name."""
    data = parts.get("data")
    if data is not None and columns is not None:
        for key in ("unit", "period", "flag"):
            name = getattr(data, key)
            _check_known(f"data.{key}", COLUMN, [] if name is None else [name], columns, problems)
        years = [column for column in columns if _YEAR.fullmatch(column.strip())]
        if data.period not in columns and len(years) > 1:
            said = Text(
                f"the table is wide, with a column for each year ({listed(years, 3)}); it must be long, with a row for each "
                "unit and year (Excel: Power Query, Unpivot Columns; pandas: melt)",
                f"数据表为宽表，每年一列（{listed_zh(years, 3)}）；须为长表，每个地区每年一行"
                "（Excel：Power Query中的“逆透视列”；pandas：melt）",
            )
            problems.add("data.file", said)
    seen: set[tuple[str, str | None]] = set()
    for dotted, entry in parts["missing"].items():
        if entry is None:
            continue
        _check_known(f"{dotted}.columns", COLUMN, entry.columns, columns, problems)
        own = {(column, unit) for column in entry.columns for unit in entry.units or (None,)}
        if repeated := sorted({column for column, _ in seen & own}):
            said = Text(
                f"an earlier [[missing]] has a rule for {listed(repeated)}",
                f"前面的[[missing]]已为{listed_zh(repeated)}规定了规则",
            )
            problems.add(f"{dotted}.columns", said)
        seen |= own
    entries = [(dotted, entry) for dotted, entry in parts["suspect"].items() if entry is not None]
    for i, (dotted, entry) in enumerate(entries):
        _check_known(f"{dotted}.columns", COLUMN, entry.columns, columns, problems)
        if any(_same_cell(entry, earlier) for _, earlier in entries[:i]):
            problems.add(
                dotted,
                Text("an earlier [[suspect]] names the same cell", "前面的[[suspect]]已指明同一单元格"),
            )


def _same_cell(one: Suspect, other: Suspect) -> bool:
    """Whether two entries name a cell both; units or periods that are not given are all."""
    pairs = ((one.columns, other.columns), (one.units, other.units), (one.periods or (), other.periods or ()))
    columns, *keys = (not a or not b or bool({*a} & {*b}) for a, b in pairs)
    return columns and all(keys)


def _check_flags(parts: Mapping[str, Any], header: list[str] | None, problems: Problems) -> None:
    """The table of flagged cells says which unit, period and column, and of what kind each is."""
    data = parts.get("data")
    if data is None or header is None:
        return
    _check_known("data.flags", COLUMN, [data.unit, data.period, "column", "kind"], header, problems)


# Names of an expression: not the functions before a bracket, not the e of 1e5. Whether the expression is
# allowed at all is for spatial_zb.data.expressions to say.
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*(?!\w)(?!\s*\()")


def _in_expression(name: str) -> str:
    """How a name is written in an expression."""
    return name if name.isidentifier() else f"`{name}`"


def _check_expressions(
    parts: Mapping[str, Any], columns: list[str] | None, reference: list[str] | None, problems: Problems
) -> None:
    defined = [*parts["variables"], *parts["constants"]]
    for section in ("variables", "constants"):
        for name in parts[section]:
            if name in (columns or ()) and not getattr(parts[section][name], "is_column", False):
                said = Text(
                    "the data file has a column of this name; choose another",
                    "数据文件中已有此名称的列，请另取",
                )
                problems.add(f"{section}.{name}", said)
            elif section == "constants" and name in parts["variables"]:
                said = Text("a variable has this name; choose another", "已有变量用此名称，请另取")
                problems.add(f"{section}.{name}", said)
    for dotted, entry in entries_of(parts, "variables"):
        place = f"{dotted}.expression"
        others = [name for name in defined if not (entry.is_column and name == entry.name)]
        known = None if columns is None else list(map(_in_expression, [*columns, *others]))
        quoted = [_in_expression(name.strip()) for name in QUOTED.findall(entry.expression)]
        used = dict.fromkeys([*quoted, *_NAME.findall(QUOTED.sub(" ", entry.expression))])
        _check_known(place, Text("name", "名称"), used, known, problems)
        _refuse_keys(place, used, parts.get("data"), problems)
        asked = re.search(r"\b(lq|krugman)\s*\(", entry.expression)
        if asked is None:
            continue
        if getattr(parts.get("data"), "reference", "") is None:
            said = Text(
                f"{asked[1]}() needs a reference region: name its table as data.reference",
                f"{asked[1]}()须有参照地区：请以data.reference指明其数据表",
            )
            problems.add(place, said)
    data = parts.get("data")
    if data is not None and reference is not None:
        _check_known("data.reference", COLUMN, [data.period], reference, problems)


def _refuse_keys(place: str, used: Iterable[str], data: Any, problems: Problems) -> None:
    """The columns of units and periods say which row it is; they are no figures."""
    keys = {getattr(data, key, None): key for key in ("unit", "period")}
    for name in used:
        if name in keys:
            said = Text(
                f"{name!r} is the column data.{keys[name]}, which tells rows apart and is no variable; for a trend, copy "
                "the column under another name",
                f"{name!r}是data.{keys[name]}所指的列，用于区分各行，不是变量；若要时间趋势，请将该列以另一名称复制",
            )
            problems.add(place, said)


def _check_samples(parts: Mapping[str, Any], problems: Problems) -> None:
    for dotted, entry in entries_of(parts, "samples"):
        if entry.units is not None and entry.where is not None:
            problems.add(dotted, Text("has both units and where; keep one", "同时有units和where，请只留一个"))
        if entry.units is not None and len(entry.units) < 2:
            problems.add(f"{dotted}.units", Text("a sample needs at least two units", "样本至少须有两个地区"))
    main = getattr(parts.get("study"), "sample", None)
    _check_known("study.sample", SAMPLE, [] if main is None else [main], parts["samples"], problems)


def _check_weights(parts: Mapping[str, Any], usable: list[str] | None, problems: Problems) -> None:
    """Variables of economic weights, and parts of combined ones, which must not lead back to themselves."""
    earlier: list[str] = []
    for dotted, entry in entries_of(parts, "weights"):
        if isinstance(entry, Economic):
            _check_known(f"{dotted}.variable", VARIABLE, [entry.variable], usable, problems)
        if isinstance(entry, Combination):
            place = f"{dotted}.parts"
            _check_known(place, WEIGHTS, entry.parts, parts["weights"], problems)
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
    dotted: str, model: Model, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    _check_known(f"{dotted}.y", VARIABLE, [model.y], usable, problems)
    _check_known(f"{dotted}.x", VARIABLE, model.x, usable, problems)
    _check_known(f"{dotted}.weights", WEIGHTS, model.weights, parts["weights"], problems)
    _check_known(f"{dotted}.samples", SAMPLE, model.samples, parts["samples"], problems)
    if model.lag_x != "all":
        _check_known(f"{dotted}.lag_x", REGRESSOR, model.lag_x, model.x, problems)
    if model.y in model.x:
        said = Text(
            f"the dependent variable {model.y!r} is also among the regressors",
            f"被解释变量{model.y!r}也在解释变量之中",
        )
        problems.add(f"{dotted}.x", said)
    _check_lags_and_regimes(dotted, model, usable, problems)


def _check_lags_and_regimes(dotted: str, model: Model, usable: list[str] | None, problems: Problems) -> None:
    """What lags in time and regimes go with; the rest is for DurbinSpec to say."""
    dynamic = model.time_lag or model.lag_time_lag
    if (dynamic or model.regimes) and not set(model.fixed_effects) <= {"unit", "two_way"}:
        said = Text(
            "lags in time and regimes need unit or two_way effects", "时间滞后与分区制须用unit或two_way效应"
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
    both = model.lag_y and model.lag_error
    if model.estimator == "robust_score" and (both or "random" in model.fixed_effects):
        said = Text(
            "robust_score is for models with ρ or λ, not both, and without random effects",
            "robust_score用于含ρ或λ之一、不含随机效应的模型",
        )
        problems.add(f"{dotted}.estimator", said)
    if model.regimes is None:
        return
    _check_known(f"{dotted}.regimes", VARIABLE, [model.regimes], usable, problems)
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
    compare: Compare, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    _check_known("compare.model", MODEL, [compare.model], parts["models"], problems)
    _check_known("compare.weights", WEIGHTS, compare.weights, parts["weights"], problems)
    _check_known("compare.samples", SAMPLE, compare.samples, parts["samples"], problems)
    for name, controls in compare.controls.items():
        _check_known(f"compare.controls.{name}", VARIABLE, controls, usable, problems)
    battery = compare.robustness or Battery()
    for place, part in (("compare", compare), ("compare.robustness", battery)):
        _check_known(f"{place}.y", VARIABLE, part.y, usable, problems)
        for name, others in part.x.items():
            _check_known(f"{place}.x.{name}", VARIABLE, others, usable, problems)
    base = parts["models"].get(compare.model)
    if base is not None:
        kept = [name for name in base.x if all(name not in c for c in compare.controls.values())]
        what = Text(
            f"regressor of the model {compare.model!r} that is in no set of controls",
            f"模型{compare.model!r}中不属于任何控制变量组的解释变量",
        )
        spatial = ("rho", "lam") if compare.effect == "coefficient" else ()
        lagged = [f"W_{name}" for name in kept] if compare.effect == "coefficient" else []
        _check_known("compare.term", what, [compare.term], [*kept, *lagged, *spatial], problems)
        _check_known("compare.x", what, compare.x, kept, problems)
        what = Text(f"regressor of the model {compare.model!r}", f"模型{compare.model!r}的解释变量")
        _check_known("compare.robustness.x", what, battery.x, base.x, problems)
    data = parts.get("data")
    for name, (first, last) in battery.periods.items():
        if data is not None and not data.periods[0] <= first <= last <= data.periods[1]:
            begin, end = data.periods
            said = Text(
                f"{first} to {last} lies outside data.periods, {begin} to {end}",
                f"{first}至{last}超出data.periods（{begin}至{end}）",
            )
            problems.add(f"compare.robustness.periods.{name}", said)


def _check_system(
    dotted: str, system: System, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    _check_known(f"{dotted}.weights", WEIGHTS, system.weights, parts["weights"], problems)
    _check_known(f"{dotted}.samples", SAMPLE, system.samples, parts["samples"], problems)
    explained = [equation.y for equation in system.equations.values()]
    for name, equation in system.equations.items():
        place = f"{dotted}.equations.{name}"
        others = [y for y in explained if y != equation.y]
        _check_known(f"{place}.y", VARIABLE, [equation.y], usable, problems)
        _check_known(f"{place}.x", VARIABLE, equation.x, usable, problems)
        _check_known(f"{place}.endog", OTHER_DEPENDENT, equation.endog, others, problems)
        if equation.lag_endog != "all":
            _check_known(f"{place}.lag_endog", OTHER_DEPENDENT, equation.lag_endog, others, problems)
        if equation.lag_x != "all":
            _check_known(f"{place}.lag_x", REGRESSOR, equation.lag_x, equation.x, problems)


def _check_figures(
    figures: Figures, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    """Every model.variable and system.equation.source must be one that the file has."""
    models, systems = parts["models"], parts["systems"]
    effects = [f"{name}.{x}" for name, model in models.items() if model is not None for x in model.x]
    _check_known("figures.effects", Text("model.variable", "“模型.变量”"), figures.effects, effects, problems)
    shocks = []
    for name, system in systems.items():
        equations = {} if system is None else system.equations
        sources = dict.fromkeys([*equations, *(x for equation in equations.values() for x in equation.x)])
        shocks += [f"{name}.{response}.{source}" for response in equations for source in sources]
    what = Text("system.equation.source", "“方程组.方程.来源”")
    _check_known("figures.system_effects", what, figures.system_effects, shocks, problems)
    _check_known("figures.correlogram", VARIABLE, figures.correlogram, usable, problems)


def _check_dynamics(
    dynamics: Dynamics, parts: Mapping[str, Any], usable: list[str] | None, problems: Problems
) -> None:
    for key in ("densities", "ellipses", "inequality", "sigma", "beta", "controls"):
        _check_known(f"dynamics.{key}", VARIABLE, getattr(dynamics, key), usable, problems)
    single = ("population", VARIABLE, usable), ("weights", WEIGHTS, parts["weights"])
    for key, what, known in single:
        name = getattr(dynamics, key)
        _check_known(f"dynamics.{key}", what, [] if name is None else [name], known, problems)
    if taken := [name for name in dynamics.beta if name in dynamics.controls]:
        said = Text(f"{listed(taken)} is also among beta", f"{listed_zh(taken)}也在beta之中")
        problems.add("dynamics.controls", said)


def _check_periods(parts: Mapping[str, Any], problems: Problems) -> None:
    data = parts.get("data")
    if data is None:
        return
    first, last = data.periods
    for key in ("maps", "dynamics"):
        if parts.get(key) is not None:
            outside = [period for period in parts[key].periods if not first <= period <= last]
            if outside:
                said = Text(
                    f"{listed(outside)} lies outside data.periods, {first} to {last}",
                    f"{listed_zh(outside)}超出data.periods（{first}至{last}）",
                )
                problems.add(f"{key}.periods", said)
    for dotted, constant in entries_of(parts, "constants"):
        blank = [period for period in range(first, last + 1) if period not in constant.values]
        if blank:
            problems.add(
                f"{dotted}.values", Text(f"has no number for {listed(blank)}", f"缺{listed_zh(blank)}的数值")
            )
