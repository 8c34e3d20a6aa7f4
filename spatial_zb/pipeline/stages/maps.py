"""Stage maps: choropleths of one and two variables, Moran scatterplots, link maps, and figures of results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.panel import Panel
from spatial_zb.data.regions import select_regions
from spatial_zb.pipeline.job import Job, figure_note, map_look, present, scatter_note, unit_names
from spatial_zb.pipeline.stages.effects import draw_results, draw_scenarios
from spatial_zb.pipeline.stages.exploration import moran_of
from spatial_zb.report import figures, maps
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.drawing.style import Drawing
from spatial_zb.study import Maps
from spatial_zb.weights import by_period
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import PeriodWeights, weights_among, weights_at


def draw_maps(job: Job) -> list[Text]:
    """What ``[maps]`` and ``[figures]`` ask for."""
    if job.study.maps is not None:
        _draw_study_maps(job, job.study.maps)
    draw_results(job)
    draw_scenarios(job)
    return []


def _draw_study_maps(job: Job, wanted: Maps) -> None:
    """Choropleths with common classes, Moran scatterplots of the ends of the sample, and the link wanted."""
    study, prepared = job.study, job.prepared
    sample = study.main_sample
    panel, polygons = prepared.sample(sample), prepared.polygons(sample)
    gone = prepared.left_out(sample)
    shown = select_regions(prepared.regions, [*polygons.index, *gone]) if gone else polygons
    for variable in wanted.variables:
        _draw_variable(job, panel, variable, shown)
        _draw_scatter(job, panel, variable)
    if wanted.bivariate:
        _draw_bivariate(job, panel, wanted.bivariate, shown)
    if wanted.clusters is not None:
        _draw_clusters(job, panel, wanted.clusters, polygons)
    for name in study.weights:
        _draw_links(job, name, sample, polygons)


def _locator(job: Job, shown: Any) -> Any:
    """All regions of the file, where they are wanted and more than those on the map."""
    regions = job.prepared.regions
    return regions if present(job.study.maps).locator and len(regions) > len(shown) else None


def _by_period(job: Job, panel: Panel, variable: str, shown: Any) -> pd.DataFrame:
    """Values by unit and mapped period, blank for units that are left out."""
    chosen = list(present(job.study.maps).periods)
    values = panel.select(periods=chosen).array(variable)
    heads = chosen if len(panel.periods) > 1 else [""]  # one cross-section needs no year over its map
    return pd.DataFrame(values.T, index=panel.units, columns=heads).reindex(shown.index)


def _draw_variable(job: Job, panel: Panel, variable: str, shown: Any) -> None:
    wanted, frame = present(job.study.maps), _by_period(job, panel, variable, shown)
    job.figure(
        f"map_{variable}",
        lambda look: maps.choropleth(frame, regions=shown, scheme=wanted.scheme, k=wanted.classes, look=look),
        _look(job, shown, legend=panel.label(variable), note=SCHEMES[wanted.scheme]),
    )


def _look(job: Job, shown: Any, **words: Any) -> Look:
    """The look of maps of these polygons, with labels and locator as the study wants them."""
    return map_look(job.study, labels=present(job.study.maps).labels, locator=_locator(job, shown), **words)


#: How the classes were found, which their limits do not tell.
SCHEMES = {
    "quantile": Text("Classes: quantiles of all values shown.", "分级：所示全部数值的分位数。"),
    "natural": Text(
        "Classes: natural breaks (Fisher–Jenks) of all values shown.",
        "分级：所示全部数值的自然断点（Fisher–Jenks）。",
    ),
    "equal": Text(
        "Classes: equal intervals between the ends of all values shown.", "分级：所示全部数值的等间距。"
    ),
    "std": Text(
        "Classes: mean and whole standard deviations of all values shown.",
        "分级：所示全部数值的均值与整数倍标准差。",
    ),
}
THIRDS = Text("Classes: thirds of all values shown of each variable.", "分级：各变量所示全部数值的三分位数。")


def _draw_bivariate(job: Job, panel: Panel, pair: tuple[str, ...], shown: Any) -> None:
    """Both variables in thirds that are common to all periods."""
    first, second = (_by_period(job, panel, variable, shown) for variable in pair)
    job.figure(
        f"map_{pair[0]}_{pair[1]}",
        lambda look: maps.bivariate(
            first,
            second,
            regions=shown,
            names=(panel.label(pair[0]), panel.label(pair[1])),
            look=look,
        ),
        _look(job, shown, note=THIRDS),
    )


def _clusters(codes: pd.DataFrame, polygons: Any, look: Look) -> Drawing:
    return maps.clusters(codes, regions=polygons, look=look)


def _draw_clusters(job: Job, panel: Panel, weights: str, polygons: Any) -> None:
    """Maps of local Moran clusters of every mapped variable, and the local statistics behind them."""
    from spatial_zb.explore import local_moran

    study, wanted = job.study, present(job.study.maps)
    W = job.prepared.weights(weights, study.main_sample)
    frames = []
    gone = _left_out_words(job)
    for variable in wanted.variables:
        found = {
            period: local_moran(
                panel,
                variable,
                W,
                period=period,
                permutations=study.general.permutations,
                rng=job.seed("local", variable, weights),
            )
            for period in wanted.periods
        }
        heads = found if len(panel.periods) > 1 else [""]
        job.made.clusters |= {(variable, period): result.codes() for period, result in found.items()}
        # The words of the column, so that units without neighbours are a class of their own.
        codes = pd.concat([result.frame["cluster"] for result in found.values()], axis=1)
        codes = codes.set_axis(heads, axis=1).reindex(polygons.index)  # hatched where a unit is absent
        label = panel.label(variable)
        note = Text(
            f"{label.en}. Local Moran’s I, {study.weights[weights].label.en}, "
            f"{study.general.permutations:,} permutations, false discovery rate 5%.",
            f"{label.zh}。局部莫兰指数，{study.weights[weights].label.zh}，{study.general.permutations:,}次置换，"
            "错误发现率5%。",
        )
        bare = _nothing_left({period: result.frame for period, result in found.items()})
        note = Text(note.en + bare.en + gone.en, note.zh + bare.zh + gone.zh)
        job.figure(
            f"clusters_{variable}",
            partial(_clusters, codes, polygons),
            _look(job, polygons, note=note),
        )
        frames += [
            result.tidy().assign(variable=variable, period=period, weights=weights)
            for period, result in found.items()
        ]
    job.tidy("local_moran", pd.concat(frames, ignore_index=True))


def _nothing_left(frames: Mapping[int, pd.DataFrame]) -> Text:
    """For maps without a cluster: say that the correction for many tests left none, and what each test alone gives."""
    bare = {p: frame for p, frame in frames.items() if not (frame["p_adjusted"] < 0.05).any()}
    alone = {p: int((frame["p_sim"] < 0.05).sum()) for p, frame in bare.items()}
    if not any(alone.values()):
        return Text("", "")
    return Text(
        f" No unit passes in {listed(alone)}; without the correction {listed(alone.values())} would at 5%.",
        f"{listed_zh(alone)}年没有地区通过校正；不作校正时在5%水平上分别有{listed_zh(alone.values())}个。",
    )


def _left_out_words(job: Job) -> Text:
    names = unit_names(job.prepared)
    gone = [names.get(i, Text.of(i)) for i in job.prepared.left_out(job.study.main_sample)]
    if not gone:
        return Text("", "")
    return Text(
        f" Left out for lack of data: {', '.join(n.en for n in gone)}.",
        f"因缺数据未纳入：{'、'.join(n.zh for n in gone)}。",
    )


def _draw_scatter(job: Job, panel: Panel, variable: str) -> None:
    W, sample = next(iter(job.study.weights)), job.study.main_sample
    part = panel.select(periods=list(dict.fromkeys([panel.periods[0], panel.periods[-1]])))
    ends = list(part.periods)
    values = pd.DataFrame(part.array(variable).T, index=panel.units, columns=ends)
    weights: Weights | PeriodWeights = job.prepared.weights(W, sample)
    if part.uneven or not isinstance(weights, Weights):
        here = zip(ends, part.rows(variable), strict=True)
        weights = by_period({p: weights_among(weights, part.units[row], p) for p, row in here})
        values = values.loc[weights.ids]
    tested = job.made.moran.get((sample, variable, W)) or moran_of(job, sample, variable, W)
    p_values = list(tested.table().set_index("period").loc[ends, "p_sim"])
    job.figure(
        f"moran_scatter_{variable}",
        lambda look: figures.moran_scatter(
            values,
            weights,
            label=panel.label(variable),
            p_values=p_values,
            look=look,
        ),
        Look(words=unit_names(job.prepared), note=figure_note(job, sample, said=scatter_note(job, W))),
    )


def _draw_links(job: Job, name: str, sample: str, polygons: Any) -> None:
    W = weights_at(job.prepared.weights(name, sample), job.prepared.panel.periods[-1])
    if W.matrix.nnz > MOST_LINKS:
        return  # a web of all pairs shows nothing
    job.figure(
        f"weights_{name}",
        lambda look: maps.links(W, regions=polygons, look=look),
        map_look(job.study, data=False, title=job.study.weights[name].label),
        preset="journal_single",
    )


#: A link map with more links than this is a black page.
MOST_LINKS = 1000
