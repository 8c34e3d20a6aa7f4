"""Stage dynamics: how the distributions of some variables over the main sample move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.effects import spatial_effects
from spatial_zb.explore.dynamics import (
    beta_convergence,
    dagum_decomposition,
    deviation_ellipses,
    growth_spec,
    kernel_densities,
    sigma_convergence,
    theil_decomposition,
)
from spatial_zb.explore.dynamics.convergence import INITIAL, BetaConvergence
from spatial_zb.pipeline.job import (
    Job,
    figure_note,
    left_out_words,
    map_look,
    present,
    sample_notes,
    shown_regions,
)
from spatial_zb.pipeline.words import EFFECT_WORDS, weights_words
from spatial_zb.report import figures, maps
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.tables.table import TableLook

if TYPE_CHECKING:
    from spatial_zb.data.panel import Panel


#: Words for columns of the polygons that usually part them.
GROUPS = {"prov": Text("provinces", "省份")}


def describe_dynamics(job: Job) -> list[Text]:
    """Densities, ellipses, inequality and convergence of the variables that ``[dynamics]`` names."""
    chosen = job.study.dynamics
    if chosen is None:
        return []
    panel = job.prepared.sample(job.study.main_sample)
    _densities(job, panel)
    for variable in chosen.ellipses:
        _ellipse(job, panel, variable)
    for variable in chosen.inequality:
        _inequality(job, panel, variable)
    reading: list[Text] = []
    if chosen.sigma:
        _sigma(job, panel)
    if chosen.beta:
        reading += _beta(job, panel)
    return reading


def _notes(job: Job) -> list[Text]:
    return [*sample_notes(job, job.study.main_sample), *job.prepared.sources]


def _shown(job: Job, panel: Panel) -> list[int]:
    """Periods that figures show: those of the study, else the first, the middle and the last."""
    chosen = present(job.study.dynamics)
    if chosen.periods:
        return list(chosen.periods)
    periods = panel.periods
    return list(dict.fromkeys([periods[0], periods[len(periods) // 2], periods[-1]]))


def _density(frame: pd.DataFrame, periods: Sequence[int], label: Text, look: Look) -> Drawing:
    return figures.density(frame, periods=periods, label=label, look=look)


def _densities(job: Job, panel: Panel) -> None:
    from spatial_zb.report.tables.layouts.dynamics import density_table

    chosen = present(job.study.dynamics)
    if not chosen.densities:
        return
    found = {
        name: kernel_densities(panel, name, relative=chosen.relative, bounds=_bounds(job, name))
        for name in chosen.densities
    }
    peaks = {name: result.glance() for name, result in found.items()}
    job.table(
        lambda look: density_table(peaks, relative=chosen.relative, look=look),
        TableLook(notes=_notes(job), words=panel.labels),
    )
    job.tidy("densities", pd.concat(r.tidy().assign(variable=n) for n, r in found.items()))
    mean = Text(", relative to the mean", "（与均值之比）")
    for name, result in found.items():
        label = panel.label(name)
        if chosen.relative:
            label = Text(label.en + mean.en, label.zh + mean.zh)
        job.figure(
            f"density_{name}",
            partial(_density, result.tidy(), _shown(job, panel), label),
            Look(note=figure_note(job, job.study.main_sample, said=_density_note(job, panel, name))),
            preset="journal_single",
            shown=Text(f"Density: {label.en}", f"核密度：{label.zh}"),
        )


def _bounds(job: Job, name: str) -> tuple[float, float]:
    """The possible values of a variable: those the study states; from 0 to 1 of an index or a coupling coordination."""
    known = present(job.study.dynamics).bounds.get(name)
    unit = name in job.study.indices or name in job.study.coupling
    return known or ((0.0, 1.0) if unit and not present(job.study.dynamics).relative else (-np.inf, np.inf))


def _density_note(job: Job, panel: Panel, name: str) -> Text:
    """The kernel, the values there are, and where it ends: it spreads beyond them where the study knows no bound."""
    values, relative = panel.array(name), present(job.study.dynamics).relative
    values = values / values.mean(axis=1, keepdims=True) if relative else values
    low, high = (f"{value:.2f}".replace("-", "−") for value in (values.min(), values.max()))
    said = Text("Gaussian kernel, bandwidth by Scott's rule", "高斯核，Scott规则带宽")
    ends = [f"{bound:g}".replace("-", "−") for bound in _bounds(job, name) if np.isfinite(bound)]
    if ends:
        said = Text(f"{said.en}, reflected at {listed(ends)}", f"{said.zh}，在{listed_zh(ends)}处反射")
    return Text(f"{said.en}; the values are {low} to {high}.", f"{said.zh}；实际取值为{low}至{high}。")


ELLIPSE_NOTE = Text(
    "Semi-axes of √2 standard deviations (63 % of a normal distribution); units count at their centroids with the value of "
    "the variable.",
    "半轴为√2倍标准差（正态分布的63%）；各地区以变量值为权重计于其质心。",
)


def _ellipse(job: Job, panel: Panel, variable: str) -> None:
    from spatial_zb.report.tables.layouts.dynamics import ellipse_table

    polygons = job.prepared.polygons(job.study.main_sample)
    path = deviation_ellipses(panel, variable, polygons)
    label, shown, gone = panel.label(variable), shown_regions(job), left_out_words(job)
    note = Text(f"{ELLIPSE_NOTE.en} {gone.en}".strip(), ELLIPSE_NOTE.zh + gone.zh)
    job.table(
        lambda look: ellipse_table(path.table(), label, look=look),
        TableLook(key=f"ellipse_{variable}", notes=_notes(job)),
    )
    job.tidy(f"ellipse_{variable}", path.tidy().assign(variable=variable))
    job.figure(
        f"ellipse_{variable}",
        partial(maps.ellipses, path, regions=shown, periods=_shown(job, panel), units=polygons.index),
        map_look(job, shown, title=label, note=note),
    )


def _groups(job: Job, panel: Panel) -> pd.Series:
    """Group of each unit of the panel, from a column of the polygons."""
    column, regions = present(job.study.dynamics).groups, job.prepared.regions
    if column not in regions:
        place = job.study.place("dynamics.groups")
        raise SpecificationError(
            f"{place.en}: the polygons have no column {column!r}; they have "
            f"{listed(c for c in regions.columns if c != 'geometry')}.",
            f"{place.zh}：底图没有列{column!r}；已有{listed_zh(c for c in regions.columns if c != 'geometry')}。",
        )
    return regions.loc[panel.units, column]


def _inequality(job: Job, panel: Panel, variable: str) -> None:
    from spatial_zb.report.tables.layouts.dynamics import inequality_table

    chosen = present(job.study.dynamics)
    groups = _groups(job, panel)
    theil = theil_decomposition(panel, variable, groups, chosen.population)
    dagum = dagum_decomposition(panel, variable, groups)
    column = present(chosen.groups)
    words = GROUPS.get(column, Text.of(column))
    notes = _notes(job)
    if chosen.population is not None:
        people = panel.label(chosen.population)
        notes.insert(0, Text(f"Theil weighted by {people.en}.", f"泰尔指数以{people.zh}加权。"))
    job.table(
        lambda look: inequality_table(
            theil.table(), dagum.table(), panel.label(variable), groups=words, look=look
        ),
        TableLook(key=f"inequality_{variable}", notes=notes),
    )
    for name, result in (("theil", theil), ("dagum", dagum)):
        job.tidy(f"{name}_{variable}", result.tidy())
        job.tidy(f"{name}_{variable}_groups", result.groups())
    job.tick(f"inequality {variable}")


def _sigma(job: Job, panel: Panel) -> None:
    from spatial_zb.report.tables.layouts.dynamics import sigma_table

    chosen = present(job.study.dynamics)
    groups = None if chosen.groups is None else _groups(job, panel)
    found = {name: sigma_convergence(panel, name, groups) for name in chosen.sigma}
    whole = {n: r.table().query("group == 'all'") for n, r in found.items()}
    trends = {n: r.tidy().query("group == 'all'") for n, r in found.items()}
    job.table(
        lambda look: sigma_table(whole, trends, look=look), TableLook(notes=_notes(job), words=panel.labels)
    )
    job.tidy("sigma_convergence", pd.concat(r.table().assign(variable=n) for n, r in found.items()))
    job.tidy("sigma_trend", pd.concat(r.tidy().assign(variable=n) for n, r in found.items()))
    job.tick("sigma")


def _beta(job: Job, panel: Panel) -> list[Text]:
    """Growth regressions, their speeds, and one sentence on each variable's."""
    from spatial_zb.report.tables.layouts.dynamics import speed_table

    speeds, reading = [], []
    for variable in present(job.study.dynamics).beta:
        label, found = panel.label(variable), dict(_growth_models(job, panel, variable))
        speeds += [(label, words, result.tidy()) for words, result in found.items()]
        _growth_table(job, panel, variable, found)
        reading.append(_beta_reading(label, next(iter(found.values()))))
        job.tick(f"beta {variable}")
    job.table(lambda look: speed_table(speeds, look=look), TableLook(notes=_notes(job)))
    frames = [t.assign(variable=v.en, model=m.en) for v, m, t in speeds]
    job.tidy("beta_convergence", pd.concat(frames, ignore_index=True))
    return reading


def _growth_table(job: Job, panel: Panel, variable: str, found: Mapping[Text, BetaConvergence]) -> None:
    from spatial_zb.report.tables.layouts import regression_table

    label = panel.label(variable)
    effects = [
        spatial_effects(result.fit) if result.fit.spec.spatial_terms or result.fit.spec.lag_x else None
        for result in found.values()
    ]
    start = {INITIAL: Text(f"ln {label.en}, start", f"期初ln{label.zh}")}
    job.table(
        lambda look: regression_table(
            [(words, result.fit) for words, result in found.items()],
            effects=effects if any(e is not None for e in effects) else (),
            dependent=Text(f"growth a year of {label.en}", f"{label.zh}的年均增长"),
            look=look,
        ),
        TableLook(
            title=Text(f"β-convergence: {label.en}", f"β 收敛：{label.zh}"),
            key=f"beta_convergence_{variable}",
            notes=_notes(job),
            words={**panel.labels, **weights_words(job.study), **start},
        ),
    )


def _growth_models(job: Job, panel: Panel, variable: str) -> Iterator[tuple[Text, BetaConvergence]]:
    """Absolute, conditional without W, and conditional with W where the study names weights."""
    chosen = present(job.study.dynamics)
    first, last = panel.periods[0], panel.periods[-1]
    yield (
        Text(f"Absolute, {first}–{last}", f"绝对收敛，{first}—{last}年"),
        beta_convergence(panel, variable, spec=growth_spec(fixed_effects="none"), horizon=None),
    )
    effects = EFFECT_WORDS[chosen.fixed_effects]
    own = growth_spec(chosen.controls, fixed_effects=chosen.fixed_effects)
    yield effects, beta_convergence(panel, variable, spec=own, horizon=chosen.horizon)
    if chosen.weights is not None:
        W = job.prepared.weights(chosen.weights, job.study.main_sample)
        label = job.study.weights[chosen.weights].label
        yield (
            Text(f"Spatial Durbin, {label.en}", f"空间杜宾，{label.zh}"),
            beta_convergence(
                panel, variable, W, spec=replace(own, lag_y=True, lag_x="all"), horizon=chosen.horizon
            ),
        )


def _beta_reading(label: Text, absolute: BetaConvergence) -> Text:
    """What the absolute growth regression says, significance included."""
    row = absolute.tidy().set_index("term")
    beta, p, speed = row.loc["beta", "estimate"], row.loc["beta", "p_value"], row.loc["speed", "estimate"]
    if p >= 0.05:
        return Text(
            f"{label.en}: no significant absolute convergence (β = {beta:.4f}, p = {p:.3f}).".replace(
                "= -", "= −"
            ),
            f"{label.zh}：绝对β收敛不显著（β = {beta:.4f}，p = {p:.3f}）。".replace("= -", "= −"),
        )
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    if beta > 0:
        return Text(
            f"{label.en}: units diverge (β = {beta:.4f}, {shown}).",
            f"{label.zh}：各地区趋于发散（β = {beta:.4f}，{shown}）。",
        )
    return Text(
        f"{label.en}: units that started low grew faster (β = −{-beta:.4f}, {shown}); gaps close by {100 * speed:.1f} % "
        "a year.",
        f"{label.zh}：起点低的地区增长更快（β = −{-beta:.4f}，{shown}），收敛速度每年{100 * speed:.1f}%。",
    )
