"""Part of stage systems: systems with lags in time, who leads whom, and what follows a shock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations, product
from typing import Any

import numpy as np
import pandas as pd

from spatial_zb.base.results import TestTable
from spatial_zb.base.text import Text
from spatial_zb.effects.responses import MOST_ROWS, Responses, impulse_responses
from spatial_zb.hypotheses.over_time import granger
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.pipeline.job import (
    Job,
    Verdict,
    figure_note,
    left_out_words,
    map_look,
    sample_notes,
    shown_regions,
    unit_names,
)
from spatial_zb.pipeline.words import weights_words
from spatial_zb.report import figures, maps
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.tables.table import TableLook
from spatial_zb.report.verdict import leads_sentence
from spatial_zb.study import System

#: Horizons of the table and of the static map; the frame and the page have all.
SHOWN, MAPPED = (0, 1, 2, 3, 5, 10), 3
ASSERTED = 0.05


def write_over_time(job: Job, system: System, facts: Mapping[str, str], fit: SystemFit) -> None:
    """One estimate: coefficients, tests, responses and their shares, figures, a map with a slider, words."""
    from spatial_zb.report.tables import layouts
    from spatial_zb.report.tables.layouts import dynamics

    study, prepared = job.study, job.prepared
    sample, W = facts["sample"], facts["weights"]
    names = {name: _short(prepared.panel.label(e.y)) for name, e in system.equations.items()}
    words = prepared.labels | weights_words(study)
    where = study.samples[sample].label, study.weights[W].label
    choices = {"model": system.title, "sample": where[0], "weights": where[1]}
    title = Text(
        f"{system.title.en}: {where[0].en}, {where[1].en}",
        f"{system.title.zh}：{where[0].zh}，{where[1].zh}",
    )
    stem = "_".join(["system", system.name, sample, W])
    notes = [*sample_notes(job, sample), *prepared.sources]
    job.table(
        partial(layouts.regression_table, [(Text("FIML, adjusted", "FIML（校正）"), fit)]),
        TableLook(title=title, key=stem, notes=[persistence_words(fit), *notes], words=words | names),
        choices,
    )
    tests = _tests(job, system, facts, fit)
    if tests is not None:
        heading = Text(f"{title.en}: who leads whom", f"{title.zh}：先后关系")
        job.table(
            partial(dynamics.granger_table, tests.tidy()),
            TableLook(title=heading, key=f"{stem}_granger", notes=notes, words=names),
            choices,
        )
        job.tidy(f"{stem}_granger", tests.tidy())
    responses = None
    if system.responses:
        responses = impulse_responses(fit, system.responses)
        _write_responses(job, system, facts, responses, stem, title, names, choices)
        for unit in system.shocks:
            _map_shock(job, system, facts, fit, unit, stem, names, choices)
    reading = over_time_words(fit, tests, responses, names, title)
    job.prose(f"{stem}_reading", system.title, [reading], choices)
    said = None if tests is None else leads_sentence(tests.tidy(), names)
    if said is not None and not any(verdict.about == system.name for verdict in job.made.verdicts):
        job.made.verdicts.append(Verdict(system.name, said))


def _tests(job: Job, system: System, facts: Mapping[str, str], fit: SystemFit) -> TestTable | None:
    if not system.granger or len(system.equations) < 2:
        return None
    replicates = 0 if system.granger is True else int(system.granger)
    seed = job.seed("granger", system.name, *facts.values())
    found = granger(fit, replicates=replicates, rng=seed)
    job.made.leads[system.name, facts["sample"], facts["weights"]] = found
    return found


def _write_responses(
    job: Job,
    system: System,
    facts: Mapping[str, str],
    responses: Responses,
    stem: str,
    title: Text,
    names: Mapping[str, Text],
    choices: Mapping[str, Text],
) -> None:
    from spatial_zb.report.tables.layouts import dynamics

    frame = responses.tidy()
    heading = Text(f"{title.en}: responses to a shock", f"{title.zh}：冲击响应")
    notes = [*sample_notes(job, facts["sample"]), *job.prepared.sources]
    job.table(
        partial(dynamics.responses_table, frame, horizons=SHOWN),
        TableLook(title=heading, key=f"{stem}_responses", notes=notes, words=names),
        choices,
    )
    job.tidy(f"{stem}_responses", frame)
    if responses.reason is not None:
        return
    _write_shares(job, responses, stem, title, TableLook(notes=notes, words=names), choices)
    for source in system.equations:
        whose = Text(f"shock to {names[source].en}", f"{names[source].zh}的冲击")
        shown = Text(f"{title.en}: {whose.en}", f"{title.zh}：{whose.zh}")
        job.figure(
            f"{stem}_responses_{source}",
            partial(_paths, frame, [(response, source) for response in system.equations]),
            Look(title=shown, note=figure_note(job, facts["sample"]), words=names),
            shown=shown,
            choices=choices,
        )


def _write_shares(
    job: Job, responses: Responses, stem: str, title: Text, look: TableLook, choices: Mapping[str, Text]
) -> None:
    """Shares of variance, unless there are too many units to have the responses of all to all."""
    from spatial_zb.report.tables.layouts import dynamics

    if len(responses.fit.panel.units) * len(responses.axes["response"]) > MOST_ROWS:
        return
    shares = responses.variance_shares().tidy()
    job.tidy(f"{stem}_variance_shares", shares)
    heading = Text(f"{title.en}: shares of what cannot be foreseen (%)", f"{title.zh}：预测误差方差分解（%）")
    job.table(
        partial(dynamics.shares_table, shares, horizons=SHOWN),
        replace(look, title=heading, key=f"{stem}_variance_shares"),
        choices,
    )


def _paths(frame: pd.DataFrame, pairs: Sequence[tuple[str, str]], look: Look) -> Drawing:
    return figures.effects_path(frame, terms=pairs, effects=("own", "others", "total"), look=look)


def _map_shock(
    job: Job,
    system: System,
    facts: Mapping[str, str],
    fit: SystemFit,
    unit: str,
    stem: str,
    names: Mapping[str, Text],
    choices: Mapping[str, Text],
) -> None:
    """Every city's response to a shock in one: a frame, a map at one horizon, and the slider of the page."""
    from spatial_zb.report.page import UnitPaths

    frame = impulse_responses(fit, system.responses, at=unit).tidy()
    job.tidy(f"{stem}_shock_{unit}", frame)
    city = unit_names(job.prepared).get(unit, Text.of(unit))
    shown, units = shown_regions(job, facts["sample"]), tuple(fit.panel.units)
    gone = left_out_words(job, facts["sample"])
    for response, source in product(system.equations, repeat=2):
        own = frame[(frame["response"] == response) & (frame["source"] == source)]
        x, y = names[source], names[response]
        title = Text(
            f"{x.en} in {city.en} one unit higher once: {y.en}", f"{city.zh}的{x.zh}一次性增加一单位：{y.zh}"
        )
        horizon = min(MAPPED, system.responses)
        rows = own[own["horizon"] == horizon].set_index("unit")
        rows = rows.assign(change=rows["estimate"])
        said = Text(f"{horizon} periods after the shock. {gone.en}".rstrip(), f"冲击后{horizon}期。{gone.zh}")
        if source != response and job.study.mapped:
            job.figure(
                f"{stem}_shock_{unit}_{source}_{response}_map",
                partial(_shock_map, rows, shown),
                map_look(
                    job, shown, title=title, note=said, legend=Text(f"Change of {y.en}", f"{y.zh}的变化")
                ),
            )
        columns = [
            own[name].to_numpy().reshape(-1, len(units)) for name in ("estimate", "conf_low", "conf_high")
        ]
        columns[1:] = [np.where(np.isfinite(c), c, columns[0]) for c in columns[1:]]
        steps = tuple(Text(str(h), str(h)) for h in range(system.responses + 1))
        reading = Text(
            f"Responses to a shock of one unit in {city.en}; averages over all cities and their intervals are in the table.",
            f"对{city.zh}一单位冲击的响应；各地区平均及其区间见表。",
        )
        slider = Text("Periods after the shock", "冲击之后的期数")
        own_choices = {**choices, "scenario": Text(f"Shock in {city.en}", f"{city.zh}的冲击")}
        own_choices |= {"term": x, "response": y}
        start = min(1, system.responses)
        values, low, high = columns
        found = UnitPaths(own_choices, title, slider, steps, start, units, values, low, high, reading)
        job.made.paths.append((job.stage, found))


def _shock_map(rows: pd.DataFrame, polygons: Any, look: Look) -> Drawing:
    return maps.changes(rows, regions=polygons, look=look)


# Words ----------------------------------------------------------------------------------------------------


def persistence_words(fit: SystemFit) -> Text:
    """What an estimate with lags in time rests on, below its table."""
    if not fit.converged:
        return Text("Not converged: nothing is claimed.", "未收敛，不作任何结论。")
    found = fit.persistence
    weight = "" if found["path_weight"] == 1 else f"{found['path_weight']:.2g}"
    part = (
        Text(
            f"; the data carry {weight} of the correction for few periods",
            f"；数据能承受短时期校正的{weight}",
        )
        if weight
        else Text("", "")
    )
    return Text(
        f"Given the first period; what tells the equations apart is time order. Spectral radius {found['radius']:.2f} "
        f"[{found['radius_low']:.2f}, {found['radius_high']:.2f}]; serial correlation of the errors p = "
        f"{found['serial_p']:.3f}{part.en}.",
        f"以首期为给定，方程由时间先后识别。谱半径{found['radius']:.2f} [{found['radius_low']:.2f}, "
        f"{found['radius_high']:.2f}]；误差序列相关检验p = {found['serial_p']:.3f}{part.zh}。",
    )


def over_time_words(
    fit: SystemFit,
    tests: TestTable | None,
    responses: Responses | None,
    names: Mapping[str, Text],
    where: Text,
) -> Text:
    """Who leads whom, by how much after a period, and what may not be said."""
    english, chinese = [f"{where.en}."], [f"{where.zh}。"]
    if not fit.converged:
        return Text(f"{where.en}. The estimate did not converge.", f"{where.zh}。估计未收敛。")
    rows = (
        {}
        if tests is None
        else {(r.more["source"], r.more["response"], r.more["part"]): r for r in tests.rows}
    )
    frame = None if responses is None or responses.reason is not None else responses.tidy()
    for source, response in permutations(fit.spec.names, 2):
        mine = [
            rows[source, response, part]
            for part in ("both", "own", "neighbours")
            if (source, response, part) in rows
        ]
        if not mine:
            continue
        row = mine[0]
        p = row.p if np.isfinite(row.p) else row.more["p_cluster"]
        leads = p < ASSERTED
        x, y = names[source], names[response]
        amount = Text("", "")
        if leads and frame is not None:
            amount = _amount(frame, source, response)
        said = f"{_p(p)}; {_p(row.more['p_cluster'])} clustered", f"{_p(p)}；聚类{_p(row.more['p_cluster'])}"
        seen = "helps" if leads else "is not seen to help"
        english.append(f"{x.en} of the period before {seen} to foresee {y.en} ({said[0]}){amount.en}.")
        seen = "有助于" if leads else "未见有助于"
        chinese.append(f"前一期的{x.zh}{seen}预测{y.zh}（{said[1]}）{amount.zh}。")
    found = fit.persistence
    if found["radius_high"] >= 1:
        english.append("The data do not say that shocks die out, so no long run is claimed.")
        chinese.append("数据不能说明冲击会消退，因此不谈长期。")
    if found["serial_p"] < ASSERTED:
        english.append(
            "Errors last beyond a period: own persistence is overstated, the weaker of two directions is in doubt."
        )
        chinese.append("误差存在序列相关：自身持续性被高估，两个方向中较弱的一个存疑。")
    return Text(" ".join(english), "".join(chinese))


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _amount(frame: pd.DataFrame, source: str, response: str) -> Text:
    """The response after one period, at home and elsewhere."""
    own = frame[(frame["source"] == source) & (frame["response"] == response) & (frame["horizon"] == 1)]
    if own.empty:
        return Text("", "")
    own = own.set_index("effect")

    def said(kind: str) -> str:
        row = own.loc[kind]
        return f"{row['estimate']:+.3g} [{row['conf_low']:.3g}, {row['conf_high']:.3g}]".replace("-", "−")

    return Text(
        f": one unit more in a city moves it there by {said('own')} a period later, and in all others together by "
        f"{said('others')}",
        f"：某地区增加一单位，一期后当地变动{said('own')}，其他地区合计变动{said('others')}",
    )


def _short(label: Text) -> Text:
    """A label without what it says in brackets."""
    return Text(label.en.split(" (")[0], label.zh.split("（")[0])
