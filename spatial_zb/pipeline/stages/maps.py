"""Stage maps: choropleths of one and two variables, Moran scatterplots, link maps, and figures of results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import UNDATED, Text
from spatial_zb.data.panel import Panel
from spatial_zb.explore.checks import LocalTable
from spatial_zb.pipeline.job import (
    NO_TEXT,
    Job,
    figure_note,
    left_out_words,
    map_look,
    present,
    shown_regions,
    span_words,
    unit_names,
)
from spatial_zb.pipeline.stages.effects import draw_results, draw_scenarios
from spatial_zb.pipeline.stages.exploration import clusters_words, local_permutations, moran_of, scatter_note
from spatial_zb.report import figures, maps
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.report.maps.classes import Classes, classify
from spatial_zb.report.plots import scatter_data
from spatial_zb.study import Maps
from spatial_zb.weights.periods import weights_at


def draw_maps(job: Job) -> list[Text]:
    """What ``[maps]`` and ``[figures]`` ask for."""
    if job.study.maps is not None:
        _draw_study_maps(job, job.study.maps)
    draw_results(job)
    draw_scenarios(job)
    return []


def _draw_study_maps(job: Job, wanted: Maps) -> None:
    """Choropleths with common classes, Moran scatterplots of the ends of the sample, and the link wanted."""
    study = job.study
    panel, shown = job.prepared.sample(study.main_sample), shown_regions(job)
    for variable in wanted.variables:
        _draw_variable(job, panel, variable, shown)
        _draw_scatter(job, panel, variable)
    if wanted.bivariate:
        _draw_bivariate(job, panel, wanted.bivariate, shown)
    frames = [_draw_clusters(job, panel, name, shown) for name in wanted.clusters]
    if frames:
        job.tidy("local_moran", pd.concat(frames, ignore_index=True))
    for name in study.weights:
        _draw_links(job, name, shown)


def _locator(job: Job, shown: Any) -> Any:
    """All regions of the file, where they are wanted and more than those on the map."""
    regions = job.prepared.regions
    return regions if present(job.study.maps).locator and len(regions) > len(shown) else None


def _draw_variable(job: Job, panel: Panel, variable: str, shown: Any) -> None:
    wanted, classes = present(job.study.maps), classes_of(job, panel, variable)
    own = job.study.own_period(variable)
    drawn = panel if own is None else panel.select(periods=[panel.periods[-1]])
    center = {"center": classes.center} if classes.center is not None else {"palette": "sequential"}
    job.figure(
        f"map_{variable}",
        partial(
            maps.choropleth,
            drawn,
            variable,
            regions=shown,
            periods=wanted.periods if own is None else None,
            scheme=list(classes.breaks[1:-1]),
        ),
        _look(
            job, shown, legend=panel.label(variable), note=_classes_words(job, variable, classes), **center
        ),
        titled=panel.label(variable),
    )


def classes_of(job: Job, panel: Panel, variable: str) -> Classes:
    """Classes of a mapped variable, on paper and on the page: of all periods, as the study wants them."""
    wanted = present(job.study.maps)
    center = wanted.center_of(variable)
    return classify(
        panel.array(variable),
        wanted.breaks_of(variable) or wanted.scheme,
        wanted.classes,
        "sequential" if center == "none" else None,
        None if isinstance(center, str) else center,
    )


def _classes_words(job: Job, variable: str, classes: Classes) -> Text:
    """How the classes were found, which their limits do not tell, and where blue turns red."""
    wanted, year = present(job.study.maps), job.study.own_period(variable)
    years = span_words(job.prepared.panel.periods if year is None else [year])
    own = wanted.breaks_of(variable) is not None
    said = OWN_CLASSES if own else SCHEMES[wanted.scheme]
    said = Text(said.en.format(years.en), said.zh.format(years.zh))
    if classes.center is None or wanted.scheme == "std":
        return said
    middle = f"{classes.center:g}".replace("-", "−")
    return Text(
        f"{said.en} Blue below {middle}, red above.", f"{said.zh}低于{middle}为蓝，高于{middle}为红。"
    )


def _look(job: Job, shown: Any, note: Text = NO_TEXT, **words: Any) -> Look:
    """The look of maps of these polygons, with labels and locator as the study wants them."""
    note = _joined(note, left_out_words(job))
    labels = present(job.study.maps).labels
    return map_look(job, shown, labels=labels, locator=_locator(job, shown), note=note, **words)


def _joined(first: Text, second: Text) -> Text:
    return Text(f"{first.en} {second.en}".strip(), first.zh + second.zh)


#: How the classes were found; the years are those of the panel, so that maps of other years have the same classes.
SCHEMES = {
    "quantile": Text("Classes: quantiles of all values of {}.", "分级：{}全部数值的分位数。"),
    "natural": Text(
        "Classes: natural breaks (Fisher–Jenks) of all values of {}.",
        "分级：{}全部数值的自然断点（Fisher–Jenks）。",
    ),
    "equal": Text(
        "Classes: equal intervals between the ends of all values of {}.", "分级：{}全部数值的等间距。"
    ),
    "std": Text(
        "Classes: mean and whole standard deviations of all values of {}.",
        "分级：{}全部数值的均值与整数倍标准差。",
    ),
}
OWN_CLASSES = Text(
    "Classes: as chosen; the ends are those of all values of {}.",
    "分级：自定界限，两端为{}全部数值的最小值与最大值。",
)
THIRDS = Text("Classes: thirds of all values of {} of each variable.", "分级：各变量{}全部数值的三分位数。")


def _draw_bivariate(job: Job, panel: Panel, pair: tuple[str, ...], shown: Any) -> None:
    """Both variables in thirds that are common to all periods."""
    periods, years = present(job.study.maps).periods, span_words(panel.periods)
    job.figure(
        f"map_{pair[0]}_{pair[1]}",
        partial(maps.bivariate, panel, pair, regions=shown, periods=periods),
        _look(job, shown, note=Text(THIRDS.en.format(years.en), THIRDS.zh.format(years.zh))),
    )


def _clusters(codes: Mapping[Any, LocalTable], polygons: Any, look: Look) -> Drawing:
    return maps.clusters(codes, regions=polygons, look=look)


def _draw_clusters(job: Job, panel: Panel, weights: str, shown: Any) -> pd.DataFrame:
    """Maps of local Moran clusters of every mapped variable under one W; gives the local statistics behind them."""
    from spatial_zb.explore import local_moran

    study, wanted = job.study, present(job.study.maps)
    W = job.prepared.weights(weights, study.main_sample)
    permutations = local_permutations(study, len(panel.units))
    frames = []
    for variable in wanted.variables:
        found = {
            period: local_moran(
                panel,
                variable,
                W,
                period=period,
                permutations=permutations,
                rng=job.seed("local", variable, weights),
            ).adjusted(None if wanted.adjust == "none" else wanted.adjust, wanted.alpha)
            for period in (wanted.periods if job.study.own_period(variable) is None else panel.periods[-1:])
        }
        own = job.study.own_period(variable)
        heads: list[object] = [own] if own is not None else list(found) if len(panel.periods) > 1 else [""]
        first = weights == wanted.clusters[0]  # the page shows those of the first W
        if first:
            job.made.clusters |= {(variable, period): result.codes() for period, result in found.items()}
        label = panel.label(variable)
        note = _joined(
            Text(f"{label.en}.", f"{label.zh}。"), clusters_words(study, weights, len(panel.units))
        )
        note = _joined(note, _nothing_left(found))
        job.figure(
            f"clusters_{variable}" if first else f"clusters_{variable}_{weights}",
            partial(_clusters, dict(zip(heads, found.values(), strict=True)), shown),
            _look(job, shown, note=note),
            titled=Text(f"Local Moran clusters: {label.en}", f"局部莫兰聚类：{label.zh}"),
        )
        frames += [
            result.tidy().assign(variable=variable, period=period, weights=weights)
            for period, result in found.items()
        ]
    return pd.concat(frames, ignore_index=True)


def _nothing_left(found: Mapping[int, LocalTable]) -> Text:
    """For maps without a cluster: say that the correction for many tests left none, and what each test alone gives."""
    bare = {p: r for p, r in found.items() if not (r.frame["p_adjusted"] < r.alpha).any() and r.adjust}
    alone = {p: int((result.frame["p_sim"] < result.alpha).sum()) for p, result in bare.items()}
    if not any(alone.values()):
        return NO_TEXT
    level = next(iter(found.values())).alpha
    if list(alone) == [UNDATED]:
        return Text(
            f"No unit passes; without the correction {alone[UNDATED]} would at {100 * level:g}%.",
            f"没有地区通过校正；不作校正时在{100 * level:g}%水平上有{alone[UNDATED]}个。",
        )
    return Text(
        f"No unit passes in {listed(alone)}; without the correction {listed(alone.values())} would at {100 * level:g}%.",
        f"{listed_zh(alone)}年没有地区通过校正；不作校正时在{100 * level:g}%水平上分别有{listed_zh(alone.values())}个。",
    )


def _draw_scatter(job: Job, panel: Panel, variable: str) -> None:
    W, sample, own = next(iter(job.study.weights)), job.study.main_sample, job.study.own_period(variable)
    ends = [panel.periods[-1]] if own else list(dict.fromkeys([panel.periods[0], panel.periods[-1]]))
    values, weights = scatter_data(panel, variable, job.prepared.weights(W, sample), ends)
    tested = job.made.moran.get((sample, variable, W)) or moran_of(job, sample, variable, W)
    if own:  # the year of the figures, not of the row they stand in
        values = values.set_axis([own], axis=1)
        weights = weights_at(weights, ends[0])
    p_values = list(tested.table().set_index("period").loc[list(values.columns), "p_sim"])
    note = figure_note(job, sample, said=scatter_note(job, W), year=own)
    job.figure(
        f"moran_scatter_{variable}",
        partial(figures.moran_scatter, values, weights, label=panel.label(variable), p_values=p_values),
        Look(words=unit_names(job.prepared), note=note),
        titled=Text(f"Moran scatter: {panel.label(variable).en}", f"莫兰散点图：{panel.label(variable).zh}"),
    )


def _draw_links(job: Job, name: str, shown: Any) -> None:
    given, last = job.prepared.weights(name, job.study.main_sample), job.prepared.panel.periods[-1]
    W, title = weights_at(given, last), job.study.weights[name].label
    if W is not given:
        title = Text(f"{title.en}, {last}", f"{title.zh}，{last}年")
    job.figure(
        f"weights_{name}",
        partial(maps.links, W, regions=shown),
        map_look(
            job,
            shown,
            data=False,
            title=title,
            note=left_out_words(job, by_year=False),
        ),
        preset="journal_single",
    )
