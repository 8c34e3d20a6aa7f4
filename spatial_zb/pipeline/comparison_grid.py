"""One term over a grid of choices: the specifications, their curve, and the joint test of it."""

from __future__ import annotations

import warnings

import pandas as pd

from spatial_zb.compare.curve import CurveTest, curve_test
from spatial_zb.compare.grid import Grid, specification_grid
from spatial_zb.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.pipeline.comparison_base import Base, short_words
from spatial_zb.pipeline.job import figure_note
from spatial_zb.pipeline.notes import warn_undone
from spatial_zb.text import Text

__all__ = ["grid_and_curve"]

CURVE_TITLE = Text("joint test of the specification curve", "设定曲线联合检验")


def grid_and_curve(base: Base) -> Text | None:
    """Estimate the grid, draw its curve and test it; what they say in words."""
    from spatial_zb.report.comparison_reading import curve_note, curve_reading
    from spatial_zb.report.figures_specification import specification_curve

    job, asked = base.job, base.asked
    grid = _grid(base)
    job.tidy("compare_grid", grid.tidy())
    job.tidy("compare_grid_effects", grid.effects)
    job.say(Text("grid", "设定网格"), f"{len(grid.cells)}")
    grid = _converged(grid)
    shown = grid.estimates if base.effect is None else grid.effects
    shown = shown[shown["role"] == asked.term].assign(term=asked.term).drop(columns=["role", "spec"])
    main = {
        name: value
        for name, value in base.main.items()
        if name in shown.columns[: shown.columns.get_loc("term")]
    }
    if shown.empty:
        warnings.warn(
            SpatialZbWarning(
                "No cell of the comparison could be estimated.", "各设定均无法估计，没有设定曲线。"
            ),
            stacklevel=2,
        )
        return None
    test = _tested(base)
    tests = None if test is None else test.tidy()
    failed = int((~grid.cells["converged"].eq(True)).sum())
    y = job.prepared.panel.label(base.spec.y)
    labels = base.labels | {asked.term: short_words(job.prepared.panel.label(asked.term))}
    job.figure(
        "compare_curve",
        lambda style: specification_curve(
            shown,
            asked.term,
            base.effect,
            main=main,
            labels=labels,
            title=y,
            note=figure_note(job, *job.study.samples_of(asked), said=curve_note(failed, tests)),
            style=style,
        ),
        shown=Text(f"Specification curve: {base.what.en}", f"设定曲线：{base.what.zh}"),
    )
    if test is not None:
        _write_test(base, test)
    return curve_reading(grid.shares(asked.term, base.effect), tests, base.what, y, failed)


def _grid(base: Base) -> Grid:
    """The grid of every sample with the W of its own polygons, in one."""
    job, asked = base.job, base.asked
    parts = []
    for sample in job.study.samples_of(asked):
        names = job.study.weights_of(asked)
        parts.append(
            specification_grid(
                job.prepared.sample(sample),
                base.family,
                {name: job.prepared.weights(name, sample) for name in names},
                {sample: {}},
                estimators=asked.estimators or (base.model.estimator,),
                covariances=asked.covariances or (base.model.covariance,),
                workers=job.execution.workers,
                scheduler=job.execution.scheduler,
                store=job.execution.store,
                progress=lambda done, total, left: job.say(Text("grid", "设定网格"), f"{done}/{total}"),
            )
        )
    frames = (
        pd.concat([getattr(part, kind) for part in parts], ignore_index=True)
        for kind in ("cells", "estimates", "effects")
    )
    return Grid(*frames, parts[0].choices)


def _converged(grid: Grid) -> Grid:
    """The grid without cells that did not converge: they have no estimate to count; their rows stay in ``tidy``."""
    choices = list(grid.choices)
    kept = grid.cells.loc[grid.cells["converged"].eq(True), choices]
    estimates, effects = (frame.merge(kept, on=choices) for frame in (grid.estimates, grid.effects))
    return Grid(grid.cells, estimates, effects, grid.choices)


def _tested(base: Base) -> CurveTest | None:
    """The joint test over the main sample, where the study asks for it and it can be done."""
    job, asked = base.job, base.asked
    if asked.curve is None or asked.term not in base.spec.x:
        return None
    names = job.study.weights_of(asked)
    try:
        return curve_test(
            base.panel,
            base.family,
            {name: job.prepared.weights(name, base.sample) for name in names},
            term=asked.term,
            effect=base.effect,
            estimators=asked.estimators or (base.model.estimator,),
            covariances=asked.covariances or (base.model.covariance,),
            replicates=asked.curve.replicates,
            scheme=asked.curve.scheme,
            rng=job.seed("compare", "curve"),
            workers=job.execution.workers,
            scheduler=job.execution.scheduler,
            store=job.execution.store,
            progress=lambda done, total, left: job.say(Text("curve test", "曲线检验"), f"{done}/{total}"),
        )
    except SpatialZbError as error:
        warn_undone(Text("No test of the curve", "未作设定曲线检验"), error)
        return None


def _write_test(base: Base, test: CurveTest) -> None:
    from spatial_zb.report.layouts.robustness import curve_table

    job, cells = base.job, int(test.glance()["cells"].item())
    job.tidy("compare_curve_test", test.tidy())
    job.tidy("compare_curve_draws", test.draws)
    job.table(
        lambda style: curve_table(
            test.tidy(),
            cells,
            len(test.draws),
            title=base.titled(CURVE_TITLE),
            notes=base.notes(),
            style=style,
        )
    )
