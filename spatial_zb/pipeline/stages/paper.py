"""Words about the sample, its data and their limits, which the page and the paper share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import spatial_zb
from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.pipeline.job import Job, span_words, unit_names
from spatial_zb.pipeline.words import as_sentence, blank_sentence
from spatial_zb.study import Study

if TYPE_CHECKING:
    from spatial_zb.report.page import Remarks

SUSPECT = {
    "blank": Text("Treated as blank", "按空缺处理"),
    "keep": Text("Kept as printed, though suspect", "存疑但按刊印值保留"),
}
FILLED = Text("Blank cells", "空缺处理")


def facts(job: Job) -> Text:
    study = job.study
    label, n = study.samples[study.main_sample].label, len(job.prepared.samples[study.main_sample])
    years = span_words(job.prepared.panel.periods)
    return Text(f"{label.en}, {n} units, {years.en}", f"{label.zh}，{n}个地区，{years.zh}")


def limits(job: Job) -> Iterator[Remarks]:
    """What is a proxy, simulated, filled or left out, by what it is about."""
    from spatial_zb.report.page import Remarks

    groups = (
        (OF_THE_DATA, job.study.data.limits),
        (OF_FIGURES, _doubtful(job)),
        (OF_NUMBERS, _computed(job)),
    )
    for title, texts in groups:
        said = tuple(map(as_sentence, texts))
        if said:
            yield Remarks(title, said)


OF_THE_DATA = Text("Limits of the data", "数据的局限")
OF_FIGURES = Text("Figures that are blank, suspect or left out", "空缺、存疑与未纳入的数据")
OF_NUMBERS = Text("How it was computed", "计算说明")


def _computed(job: Job) -> Iterator[Text]:
    general = job.study.general
    if not job.study.mapped:
        yield Text(
            "No maps: the study names no polygons ([regions])", "没有地图：研究文件未给出底图（[regions]）"
        )
    if job.study.moran is not None:
        yield Text(
            f"P-values of Moran’s I come from {general.permutations:,} random permutations (seed {general.seed}).",
            f"莫兰指数的p值由{general.permutations:,}次随机置换得到（随机种子{general.seed}）。",
        )


def _doubtful(job: Job) -> Iterator[Text]:
    """Cells and units that the study does not take as they are printed, and why."""
    study = job.study
    if len(job.prepared.filled):
        yield blank_sentence(job.prepared.filled)
    if not job.prepared.panel.balanced:
        there, cells = job.prepared.panel.present.sum(), job.prepared.panel.present.size
        yield Text(
            f"Not every unit is there in every year: {there:,} of {cells:,} unit-periods (table “Units absent in some "
            "periods”); spatial lags and statistics are those among the units present.",
            f"并非各地区每年都存在：{cells:,}个地区-时期中有{there:,}个（见“部分时期不存在的地区”表）；"
            "空间滞后与统计量均在当期存在的地区之间计算。",
        )
    doubtful = [(SUSPECT[entry.rule], entry.reason) for entry in study.suspect]
    if study.data.flags is not None:
        file, kinds = study.data.flags, study.data.flag_kinds
        said = Text(
            f"cells flagged as {listed(kinds)} in {file}", f"{file}中标记为{listed_zh(kinds)}的单元格"
        )
        doubtful.append((SUSPECT["blank"], said))
    for words, reason in (*doubtful, *((FILLED, entry.reason) for entry in study.missing)):
        yield Text(f"{words.en}: {reason.en}", f"{words.zh}：{reason.zh}")
    names = unit_names(job.prepared)
    gone = [names.get(unit, Text.of(unit)) for unit in job.prepared.left_out(study.main_sample)]
    if gone:
        yield Text(
            f"Left out for lack of data: {', '.join(name.en for name in gone)}",
            f"因缺数据未纳入：{'、'.join(name.zh for name in gone)}",
        )


def sources(study: Study) -> Iterator[Text]:
    if study.data.source is not None:
        yield as_sentence(Text(f"Data: {study.data.source.en}", f"数据：{study.data.source.zh}"))
    if study.regions is not None and study.regions.source is not None:
        yield as_sentence(Text(f"Polygons: {study.regions.source.en}", f"底图：{study.regions.source.zh}"))
    for constant in study.constants.values():
        yield as_sentence(
            Text(f"{constant.label.en}: {constant.source.en}", f"{constant.label.zh}：{constant.source.zh}")
        )


def colophon(study: Study) -> Text:
    version, seed, print_ = spatial_zb.__version__, study.general.seed, study.sha256[:12]
    return Text(
        f"Made by spatial_zb {version} from {study.path.name} (SHA-256 {print_}…), seed {seed}. "
        "manifest.json beside this page names every input and result.",
        f"由spatial_zb {version}根据{study.path.name}生成（SHA-256 {print_}…），随机种子{seed}。"
        "同一文件夹中的manifest.json列出全部输入与结果。",
    )
