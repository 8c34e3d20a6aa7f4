"""Words that the stages share, and what a run tells its reader beside the results."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatial_zb.base.errors import DataError, SpatialZbError, SpatialZbWarning, listed, listed_zh
from spatial_zb.base.notes import FitWords, NotesWarning, about, tell, warn, warn_again
from spatial_zb.base.results import ConfidenceSet
from spatial_zb.base.text import UNDATED, Text
from spatial_zb.core.statistics.dispersion import within_sd
from spatial_zb.data.expressions.syntax import checked_tree, function_of, referenced_calls
from spatial_zb.data.panel import Panel
from spatial_zb.data.read import read_table
from spatial_zb.effects.scenarios import Scenario as Scenarios
from spatial_zb.inference.sets import ConfidenceSets
from spatial_zb.report.verdict import Step
from spatial_zb.report.words import effect_name
from spatial_zb.study import Model, Scenario, Study, System
from spatial_zb.study.columns import is_logarithm

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def naming_sample(study: Study, sample: str) -> Iterator[None]:
    """Warnings about fits from here name their sample, where the study has several."""
    if len(study.samples) < 2:
        yield
        return
    label = study.samples[sample].label
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        try:
            yield
        finally:
            messages = [warning.message for warning in caught]
    for message in messages:
        if isinstance(message, NotesWarning) and isinstance(message.notes[0].subject, FitWords):
            tell(about(replace(message.notes[0].subject, sample=label), message.notes))
        else:
            warn_again(message)


@contextmanager
def saying_where(place: str | Text) -> Iterator[None]:
    """Add to an error raised inside which part of the study or which file it is about, unless its message says so."""
    try:
        yield
    except SpatialZbError as error:
        where = Text.of(place)
        if where.en in str(error):
            raise
        raise type(error)(f"{where.en}: {error}", f"{where.zh}：{error.zh}") from error


def warn_undone(what: Text, why: SpatialZbError | Text) -> None:
    """Say that a part of the study was left out, and why; the rest of the run goes on.

    ``what`` is the part, such as ``Text("No robustness battery", "未作稳健性检验")``.
    """
    en, zh = (why.en if isinstance(why, Text) else str(why)), why.zh
    warn(f"{what.en}: {en}", f"{what.zh}：{zh}")


#: Words for the stages, shown while they run.
STAGE_WORDS = {
    "prepare": Text("Reading polygons and data", "读取底图与数据"),
    "weights": Text("Building weights", "构建权重矩阵"),
    "data": Text("Describing the sample", "描述样本"),
    "moran": Text("Moran's I", "莫兰指数"),
    "dynamics": Text("Distribution dynamics", "动态演进"),
    "tests": Text("Specification tests", "设定检验"),
    "models": Text("Spatial Durbin models", "空间杜宾模型"),
    "systems": Text("Simultaneous systems", "空间联立方程"),
    "compare": Text("Comparisons and robustness", "比较与稳健性"),
    "crosscheck": Text("Beside spreg and esda", "与spreg、esda对照"),
    "claims": Text("Claims of the theory", "理论论断"),
    "maps": Text("Maps and figures", "地图与图形"),
    "report": Text("Report page", "报告网页"),
}

EFFECT_WORDS = {
    "none": Text("No effects", "无固定效应"),
    "unit": Text("Unit effects", "个体固定"),
    "time": Text("Time effects", "时间固定"),
    "two_way": Text("Two-way effects", "双向固定"),
    "random": Text("Random effects", "随机效应"),
}


def effect_words(effects: object, labels: Mapping[str, Text]) -> Text:
    """What a model calls its effects, such as ``"two_way"`` or ``"unit + province*period"``."""
    if (known := EFFECT_WORDS.get(str(effects))) is not None:
        return known
    names = [effect_name(name, labels) for name in str(effects).split(" + ")]
    en, zh = [name.en for name in names], [name.zh for name in names]
    return Text(f"Effects of {listed(en, len(en))}", f"{listed_zh(zh, len(zh))}固定")


def shares_of_one_total(study: Study, names: Sequence[str]) -> list[Text]:
    """That variables of one equation are location quotients of parts of the same total: one gains what the others lose."""
    parts: dict[str, list[str]] = {}
    for name in names:
        text = study.variables[name].expression if name in study.variables else ""
        for call in referenced_calls(checked_tree(text)) if "lq" in text else ():
            if function_of(call) == "lq" and name not in parts.setdefault(ast.unparse(call.args[1]), []):
                parts[ast.unparse(call.args[1])].append(name)
    said = []
    for several in (found for found in parts.values() if len(found) > 1):
        labels = [short_words(v.label) for name, v in study.variables.items() if name in several]
        said.append(
            Text(
                f"{' and '.join(label.en for label in labels)} are shares of the same total, so that one has what the "
                "others lack: a negative coefficient between them at home may be that alone.",
                f"{listed_zh([label.zh for label in labels])}为同一总量中的份额，此升则彼降；"
                "二者之间的本地负系数可能仅由此而来。",
            )
        )
    return said


RULE_WORDS = {
    "blank": Text("left blank", "保留空缺"),
    "interpolate": Text("linear between the nearest years", "相邻年份线性插值"),
    "median_growth": Text("median growth of the others", "其他地区增长率中位数"),
    "drop_units": Text("unit left out", "剔除该地区"),
    "drop_periods": Text("period left out", "剔除该年份"),
}

#: What became of the weights of absent neighbours.
ABSENT_RULE = {
    "renormalise": Text(
        "Where neighbours are absent the rows of those present are scaled again to the same sum.",
        "邻居不存在时，其余邻居的权重按原行和重新标准化。",
    ),
    "keep": Text(
        "Where neighbours are absent the weights of those present stay as they are, so that these rows sum to less.",
        "邻居不存在时，其余邻居的权重保持不变，行和因而变小。",
    ),
}

METHOD_WORDS = {
    "2sls": Text("2SLS", "2SLS"),
    "3sls": Text("3SLS", "3SLS"),
    "gs2sls": Text("GS2SLS", "GS2SLS"),
    "gs3sls": Text("GS3SLS", "GS3SLS"),
    "fiml": Text("FIML", "FIML"),
}


def column_heading(
    study: Study, part: Model | System, sample: str, weights: str, last: Text, several: bool
) -> Text:
    """What sets a column apart from the others of its table: sample, W, and ``last`` where there are ``several`` of it.

    ``last`` alone where nothing else does.
    """
    parts = []
    if len(study.samples_of(part)) > 1:
        parts.append(study.samples[sample].label)
    if len(study.weights_of(part)) > 1:
        parts.append(study.weights[weights].label)
    if several or not parts:
        parts.append(last)
    return Text(", ".join(p.en for p in parts), "，".join(p.zh for p in parts))


def step_of(study: Study, panel: Panel, name: str) -> Step:
    """How far a variable of a study is moved when its effect is spoken of: 10 % of a logarithm, else a standard deviation.

    Deviations are those within units, where there are several periods.
    """
    label, values = panel.label(name), panel.array(name)
    if is_logarithm(study.variables, name):
        return Step.of_log(label)
    known = values[np.isfinite(values)]
    if set(np.unique(known)) <= {0.0, 1.0}:
        return Step(label, 1.0, "switch")
    size = within_sd(values) if len(panel.periods) > 1 else float(known.std(ddof=1))
    return Step(label, size, "deviation") if np.isfinite(size) and size > 0 else Step(label, 1.0, "unit")


def span_words(periods: Sequence[int]) -> Text:
    """The years of a panel, or its only one."""
    first, last = periods[0], periods[-1]
    if first == last == UNDATED:
        return Text("cross-section", "截面数据")
    if first == last:
        return Text(f"{first}", f"{first}年")
    return Text(f"{first}–{last}", f"{first}—{last}年")


def paper_figures(study: Study) -> tuple[str, str, str, str]:
    """Stems of the figures of the paper: map, Moran scatter or clusters, effects, robustness; empty where there is none."""
    maps, models, asked = study.maps, list(study.models), study.compare
    first = maps.variables[0] if maps is not None and maps.variables else ""
    moran = (
        ""
        if not first
        else f"clusters_{first}"
        if maps is not None and maps.clusters
        else f"moran_scatter_{first}"
    )
    return (
        f"map_{first}" if first else "",
        moran,
        f"effects_{models[0]}" if models else "",
        "compare_curve" if asked is not None else "",
    )


def short_words(label: Text) -> Text:
    """A label without what it says in brackets."""
    return Text(label.en.split(" (")[0], label.zh.split("（")[0])


def as_sentence(text: Text) -> Text:
    return Text(text.en.rstrip(".") + ".", text.zh.rstrip("。") + "。")


def source_note(source: Text) -> Text:
    """The source as the closing line of a table or figure."""
    return Text(f"Source: {source.en}.", f"资料来源：{source.zh}。")


def weights_words(study: Study) -> dict[str, Text]:
    return {name: W.label for name, W in study.weights.items()}


def column_words(study: Study) -> dict[str, Text]:
    """Words of the codebook for the columns of the data file, where the study names one.

    Raises
    ------
    DataError
        The codebook has no columns ``name``, ``label_en`` and ``label_zh``.
    """
    if study.data.codebook is None:
        return {}
    book = read_table(study.file(study.data.codebook), [])
    absent = [column for column in ("name", "label_en", "label_zh") if column not in book]
    if absent:
        raise DataError(
            f"{study.data.codebook} has no column {listed(absent)}. A codebook has a row for each column of the data: its "
            "name, label_en and label_zh; and table, where it describes several files.",
            f"{study.data.codebook}没有列{listed_zh(absent)}。代码本中数据表的每一列占一行：name、label_en、label_zh；"
            "若说明几个文件，另有table。",
        )
    if "table" in book:
        book = book[book["table"] == Path(study.table_name).stem]
    rows = book[book["label_en"].notna() & book["label_zh"].notna()]
    return {
        str(name): Text(str(en), str(zh))
        for name, en, zh in zip(rows["name"], rows["label_en"], rows["label_zh"], strict=True)
    }


def sets_words(found: Sequence[ConfidenceSets], names: Mapping[str, Text], where: Text) -> Text:
    """What sets for weak instruments say: of each equation the sign of what is known, and that none is where none is."""
    parts = []
    for one in found:
        y = names[one.equation]
        known = [each for each in one.sets if each.sign]
        empty = [each for each in one.sets if each.shape == "empty"]
        if empty:
            parts.append(
                Text(
                    f"{y.en}: the data reject every value, so what the equation leaves out belongs into it",
                    f"{y.zh}：数据拒绝任何取值，方程所排除的变量应当纳入",
                )
            )
        elif not known:
            shape = [each.shape for each in one.sets]
            every = all(each == "whole" for each in shape)
            why = (
                Text("every value is compatible with the data", "任何取值都与数据相容")
                if every
                else Text("both signs are compatible with the data", "正负取值都与数据相容")
            )
            parts.append(
                Text(
                    f"{y.en}: no sign is known, neither of γ and ψ nor of the total effect ({why.en}; F of the weakest "
                    f"direction {one.facts['weakest_f']:.2f})",
                    f"{y.zh}：γ、ψ与总效应的符号均未知（{why.zh}；最弱方向的F为{one.facts['weakest_f']:.2f}）",
                )
            )
        else:
            said = [_known(each, names) for each in known]
            parts.append(
                Text(
                    f"{y.en}: {', '.join(each.en for each in said)}; of the others no sign is known",
                    f"{y.zh}：{'，'.join(each.zh for each in said)}；其余符号未知",
                )
                if len(known) < len(one.sets)
                else Text(
                    f"{y.en}: {', '.join(each.en for each in said)}",
                    f"{y.zh}：{'，'.join(each.zh for each in said)}",
                )
            )
    return Text(
        f"{where.en}. {'. '.join(part.en for part in parts)}.",
        f"{where.zh}。{'。'.join(part.zh for part in parts)}。",
    )


def _known(one: ConfidenceSet, names: Mapping[str, Text]) -> Text:
    """The sign of a coefficient or total effect, and its set."""
    term = one.term.removeprefix("total:")
    name = names.get(term.removeprefix("W_"), Text.of(term.removeprefix("W_")))
    what = Text(f"W × {name.en}", f"W × {name.zh}") if term.startswith("W_") else name
    if one.term.startswith("total:"):
        what = Text(f"the total effect of {name.en}", f"{name.zh}的总效应")
    sign = Text("positive", "为正") if one.sign > 0 else Text("negative", "为负")
    return Text(f"{what.en} is {sign.en} ({one.words()})", f"{what.zh}{sign.zh}（{one.words('zh')}）")


def scenario_changes(wanted: Scenario, labels: Mapping[str, Text], period: int | None = None) -> Text:
    """What a scenario changes, in words, and in which period where W or units change between periods."""
    parts = []
    for unit, moved in wanted.changes.items():
        where = labels.get(unit, Text.of(unit))
        for name, value in moved.items():
            what, by = labels.get(name, Text.of(name)), f"{value:+g}".replace("-", "−")
            parts.append(Text(f"{where.en}: {what.en} {by}", f"{where.zh}：{what.zh}{by}"))
    lasting = {
        "permanent": Text(", for good", "，此后一直保持"),
        "one_off": Text(", for one period", "，仅一期"),
    }
    said = lasting[wanted.change] if wanted.horizons is not None else Text("", "")
    if period is not None:
        said = Text(f" in {period}, among the units of that year", f"（{period}年，限当年存在的地区）")
    return Text(
        f"{'; '.join(part.en for part in parts)}{said.en}.",
        f"{'；'.join(part.zh for part in parts)}{said.zh}。",
    )


def scenario_words(found: Scenarios, moved: Text, labels: Mapping[str, Text]) -> Text:
    """Who gains and who loses: those whose interval is on one side of zero, at the last horizon."""
    frame = found.tidy()
    when = Text("", "")
    if "horizon" in frame:
        last = frame["horizon"].max()
        frame, when = frame[frame["horizon"] == last], Text(f" after {last} periods", f"{last}期后，")
    parts = []
    for response, own in frame.groupby("response", sort=False):
        label = labels.get(str(response), Text.of(str(response)))
        gain, lose = own[own["conf_low"] > 0], own[own["conf_high"] < 0]
        if not len(gain) and not len(lose):
            parts.append(
                Text(
                    f"{label.en}{when.en}: no unit is known to gain or to lose, every interval holds zero",
                    f"{when.zh}{label.zh}：没有地区可确定受益或受损，各区间均包含零",
                )
            )
            continue
        sure = own.loc[[*gain.index, *lose.index]]
        most = sure.loc[sure["change"].abs().idxmax()]
        name = labels.get(str(most["unit"]), Text.of(str(most["unit"])))
        numbers = [f"{most[k]:+.3g}".replace("-", "−") for k in ("change", "conf_low", "conf_high")]
        parts.append(
            Text(
                f"{label.en}{when.en}: {len(gain)} of {len(own)} units gain and {len(lose)} lose (95 % intervals "
                "without zero); of these {} changes most ({} [{}, {}])".format(name.en, *numbers),
                f"{when.zh}{label.zh}：{len(own)}个地区中受益{len(gain)}个、受损{len(lose)}个"
                "（95%区间不含零）；其中变化最大的是{}（{}，[{}, {}]）".format(name.zh, *numbers),
            )
        )
    return Text(
        f"{moved.en} {'. '.join(p.en for p in parts)}.", f"{moved.zh}{'。'.join(p.zh for p in parts)}。"
    )


#: What becomes of a blank cell.
TREATED = {
    "filled": Text("{} filled", "补齐{}处"),
    "blank": Text("{} left blank", "保留空缺{}处"),
    "units": Text("{} unit(s) left out", "剔除{}个地区"),
    "periods": Text("{} period(s) left out", "剔除{}个时期"),
}
NONE_TREATED = Text("no blank cells", "无空缺数据")


def blank_words(filled: pd.DataFrame) -> Text:
    """What became of blank cells: how many were filled or left blank, and which units and periods went for them.

    ``filled`` is the table of :class:`~spatial_zb.pipeline.prepare.Prepared`.
    """
    rules = filled["rule"]
    counts = {
        "filled": int((~rules.isin(["blank", "drop_units", "drop_periods"])).sum()),
        "blank": int((rules == "blank").sum()),
        "units": filled.loc[rules == "drop_units", "unit"].nunique(),
        "periods": filled.loc[rules == "drop_periods", "period"].nunique(),
    }
    said = [(TREATED[what], number) for what, number in counts.items() if number]
    if not said:
        return NONE_TREATED
    en, zh = "; ".join(w.en.format(n) for w, n in said), "，".join(w.zh.format(n) for w, n in said)
    return Text(f"blank or suspect cells, by the study's rules: {en}", f"空缺或存疑数据按研究规则处理：{zh}")


def blank_sentence(filled: pd.DataFrame) -> Text:
    """The same as a note, which says where the cells are listed."""
    said = blank_words(filled)
    return Text(
        f"{said.en[0].upper()}{said.en[1:]} (table “Cells filled and left blank”).",
        f"{said.zh}（见“缺失值及其处理”表）。",
    )
