"""Stage claims: what the theory says, sentence by sentence, and what the figures say to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from spatial_zb.base.text import Text, period_runs
from spatial_zb.core import Array
from spatial_zb.core.statistics.dispersion import (
    NOTHING,
    Interval,
    correlation_over_units,
    correlation_tail,
    mean_over_units,
    trend_over_units,
)
from spatial_zb.core.transforms import demean
from spatial_zb.effects.responses import impulse_responses
from spatial_zb.hypotheses.over_time import granger
from spatial_zb.models.fit import Fit
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.pipeline.job import Estimated, Job, MadeTable, Verdict, span_words, unit_names
from spatial_zb.report.tables.layouts.claims import VERDICTS, claims_table, rules_note
from spatial_zb.report.tables.table import Table, TableLook
from spatial_zb.report.verdict import least_sure
from spatial_zb.report.words import EFFECTS
from spatial_zb.study import Claim
from spatial_zb.weights.periods import row_blocks

LEVEL = 0.95
#: Which cities respond, by the part of the Granger test.
PARTS = {
    "own": Text("the same city", "本地"),
    "neighbours": Text("the other cities together", "其他城市合计"),
    "both": Text("all cities together", "全部城市合计"),
}
EFFECT_OF = {"own": "own", "neighbours": "others", "both": "total"}
#: Units are among the first so often, or so seldom, that a claim about their rank is supported, or contradicted.
OFTEN, SELDOM = 0.9, 0.1
#: A fall is said to be widespread from this share of the units on.
HALF = 0.5
NO_DETAIL = Text("", "")


@dataclass(frozen=True)
class Measured:
    """What one measure gave: a number with limits or without, a verdict, and where more is shown; ``percent``: a share.

    ``table`` and ``figure`` are stems of files, blank where the run made none.
    """

    words: Text
    found: Interval
    verdict: str
    detail: Text = NO_DETAIL
    table: str = ""
    figure: str = ""
    p_value: float = np.nan
    percent: bool = False


def confront(job: Job) -> list[Text]:
    """A row for each claim of the study, as a table, a frame and a sentence."""
    claims = job.study.claims
    if not claims:
        return []
    rows = []
    for claim in claims:
        found = MEASURES[claim.measure](job, claim)
        gone = _without(job, claim) if claim.variables else NO_DETAIL
        rows.append((claim.claim, replace(found, detail=_and(found.detail, gone))))
        job.tick(f"{len(rows)}/{len(claims)}")
    frame = pd.DataFrame([_record(said, found) for said, found in rows])
    job.tidy("claims", _plain(frame))
    job.table(
        lambda look: claims_table(frame, LEVEL, look=look),
        TableLook(notes=[rules_note(LEVEL, OFTEN, SELDOM), *([Text.of(job.source)] if job.source else [])]),
    )
    job.made.verdicts.append(Verdict("claims", _in_short(frame)))
    return []


def _record(claim: Text, found: Measured) -> dict[str, object]:
    return {
        "claim": claim,
        "measure": found.words,
        "estimate": found.found.estimate,
        "conf_low": found.found.low,
        "conf_high": found.found.high,
        "p_value": found.p_value,
        "percent": found.percent,
        "verdict": found.verdict,
        "detail": found.detail,
        "table": found.table,
        "figure": found.figure,
    }


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts in a column for each language."""
    out = frame.copy()
    for name in ("claim", "measure", "detail"):
        out.insert(out.columns.get_loc(name) + 1, f"{name}_zh", [text.zh for text in out[name]])
        out[name] = [text.en for text in out[name]]
    return out


def _in_short(frame: pd.DataFrame) -> Text:
    """How many claims came out how: one whose measures disagree counts as not supported."""
    firm = ("supported", "contradicted", "unmeasurable")
    verdicts = frame.groupby([text.en for text in frame["claim"]], sort=False)["verdict"].agg(
        lambda found: found.iloc[0] if found.nunique() == 1 and found.iloc[0] in firm else "unsupported"
    )
    count = verdicts.value_counts().reindex(list(VERDICTS), fill_value=0)
    yes, no, against, unknown = (int(count[key]) for key in VERDICTS)
    return Text(
        f"Of {len(verdicts)} claims of the theory, these figures support {yes}, do not support {no}, contradict {against}, "
        f"and cannot measure {unknown}.",
        f"理论的{len(verdicts)}项论断中，这些数据支持{yes}项，未能支持{no}项，与{against}项相反，另有{unknown}项无法测度。",
    )


def verdict_of(found: Interval, expected: str, against: float = 0.0) -> str:
    """Where an interval lies beside what the claim says."""
    if not np.isfinite([found.low, found.high]).all():
        return "unmeasurable"
    sign = 1 if expected == "positive" else -1
    low, high = sorted((sign * (found.low - against), sign * (found.high - against)))
    return "supported" if low > 0 else "contradicted" if high < 0 else "unsupported"


# ---------------------------------------------------------------- measures


def _values(job: Job, claim: Claim) -> tuple[Array, tuple[int, ...], list[str]]:
    """Variables (T, n, k) over the sample or the units named, their periods and units."""
    panel = job.prepared.sample(claim.sample or job.study.main_sample)
    if claim.units and claim.measure != "rank":
        panel = panel.select(units=list(claim.units))
    if claim.periods:
        panel = panel.select(periods=list(claim.periods))
    return panel.array(list(claim.variables)), panel.periods, list(panel.units)


def _labels(job: Job, claim: Claim) -> list[Text]:
    panel = job.prepared.panel
    return [Text.of(panel.label(name)) for name in claim.variables]


def _correlation(job: Job, claim: Claim) -> Measured:
    values, periods, _ = _values(job, claim)
    one, other = values[..., 0], values[..., 1]
    a, b = labels = _labels(job, claim)
    place = Text("of the same unit", "同一地区")
    if claim.weights is not None:
        other = _lagged(job, claim, other)
        label = job.study.weights[claim.weights].label
        place = Text(f"of its neighbours ({label.en})", f"邻接地区（{label.zh}）")
    tails = [
        correlation_tail(x, y, 999, np.random.default_rng(job.seed("claims", *claim.variables, str(t))))
        for x, y, t in zip(one, other, periods, strict=True)
    ]
    how = Text("over all years", "各年合并")
    if claim.within:
        one, other = (demean(part, "two_way") for part in (one, other))
        how = Text("free of unit and year means", "剔除地区与年份均值")
    found = correlation_over_units(one, other, LEVEL)
    clear = [period for period, p in zip(periods, tails, strict=True) if p < 1 - LEVEL]
    years = Text(f": {period_runs(clear, '–')}", f"：{period_runs(clear, '—')}") if clear else NO_DETAIL
    detail = Text(
        f"significant year by year in {len(clear)} of {len(periods)} years{years.en}",
        f"逐年检验显著的年份{len(clear)}/{len(periods)}{years.zh}",
    )
    if claim.within and np.isnan(found.estimate):
        detail = Text("needs every unit in every period", "要求每个地区每期都有数据")
    elif claim.within:
        detail = NO_DETAIL
    return Measured(
        Text(
            f"Correlation of {a.en} with {b.en} {place.en}, {how.en}",
            f"{a.zh}与{place.zh}{b.zh}的相关系数，{how.zh}",
        ),
        found,
        verdict_of(found, claim.expected),
        detail,
        *_shown_with(job, claim, labels),
    )


def _lagged(job: Job, claim: Claim, values: Array) -> Array:
    """The spatial lag (T, n) among the units that are there; NaN without neighbours."""
    sample = claim.sample or job.study.main_sample
    panel, W = job.prepared.sample(sample), job.prepared.weights(str(claim.weights), sample)
    if claim.periods:
        panel = panel.select(periods=list(claim.periods))
    there = np.isfinite(values)
    out = np.full(values.shape, np.nan)
    for t, block in enumerate(row_blocks(W, panel.units, panel.periods, there)):
        lag = block @ values[t, there[t]]
        out[t, there[t]] = np.where(np.diff(block.indptr) > 0, lag, np.nan)
    return out


def _effect(job: Job, claim: Claim) -> Measured:
    model = job.study.models[str(claim.model)]
    term = Text.of(job.prepared.panel.label(str(claim.term)))
    kind, y = EFFECTS[claim.effect], Text.of(job.prepared.panel.label(model.y))
    words = Text(f"{kind.en} effect of {term.en} on {y.en}", f"{term.zh}对{y.zh}的{kind.zh}")
    sample = claim.sample or next(iter(job.study.samples_of(model)))
    W = claim.weights or next(iter(job.study.weights_of(model)))
    fits = [
        one for one in job.made.fits if one.key[:3] == (model.name, sample, W) and isinstance(one.fit, Fit)
    ]
    if not fits or fits[-1].effects is None:
        return _unmeasured(words, Text("the model has no effects in this run", "本次运行中该模型没有效应"))
    key = f"effects_{model.name}"
    return _of_effects(fits[-1], claim, words, (_table(job, [key]), _figure(job, [key])))


def _of_effects(one: Estimated, claim: Claim, words: Text, see: tuple[str, str]) -> Measured:
    assert one.effects is not None, "asked before"
    frame = one.effects.tidy()
    row = frame[(frame["term"] == claim.term) & (frame["effect"] == claim.effect)]
    if not len(row) or not np.isfinite(row["conf_low"].iloc[0]):
        reason = one.effects.reason
        return _unmeasured(words, Text("not computed", "未计算") if reason is None else reason.text, *see)
    found = Interval(*(float(row[name].iloc[0]) for name in ("estimate", "conf_low", "conf_high")))
    p = float(row["p_value"].iloc[0])
    return Measured(words, found, verdict_of(found, claim.expected), NO_DETAIL, *see, p_value=p)


def _granger(job: Job, claim: Claim) -> Measured:
    """The response one period later, and whether lags of the source help to explain it at all."""
    system = job.study.systems[str(claim.system)]
    equations = [str(name) for name in (claim.source, claim.response)]
    source, response = (Text.of(job.prepared.panel.label(system.equations[name].y)) for name in equations)
    part = PARTS[claim.part]
    words = Text(
        f"Response of {response.en} one period after one more unit of {source.en}, {part.en}",
        f"{source.zh}增加一单位后下一期{response.zh}的响应，{part.zh}",
    )
    sample = claim.sample or next(iter(job.study.samples_of(system)))
    W = claim.weights or next(iter(job.study.weights_of(system)))
    found = [one.fit for one in job.made.fits if one.key[:3] == (system.name, sample, W)]
    fits = [fit for fit in found if isinstance(fit, SystemFit) and fit.spec.dynamic and fit.converged]
    if not fits:
        return _unmeasured(
            words, Text("no system over time was estimated in this run", "本次运行未得到动态系统的估计")
        )
    made = job.made.leads.get((system.name, sample, W))
    tests = (granger(fits[0]) if made is None else made).tidy()
    paths = impulse_responses(fits[0], 1, source=claim.source).tidy()
    test = tests[
        (tests["response"] == claim.response)
        & (tests["source"] == claim.source)
        & (tests["part"] == claim.part)
    ]
    here = (
        (paths["response"] == claim.response)
        & (paths["horizon"] == 1)
        & (paths["effect"] == EFFECT_OF[claim.part])
    )
    row = paths[here].iloc[0]
    found_here = Interval(*(float(row[name]) for name in ("estimate", "conf_low", "conf_high")))
    p = float(least_sure(test).iloc[0]) if len(test) else np.nan
    verdict = verdict_of(found_here, claim.expected)
    if np.isfinite(p) and p >= 1 - LEVEL and verdict in ("supported", "contradicted"):
        verdict = "unsupported"
    detail = Text(f"Granger test, p = {p:.2f}", f"格兰杰检验p = {p:.2f}") if np.isfinite(p) else NO_DETAIL
    stem = "_".join(["system", system.name, sample, W])
    table = _table(job, [f"{stem}_granger", f"{stem}_responses", stem])
    figure = _figure(job, [f"{stem}_responses_{claim.source}"])
    return Measured(words, found_here, verdict, detail, table, figure, p)


def _rank(job: Job, claim: Claim) -> Measured:
    values, periods, units = _values(job, claim)
    one, top = values[..., 0], int(claim.top or 1)
    order = np.argsort(np.argsort(-np.where(np.isfinite(one), one, -np.inf), axis=1), axis=1) + 1
    at = [units.index(unit) for unit in claim.units]
    share = float((order[:, at] <= top).mean())
    names = unit_names(job.prepared)
    said = [(names.get(units[i], Text.of(units[i])), int(np.median(order[:, i]))) for i in at]
    detail = Text(
        "median rank: " + ", ".join(f"{name.en} {rank}" for name, rank in said) + f" of {len(units)}",
        "排名中位数：" + "、".join(f"{name.zh}第{rank}" for name, rank in said) + f"（共{len(units)}个）",
    )
    label, years = _labels(job, claim)[0], span_words(periods)
    verdict = "supported" if share >= OFTEN else "contradicted" if share <= SELDOM else "unsupported"
    return Measured(
        Text(
            f"Share of unit-years among the first {top} by {label.en}, {years.en}",
            f"按{label.zh}居前{top}位的地区-年份比例，{years.zh}",
        ),
        Interval(share, np.nan, np.nan),
        verdict,
        detail,
        *_shown_with(job, claim, _labels(job, claim)),
        percent=True,
    )


def _level(job: Job, claim: Claim) -> Measured:
    values, periods, units = _values(job, claim)
    found = mean_over_units(_means(values[..., 0]), LEVEL)
    label, years, against = _labels(job, claim)[0], span_words(periods), float(claim.against or 0.0)
    return Measured(
        Text(
            f"Mean of {label.en} over {len(units)} units, {years.en}, against {against:g}",
            f"{len(units)}个地区{label.zh}的均值，{years.zh}，与{against:g}比较",
        ),
        found,
        verdict_of(found, claim.expected, against),
        NO_DETAIL,
        *_shown_with(job, claim, _labels(job, claim)),
    )


def _means(values: Array) -> Array:
    """Mean over the periods that a unit has; NaN where it has none."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _trend(job: Job, claim: Claim) -> Measured:
    values, periods, units = _values(job, claim)
    found = trend_over_units(values[..., 0], np.array(periods, float), LEVEL)
    label, years = _labels(job, claim)[0], span_words(periods)
    return Measured(
        Text(
            f"Change of {label.en} from year to year, mean of {len(units)} units, {years.en}",
            f"{label.zh}的年均变化，{len(units)}个地区的均值，{years.zh}",
        ),
        found,
        verdict_of(found, claim.expected),
        NO_DETAIL,
        *_shown_with(job, claim, _labels(job, claim)),
    )


def _fall(job: Job, claim: Claim) -> Measured:
    values, periods, units = _values(job, claim)
    change = values[-1] - values[0]
    whole = np.isfinite(change).all(axis=1)
    fell = (change < 0).all(axis=1) & whole
    labels, names = _labels(job, claim), unit_names(job.prepared)
    share = float(fell.sum() / max(whole.sum(), 1))
    gone = [names.get(units[i], Text.of(units[i])) for i in np.flatnonzero(fell)]
    years = span_words((periods[0], periods[-1]))
    as_said = (share >= HALF) == (claim.expected == "positive")
    verdict = "unmeasurable" if not whole.any() else "supported" if as_said else "unsupported"
    return Measured(
        Text(
            f"Share of units where {' and '.join(label.en for label in labels)} fell, {years.en}",
            f"{'与'.join(label.zh for label in labels)}都下降的地区比例，{years.zh}",
        ),
        Interval(share, np.nan, np.nan),
        verdict,
        Text(
            f"{len(gone)} of {int(whole.sum())}"
            + (f": {', '.join(name.en for name in gone)}" if gone else ""),
            f"{int(whole.sum())}个中{len(gone)}个"
            + (f"：{'、'.join(name.zh for name in gone)}" if gone else ""),
        ),
        *_shown_with(job, claim, labels),
        percent=True,
    )


def _none(job: Job, claim: Claim) -> Measured:
    return _unmeasured(Text("–", "–"), Text.of(claim.reason or Text("", "")))


def _unmeasured(words: Text, why: Text, table: str = "", figure: str = "") -> Measured:
    return Measured(words, NOTHING, "unmeasurable", why, table, figure)


MEASURES: dict[str, Callable[[Job, Claim], Measured]] = {
    "correlation": _correlation,
    "effect": _effect,
    "granger": _granger,
    "rank": _rank,
    "level": _level,
    "trend": _trend,
    "fall": _fall,
    "none": _none,
}


def _and(one: Text, other: Text) -> Text:
    return Text("; ".join(filter(None, (one.en, other.en))), "；".join(filter(None, (one.zh, other.zh))))


def _without(job: Job, claim: Claim) -> Text:
    """Units that the sample lacks for want of data, and so does the number."""
    gone = [] if claim.units else job.prepared.left_out(claim.sample or job.study.main_sample)
    if not gone:
        return NO_DETAIL
    names = unit_names(job.prepared)
    said = [names.get(unit, Text.of(str(unit))) for unit in gone]
    return Text(
        f"without {' and '.join(name.en for name in said)}, whose figures are incomplete",
        f"不含数据不全的{'、'.join(name.zh for name in said)}",
    )


def _shown_with(job: Job, claim: Claim, labels: list[Text]) -> tuple[str, str]:
    """Table and figure of this run that show the variables, the nearest to the measure first."""
    names, lagged = "_".join(claim.variables), claim.weights is not None
    pair = claim.measure == "correlation"
    first = ["moran_bivariate"] if lagged else ["correlations"] if pair else list(claim.variables)
    figures = [f"moran_bivariate_{names}"] if lagged else []
    figures += [f"map_{names}", *(f"map_{name}" for name in claim.variables)]
    figures += [f"{kind}_{name}" for kind in ("density", "moran_scatter") for name in claim.variables]
    keys = [*first, "descriptives"]
    return _table(job, keys, labels) or _table(job, keys, labels[:1]), _figure(job, figures)


def _table(job: Job, keys: list[str], labels: Sequence[Text] = ()) -> str:
    """The first of these tables that the run made and that names what is asked for; blank without one."""
    made: dict[str, Table] = {}
    for item in job.made.items:
        if isinstance(item, MadeTable):
            table = next(iter(item.tables.values()))
            made.setdefault(table.key, table)
    for key in keys:
        if key in made and (key in job.study.coupling or all(_names(made[key], label) for label in labels)):
            return key
    return ""


def _names(table: Table, label: Text) -> bool:
    """Whether a line of a table is named by a variable."""
    firsts = [row.cells[0] for row in table.rows if row.cells]
    return any(label.en in (first.en if isinstance(first, Text) else str(first)) for first in firsts)


def _figure(job: Job, stems: list[str]) -> str:
    """The first of these figures that the run drew; blank without one."""
    return next((stem for stem in stems if stem in job.made.titles), "")
