"""Figures of results in the stage maps: effects by unit, round of feedback and distance, and association by distance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpatialZbError
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.effects import effects_by_order, effects_by_unit, spatial_effects
from spatial_zb.effects.scenarios import Scenario as Scenarios
from spatial_zb.effects.scenarios import scenario
from spatial_zb.effects.static import last_period
from spatial_zb.effects.system import SHOCK, units_of_system
from spatial_zb.effects.table import Effects
from spatial_zb.explore.distance import effects_by_distance, moran_by_distance
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import Estimation
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.fit import Method, SystemFit
from spatial_zb.pipeline.job import (
    Job,
    figure_note,
    left_out_words,
    map_look,
    present,
    shown_regions,
    unit_names,
)
from spatial_zb.pipeline.stages.models import fit_model, spec_of
from spatial_zb.pipeline.stages.systems import method_options, system_spec
from spatial_zb.pipeline.words import (
    METHOD_WORDS,
    effect_words,
    naming_sample,
    scenario_changes,
    scenario_words,
    warn_undone,
)
from spatial_zb.report import figures, maps
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.maps.results import legend_of_effect
from spatial_zb.report.tables.table import TableLook
from spatial_zb.study import Model, Scenario, System

if TYPE_CHECKING:
    from spatial_zb.report.page import UnitPaths


def draw_results(job: Job) -> None:
    """All that ``[figures]`` asks for."""
    wanted = job.study.figures
    if wanted is None or not job.writes:
        return
    models: dict[str, tuple[Fit, Effects]] = {}
    for name in wanted.effects:
        model, term = _split(name, job.study.models)
        if model.name not in models:
            models[model.name] = _estimated(job, model)
        _draw_effects(job, model, *models[model.name], term)
        if wanted.thresholds:
            _draw_thresholds(job, model, term)
    systems: dict[str, tuple[SystemFit, Effects] | None] = {}
    for name in wanted.system_effects:
        system, pair = _split(name, job.study.systems)
        if system.name not in systems:
            systems[system.name] = _estimated_system(job, system)
        found = systems[system.name]
        if found is not None:
            _draw_system_effects(job, system, *found, pair)
    for variable in wanted.correlogram:
        _draw_correlogram(job, variable)


def _split(name: str, known: Mapping[str, Any]) -> tuple[Any, str]:
    """Model (or system) and what follows its name; names may hold dots themselves."""
    head = next(key for key in sorted(known, key=len, reverse=True) if name.startswith(f"{key}."))
    return known[head], name[len(head) + 1 :]


def _estimated(job: Job, model: Model) -> tuple[Fit, Effects]:
    """A model and its effects as the stage models has estimated them; estimated here where it did not run."""
    sample, weights = job.study.samples_of(model)[0], job.study.weights_of(model)[0]
    made = job.made.estimated(Fit, model.name, sample, weights, model.fixed_effects[-1])
    if made is not None and made[1] is not None:
        return made[0], made[1]
    fit = fit_model(job.prepared, model, model.fixed_effects[-1], sample, weights)
    return fit, spatial_effects(fit)


def _estimated_system(job: Job, system: System) -> tuple[SystemFit, Effects] | None:
    """Fit by the first method that gives a stable system; give None, with a warning, when no method does."""
    why: SpatialZbError | Text = Text("no method gives a stable system.", "没有一种方法得到稳定的方程组。")
    for method in system.methods:
        try:
            fit, effects = _by_method(job, system, method)
        except SpatialZbError as error:
            why = error
            continue
        if effects is not None and effects.reason is None:
            return fit, effects
        if effects is not None and effects.reason is not None:
            why = effects.reason.text
    warn_undone(Text(f"No figures of the effects of {system.name}", f"未绘制{system.name}的效应图"), why)
    return None


def _by_method(job: Job, system: System, method: Method) -> tuple[SystemFit, Effects | None]:
    """As the stage systems has estimated it; estimated here where it did not run. No effects where it is not stable."""
    sample, weights = job.study.samples_of(system)[0], job.study.weights_of(system)[0]
    key = system.name, sample, weights, method
    if key in job.made.refused:
        raise job.made.refused[key]
    made = job.made.estimated(SystemFit, *key)
    if made is not None:
        return made
    panel, W = job.prepared.sample(sample), job.prepared.weights(weights, sample)
    fit = fit_system(system_spec(system), panel, W, method, **method_options(system, method))
    return fit, spatial_effects(fit) if fit.stability().stable else None


# --- effects --------------------------------------------------------------------------------------------


def _draw_effects(job: Job, model: Model, fit: Fit, effects: Effects, term: str) -> None:
    panel = job.prepared.panel
    labels = {name: panel.label(name) for name in (model.y, term)}
    if effects.reason is not None:
        what = Text(f"No figures of the effects of {model.name}", f"未绘制{model.name}的效应图")
        warn_undone(what, effects.reason.text)
        return
    note = _model_words(job, model, effect_words(fit.spec.fixed_effects, job.prepared.labels))
    stem, names = f"{model.name}_{term}", (labels[model.y], labels[term])
    average = effects.tidy().set_index(["term", "effect"]).loc[(term, "indirect")]
    by_unit = effects_by_unit(fit, term, period=last_period(fit))
    _map_effects(job, stem, by_unit, names, _joined(note, _average_words(average, fit)), model)
    if fit.spec.regimes is None:
        frame = effects_by_order(fit, present(job.study.figures).orders)
        _draw_orders(job, stem, frame, term, labels, (_arrow(*names), _sourced(job, note)))


def _draw_system_effects(job: Job, system: System, fit: SystemFit, effects: Effects, pair: str) -> None:
    response = next(name for name in system.equations if pair.startswith(f"{name}."))
    source = pair[len(response) + 1 :]
    key = SHOCK + source if source in system.equations else source
    panel = job.prepared.panel
    labels = {name: panel.label(e.y) for name, e in system.equations.items()}
    labels |= {} if source in labels else {source: panel.label(source)}
    note = _model_words(job, system, METHOD_WORDS[fit.method])
    stem = f"{system.name}_{response}_{source}"
    average = effects.tidy().set_index(["response", "source", "effect"])
    average = average.loc[(response, key, "indirect")]
    by_unit = units_of_system(fit, response, key, last_period(fit))
    names = labels[response], labels[source]
    _map_effects(job, stem, by_unit, names, _joined(note, _average_words(average, fit)), system)
    frame = effects_by_order(fit, present(job.study.figures).orders)
    frame = frame[(frame["response"] == response) & (frame["source"] == key)].assign(term=source)
    _draw_orders(job, stem, frame, source, labels, (_arrow(*names), _sourced(job, note)))


def _map_effects(
    job: Job,
    stem: str,
    frame: pd.DataFrame,
    names: tuple[Text, Text],
    note: Text,
    part: Model | System,
) -> None:
    study, sample = job.study, job.study.samples_of(part)[0]
    job.tidy(f"effects_by_unit_{stem}", frame.rename_axis("unit").reset_index())
    if not study.mapped:
        warn(
            "No maps of effects: the study names no polygons ([regions]); the effects by unit are in the folder tidy.",
            "没有效应地图：研究文件未给出底图（[regions]）；各地区的效应见tidy文件夹。",
        )
        return
    shown, labels = shown_regions(job, sample), "auto" if study.maps is None else study.maps.labels
    job.figure(
        f"effect_map_{stem}",
        partial(maps.effect, frame, regions=shown),
        map_look(
            job,
            shown,
            labels=labels,
            legend=legend_of_effect(*names),
            note=_joined(note, left_out_words(job, sample)),
        ),
    )


def _draw_orders(
    job: Job,
    stem: str,
    frame: pd.DataFrame,
    term: str,
    labels: Mapping[str, Text],
    words: tuple[Text, Text],
) -> None:
    job.tidy(f"effects_by_order_{stem}", frame)
    job.figure(
        f"effects_by_order_{stem}",
        partial(figures.effects_by_order, frame, terms=[term]),
        Look(title=words[0], note=words[1], words=labels),
        shown=Text(f"Effects by round of feedback: {words[0].en}", f"按反馈轮次的效应：{words[0].zh}"),
    )


def _arrow(response: Text, source: Text) -> Text:
    return Text(f"{source.en} → {response.en}", f"{source.zh} → {response.zh}")


def _joined(first: Text, second: Text) -> Text:
    return Text(f"{first.en} {second.en}".strip(), first.zh + second.zh)


def _sourced(job: Job, note: Text) -> Text:
    return _joined(note, Text.of(job.source)) if job.source else note


def _average_words(row: pd.Series, fit: Fit | SystemFit) -> Text:
    """The indirect effect, which is the mean of both maps (over all periods), with its interval: how sure the maps are."""
    numbers = [f"{row[name]:.3f}".replace("-", "−") for name in ("estimate", "conf_low", "conf_high")]
    if year := last_period(fit):
        return Text(
            "Point estimates of {}; over all periods the indirect effect is {} (95 % interval {} to {}).".format(
                year, *numbers
            ),
            "图示为{}年的点估计；各期平均的间接效应为{}（95%置信区间{}至{}）。".format(year, *numbers),
        )
    return Text(
        "Point estimates; their mean, the indirect effect, is {} (95 % interval {} to {}).".format(*numbers),
        "图示为点估计，其均值即间接效应{}（95%置信区间{}至{}）。".format(*numbers),
    )


def _model_words(job: Job, part: Model | System, how: Text) -> Text:
    """Which estimate a figure rests on."""
    study = job.study
    name = study.samples_of(part)[0]
    sample, units = study.samples[name].label, len(job.prepared.samples[name])
    weights = study.weights[study.weights_of(part)[0]].label
    return Text(
        f"{part.title.en}; {sample.en}, {units} units; {weights.en}; {how.en}.",
        f"{part.title.zh}；{sample.zh}{units}个地区；{weights.zh}；{how.zh}。",
    )


# --- scenarios ------------------------------------------------------------------------------------------

#: Units that a figure of a scenario names, and sizes of a change that the slider of the report has.
MOST_UNITS, SIZES = 15, np.linspace(0.25, 2, 8)


def draw_scenarios(job: Job) -> None:
    """Every scenario of the study: table, frame, map, the largest changes with their intervals, words, and the page."""
    for wanted in job.study.scenarios.values():
        part: Model | System = job.study.models.get(wanted.of) or job.study.systems[wanted.of]
        try:
            with naming_sample(job.study, job.study.samples_of(part)[0]):
                found = _scenario_of(job, part, wanted)
        except SpatialZbError as error:
            warn_undone(Text(f"Scenario {wanted.name}", f"情景{wanted.name}"), error)
            continue
        if found is not None:
            _write_scenario(job, part, wanted, found)
            job.tick(f"scenario · {wanted.name}")


def _scenario_of(job: Job, part: Model | System, wanted: Scenario) -> Scenarios | None:
    if isinstance(part, Model):
        fit: Fit | SystemFit = _estimated(job, part)[0]
    else:
        of = _estimated_system(job, part)
        if of is None:
            return None
        fit = of[0]
    period = wanted.period
    if (
        period is None and isinstance(fit, Fit) and fit.estimator == "adjusted_score"
    ):  # W or units change: those of the last period
        period = fit.panel.periods[-1]
    return scenario(fit, wanted.changes, wanted.horizons, change=wanted.change, period=period)


def _write_scenario(job: Job, part: Model | System, wanted: Scenario, found: Scenarios) -> None:
    from spatial_zb.report.tables import layouts

    study, panel, frame = job.study, job.prepared.panel, found.tidy()
    sample, fit = study.samples_of(part)[0], found.fit
    units = unit_names(job.prepared)
    labels = job.prepared.labels | units
    if isinstance(part, System):
        labels |= {name: panel.label(e.y) for name, e in part.equations.items()}
    how = (
        METHOD_WORDS[fit.method]
        if isinstance(fit, SystemFit)
        else effect_words(fit.spec.fixed_effects, job.prepared.labels)
    )
    note, moved = _model_words(job, part, how), scenario_changes(wanted, labels, found.facts.get("period"))
    reading = scenario_words(found, moved, labels)
    stem, choices = f"scenario_{wanted.name}", {"scenario": wanted.title}
    notes = [moved, note, *job.prepared.sources]
    job.tidy(stem, frame)
    job.table(
        lambda look: layouts.scenario_table(frame, look=look),
        TableLook(title=wanted.title, key=stem, notes=notes, words=labels),
        choices,
    )
    job.prose(f"{stem}_reading", wanted.title, [reading], choices)
    last = frame[frame["horizon"] == frame["horizon"].max()] if "horizon" in frame else frame
    shown = shown_regions(job, sample)
    for response, own in last.groupby("response", sort=False):
        of = f"{stem}_{response}" if last["response"].nunique() > 1 else stem
        label = labels.get(str(response), Text.of(str(response)))
        rows = own.set_index("unit").assign(estimate=own["change"].to_numpy())
        said = _joined(_joined(moved, Text(" ", "")), note)
        if job.study.mapped:
            job.figure(
                f"{of}_map",
                partial(_scenario_map, rows, shown),
                map_look(
                    job,
                    shown,
                    note=_joined(said, left_out_words(job, sample)),
                    legend=Text(f"Change of {label.en}", f"{label.zh}的变化"),
                ),
            )
        first = rows["change"].abs().sort_values(ascending=False, kind="stable").index[:MOST_UNITS]
        bars = rows.loc[first].rename_axis("term").reset_index()
        job.figure(
            of,
            partial(_scenario_bars, bars),
            Look(title=wanted.title, note=_sourced(job, said), words=labels),
            preset="journal_single",
            shown=Text(f"{wanted.title.en}: {label.en}", f"{wanted.title.zh}：{label.zh}"),
            choices=choices,
        )
        whole = frame[frame["response"] == response]
        job.made.paths.append((job.stage, _slid(wanted, whole, label, reading, choices)))


def _scenario_map(frame: pd.DataFrame, polygons: Any, look: Look) -> Drawing:
    return maps.changes(frame, regions=polygons, look=look)


def _scenario_bars(frame: pd.DataFrame, look: Look) -> Drawing:
    return figures.coefficients({"": frame}, terms=list(frame["term"]), look=look)


def _slid(
    wanted: Scenario, frame: pd.DataFrame, label: Text, reading: Text, choices: Mapping[str, Text]
) -> UnitPaths:
    """Steps of the slider: the horizons; without lags in time, multiples of the change, which all scale with it."""
    from spatial_zb.report.page import UnitPaths

    names = ("change", "conf_low", "conf_high")
    units = tuple(dict.fromkeys(frame["unit"]))
    if "horizon" in frame:
        horizons = sorted(set(frame["horizon"]))
        values = [frame[name].to_numpy().reshape(len(horizons), -1) for name in names]
        slider = Text("Periods after the change", "变化之后的期数")
        steps, start = tuple(Text(str(h), str(h)) for h in horizons), len(horizons) - 1
    else:
        values = [SIZES[:, None] * frame[name].to_numpy() for name in names]
        slider = Text("Size of the change", "变化幅度")
        steps = tuple(Text(f"× {size:g}", f"{size:g}倍") for size in SIZES)
        start = int(np.argmin(np.abs(SIZES - 1)))
    title = Text(f"{wanted.title.en}: {label.en}", f"{wanted.title.zh}：{label.zh}")
    change, low, high = values
    return UnitPaths(
        {**choices, "response": label}, title, slider, steps, start, units, change, low, high, reading
    )


# --- distance -------------------------------------------------------------------------------------------


def _draw_thresholds(job: Job, model: Model, term: str) -> None:
    wanted = present(job.study.figures)
    sample = job.study.samples_of(model)[0]
    frame = effects_by_distance(
        spec_of(model, model.fixed_effects[-1]),
        job.prepared.sample(sample),
        job.prepared.polygons(sample),
        wanted.thresholds,
        reach=wanted.reach,
        estimator=Estimation(model.estimator, model.covariance),
    ).tidy()
    stem = f"effects_by_distance_{model.name}_{term}"
    job.tidy(f"effects_by_distance_{model.name}", frame)
    if "term" not in frame.columns or frame["estimate"].isna().all():
        what = Text(f"No figure of effects by distance of {model.name}", f"未绘制{model.name}的分距离效应图")
        warn_undone(what, Text.of(frame["reason"].iloc[0]))
        return
    y, x = job.prepared.panel.label(model.y), job.prepared.panel.label(term)
    reach = {
        "beyond": Text(
            "Inverse-distance weights of units at least so far apart", "仅取距离不低于阈值的反距离权重"
        ),
        "within": Text(
            "Inverse-distance weights of units at most so far apart", "仅取距离不超过阈值的反距离权重"
        ),
    }[wanted.reach]
    note = Text(f"{reach.en}. Effect of {x.en} on {y.en}.", f"{reach.zh}。{x.zh}对{y.zh}的效应。")
    note = figure_note(job, sample, said=note)
    job.figure(
        stem,
        partial(figures.effects_by_distance, frame, term, effects=["indirect"]),
        Look(note=note),
        preset="journal_single",
        shown=Text(f"Effect of {x.en} on {y.en} by distance", f"{x.zh}对{y.zh}的分距离效应"),
    )


def _draw_correlogram(job: Job, variable: str) -> None:
    sample = job.study.main_sample
    panel = job.prepared.sample(sample)
    ends = list(dict.fromkeys([panel.periods[0], panel.periods[-1]]))
    permutations = min(job.study.general.permutations, MOST_PERMUTATIONS)
    frame = moran_by_distance(
        panel,
        job.prepared.polygons(sample),
        variable,
        periods=ends,
        permutations=permutations,
        rng=job.seed("correlogram", variable),
    ).tidy()
    job.tidy(f"moran_by_distance_{variable}", frame)
    label = panel.label(variable)
    note = Text(f"{label.en}. {permutations:,} permutations.", f"{label.zh}。{permutations:,}次置换。")
    note = figure_note(job, sample, said=note)
    job.figure(
        f"moran_by_distance_{variable}",
        partial(figures.correlogram, frame),
        Look(note=note),
        shown=Text(f"Moran's I by distance: {label.en}", f"按距离的莫兰指数：{label.zh}"),
    )


#: An envelope of 95 per cent needs no more of them.
MOST_PERMUTATIONS = 999
