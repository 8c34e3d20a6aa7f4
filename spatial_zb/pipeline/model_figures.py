"""Figures of the models: effects of all columns, by regime, and over time."""

from __future__ import annotations

from collections.abc import Sequence

from spatial_zb.dynamic_effects import effects_path
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import regime_labels
from spatial_zb.pipeline.job import Job, figure_note, weights_note
from spatial_zb.pipeline.model_columns import Column, effect_columns, titled
from spatial_zb.study import Model
from spatial_zb.text import Text

__all__ = ["PATH_PERIODS", "draw_effects", "regime_words"]


#: Periods of the path of effects after a change.
PATH_PERIODS = 10


def draw_effects(job: Job, model: Model, columns: Sequence[Column]) -> None:
    """Effects of all columns; of the last one by regime, or over time, where the model has these."""
    if model.regimes:
        _draw_regimes(job, model, columns[-1])
        return
    from spatial_zb.report.figures import effects_plot

    everything = effect_columns(columns)
    pairs = [(heading, result) for heading, result in everything if result.fit.converged]
    lost = [heading for heading, result in everything if not result.fit.converged]
    if not pairs:
        return
    effects = {str(number): result for number, (_, result) in enumerate(pairs)}
    headings = {str(number): heading for number, (heading, _) in enumerate(pairs)}
    job.figure(
        f"effects_{model.name}",
        lambda style: effects_plot(
            effects,
            labels=job.prepared.labels,
            models=headings,
            title=model.title,
            note=_figure_note(job, model, [heading for heading, _ in pairs], lost),
            style=style,
        ),
        shown=Text(f"Effects: {model.title.en}", f"效应：{model.title.zh}"),
        choices={"model": model.title},
    )
    if columns[-1].fit.spec.dynamic:
        _draw_path(job, model, columns[-1])


def _figure_note(job: Job, model: Model, drawn: Sequence[Text], lost: Sequence[Text]) -> Text:
    """Samples below the effects of all columns, and W where it is the same in all; else headings name it.

    Columns that did not converge are named, and the only one left, which has no legend.
    """
    names = job.study.weights_of(model)
    said = weights_note(job, names[0]) if len(names) == 1 else None
    if lost:
        kept = [*drawn] if len(drawn) == 1 else []
        parts = [
            *([Text(f"Drawn: {kept[0].en}.", f"图示：{kept[0].zh}。")] if kept else []),
            Text(
                f"Not converged, not drawn: {'; '.join(heading.en for heading in lost)}.",
                f"未收敛，未绘出：{'；'.join(heading.zh for heading in lost)}。",
            ),
            *([said] if said else []),
        ]
        said = Text(" ".join(part.en for part in parts), "".join(part.zh for part in parts))
    one = EFFECT_OF_ONE_UNIT
    said = one if said is None else Text(f"{one.en} {said.en}", one.zh + said.zh)
    return figure_note(job, *job.study.samples_of(model), said=said)


#: Variables in different units share an axis; a short bar is no certain zero.
EFFECT_OF_ONE_UNIT = Text(
    "Effects of one more unit of each variable: a bar too short to be seen is precise in that unit.",
    "各变量增加一个单位的效应；短到看不见的误差线只说明以该单位计量时较精确。",
)


def _draw_regimes(job: Job, model: Model, column: Column) -> None:
    from spatial_zb.report.figures import regime_plot

    job.figure(
        f"effects_{model.name}",
        lambda style: regime_plot(
            column.delta,
            labels=job.prepared.labels,
            regimes=regime_words(job, column.fit),
            title=titled(model, column),
            note=figure_note(job, column.sample, said=weights_note(job, column.weights)),
            style=style,
        ),
        shown=Text(f"Effects by regime: {model.title.en}", f"分区制效应：{model.title.zh}"),
        choices={"model": model.title},
    )


def _draw_path(job: Job, model: Model, column: Column) -> None:
    from spatial_zb.report.figures_effects import effects_path_figure

    path = effects_path(column.fit, PATH_PERIODS).tidy()
    job.figure(
        f"effects_path_{model.name}",
        lambda style: effects_path_figure(
            path,
            terms=list(model.x),
            long_run=None if column.long is None else column.long.tidy(),
            labels=job.prepared.labels,
            title=titled(model, column),
            note=figure_note(job, column.sample, said=weights_note(job, column.weights)),
            style=style,
        ),
        shown=Text(f"Effects over time: {model.title.en}", f"效应随时间的变化：{model.title.zh}"),
        choices={"model": model.title},
    )


def regime_words(job: Job, fit: Fit) -> dict[str, Text]:
    """Words of either regime by what stands in the brackets, ``core=1``."""
    labels, name = job.prepared.labels, str(fit.spec.regimes)
    group = labels.get(name, Text.of(name))
    values = fit.convergence["regimes"]
    endings = regime_labels(fit.spec, values)
    return {
        ending.strip("[]"): Text(f"{group.en} = {value:g}", f"{group.zh}={value:g}")
        for ending, value in zip(endings, values, strict=True)
    }
