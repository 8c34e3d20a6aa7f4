"""The robustness battery of a study: its table, and what one unit at a time changes."""

from __future__ import annotations

from collections.abc import Sequence

from spatial_zb.compare.robustness import Robustness, robustness
from spatial_zb.data.panel import Panel
from spatial_zb.errors import SpatialZbError
from spatial_zb.pipeline.comparison_base import Base
from spatial_zb.pipeline.job import map_text, sample_notes, unit_names
from spatial_zb.pipeline.notes import warn_undone
from spatial_zb.pipeline.weights import build_weights
from spatial_zb.text import Text
from spatial_zb.weights.matrix import Weights

__all__ = ["robustness_battery"]

BATTERY_TITLE = Text("robustness", "稳健性检验")
INFLUENCE_TITLE = Text("leaving out one unit at a time", "逐一剔除地区")


def robustness_battery(base: Base) -> Text | None:
    """Estimate the battery, print and draw it; what it says in words."""
    from spatial_zb.report.comparison_reading import battery_reading
    from spatial_zb.report.layouts.robustness import influence_table, robustness_table

    job, asked = base.job, base.asked
    if asked.robustness is None:
        return None
    try:
        found = _robust(base)
    except SpatialZbError as error:
        warn_undone(Text("No robustness battery", "未作稳健性检验"), error)
        return None
    job.tidy("compare_robustness", found.tidy())
    note = Text(
        f"Estimated: {base.what.en}. Without some units, one that loses all neighbours is linked anew by the rule of "
        "the study.",
        f"表中为{base.what.zh}。剔除部分地区后，失去全部邻居的地区按本研究规则重新建立联系。",
    )
    job.table(
        lambda style: robustness_table(
            found.tidy(style.language),
            base.labels,
            title=base.titled(BATTERY_TITLE),
            notes=[note, *base.notes()],
            style=style,
        )
    )
    if found.influence is not None:
        job.tidy("compare_influence", found.influence)
        job.table(
            lambda style: influence_table(
                found.influence,
                base.labels,
                title=base.titled(INFLUENCE_TITLE),
                notes=[note, *base.notes()],
                style=style,
            )
        )
        _draw_influence(base, found)
    return battery_reading(found.glance().iloc[0], _capital(base.what), unit_names(job.prepared))


def _robust(base: Base) -> Robustness:
    asked, settings, job = base.asked, base.asked.robustness, base.job
    own = base.weights[base.own_weights]

    def rebuild(units: Sequence[str]) -> Weights:
        """Rows and columns of W, or W built anew where a unit has lost all its neighbours."""
        kept = own.subset(units)
        if not len(kept.islands):
            return kept
        polygons = job.prepared.polygons(base.sample).loc[list(units)]
        return build_weights(job.study, base.own_weights, polygons, job.prepared.bases)

    return robustness(
        base.spec,
        base.panel,
        own,
        asked.term,
        base.effect,
        weights={name: W for name, W in base.weights.items() if name != base.own_weights},
        lag_x=settings.lag_x,
        drop=settings.drop,
        y=(*asked.y, *settings.y),
        x={name: (*asked.x.get(name, ()), *settings.x.get(name, ())) for name in {**asked.x, **settings.x}},
        winsorise=settings.winsorise,
        periods={name: _years(base.panel, span) for name, span in settings.periods.items()},
        covariances=settings.covariances,
        leave_one_out=settings.leave_one_out,
        rebuild=rebuild,
        estimator=base.model.estimator,
        covariance=base.model.covariance,
        workers=job.execution.workers,
        scheduler=job.execution.scheduler,
        store=job.execution.store,
        progress=lambda done, total, left: job.say(Text("robustness", "稳健性检验"), f"{done}/{total}"),
    )


def _years(panel: Panel, span: tuple[int, int]) -> list[int]:
    return [period for period in panel.periods if span[0] <= period <= span[1]]


def _draw_influence(base: Base, found: Robustness) -> None:
    from spatial_zb.report.maps_effects import influence_map

    job, study = base.job, base.job.study
    if not found.influence["change"].notna().any():
        return
    (sample,) = sample_notes(job, base.sample)
    note = Text(
        f"Estimated: {base.what.en}. Named: those whose absence moves it most. {sample.en}",
        f"估计对象：{base.what.zh}。标注名称的是剔除后变化最大的地区。{sample.zh}",
    )
    text = map_text(study, title=base.titled(INFLUENCE_TITLE), note=note)
    job.figure(
        "compare_influence",
        lambda style: influence_map(
            job.prepared.polygons(base.sample),
            found.influence,
            text=text,
            crs=study.regions.projected_crs,
            style=style,
        ),
        preset="journal_single",
    )


def _capital(text: Text) -> Text:
    return Text(text.en[:1].upper() + text.en[1:], text.zh)
