"""Running stages of a study: lock, build beside, publish, sign."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import spatial_zb
from spatial_zb.base.errors import OutputError, SpatialZbWarning, SpecificationError
from spatial_zb.base.execute import Execution
from spatial_zb.base.notes import warn
from spatial_zb.base.text import LANGUAGES, UNDATED, Text
from spatial_zb.base.threads import Beside, cores, give_back_memory
from spatial_zb.pipeline.job import Job, Made, MadeTable, Reading
from spatial_zb.pipeline.prepare import Prepared, prepare
from spatial_zb.pipeline.remarks import brief_lines, notes_of
from spatial_zb.pipeline.stages.claims import confront
from spatial_zb.pipeline.stages.comparison import compare, compare_programs
from spatial_zb.pipeline.stages.dynamics import describe_dynamics
from spatial_zb.pipeline.stages.equations import estimate
from spatial_zb.pipeline.stages.exploration import autocorrelation, describe
from spatial_zb.pipeline.stages.maps import draw_maps
from spatial_zb.pipeline.stages.models import diagnose_models
from spatial_zb.pipeline.stages.page import report_study
from spatial_zb.pipeline.stages.systems import estimate_systems
from spatial_zb.pipeline.words import STAGE_WORDS, blank_words
from spatial_zb.report import folder as output
from spatial_zb.report.files import input_record, output_record, slug, versions, write_atomic
from spatial_zb.study import Study, name_in
from spatial_zb.weights.matrix import Weights
from spatial_zb.weights.periods import weights_at

Stage = Literal[
    "data",
    "moran",
    "dynamics",
    "tests",
    "models",
    "systems",
    "compare",
    "crosscheck",
    "maps",
    "claims",
    "report",
]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Its notes say once what several fits are told alike; the manifest has them one by one, and ``brief`` in eight lines at
    most.
    """

    folder: Path
    files: tuple[Path, ...]
    reading: tuple[Text, ...]
    notes: tuple[Text, ...]
    seconds: float
    brief: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Checked:
    """A study whose inputs are sound, its weights in the order of the file, and what the reader should know."""

    prepared: Prepared
    weights: tuple[Weights, ...]
    notes: tuple[Text, ...]

    def lines(self) -> list[Text]:
        """What the study holds: units, periods, samples, weights and treated cells."""
        study, panel = self.prepared.study, self.prepared.panel
        n, first, last = len(panel.units), panel.periods[0], panel.periods[-1]
        name, periods, columns = study.path.name, len(panel.periods), len(panel.columns)
        when, when_zh = f"{periods} periods ({first}-{last})", f"{periods}个时期（{first}—{last}）"
        if periods == 1:
            when, when_zh = (
                ("a cross-section", "截面数据") if first == UNDATED else (f"{first}", f"{first}年")
            )
        lines = [
            Text(
                f"{name} is sound: {n} units, {when}, {columns} columns.",
                f"{name}可以运行：{n}个地区，{when_zh}，{columns}列。",
            )
        ]
        for sample, units in self.prepared.samples.items():
            label = study.samples[sample].label
            lines.append(
                Text(
                    f"  sample {sample} ({label.en}): {len(units)} units",
                    f"  样本{sample}（{label.zh}）：{len(units)}个地区",
                )
            )
        for name, W in zip(study.weights, self.weights, strict=True):
            label, of_last = study.weights[name].label, weights_at(W, self.prepared.panel.periods[-1])
            links, alone = of_last.matrix.nnz, len(of_last.islands)
            lines.append(
                Text(
                    f"  weights {name} ({label.en}): {links} links, {alone} without neighbours",
                    f"  权重矩阵{name}（{label.zh}）：{links}条联系，{alone}个地区没有邻居",
                )
            )
        said, flagged = blank_words(self.prepared.filled), len(self.prepared.flags)
        lines.append(Text(f"  {said.en}; {flagged} flagged row(s)", f"  {said.zh}；带标记的行{flagged}条"))
        panel = self.prepared.panel
        if not panel.balanced:
            gone, units = int((~panel.present).sum()), self.prepared.absences["unit"].nunique()
            lines.append(
                Text(
                    f"  {gone} unit-periods absent, of {units} units",
                    f"  {units}个地区在部分时期不存在，共缺{gone}个地区-时期",
                )
            )
        return lines


def check(study: Study, *, progress: Callable[[str, str], None] = lambda stage, step: None) -> Checked:
    """Read a study's polygons and tables, derive its variables and build its weights; write nothing.

    Raises
    ------
    SpatialZbError
        What :func:`run` would refuse before its first stage.
    """
    language = study.spoken
    with _collected() as caught:
        try:
            refuse_results_of_others(study)
        except SpecificationError as error:  # a check writes nothing, so that a copy may be tried
            warn(str(error), error.zh)
        progress(STAGE_WORDS["prepare"].pick(language), "")
        prepared = prepare(study)
        weights = []
        for name in study.weights:
            progress(STAGE_WORDS["weights"].pick(language), name)
            weights.append(prepared.weights(name, study.main_sample))
    return Checked(prepared, tuple(weights), tuple(notes_of(caught)))


WORK: dict[Stage, Callable[[Job], list[Text]]] = {
    "data": describe,
    "moran": autocorrelation,
    "dynamics": describe_dynamics,
    "tests": diagnose_models,
    "models": estimate,
    "systems": estimate_systems,
    "compare": compare,
    "crosscheck": compare_programs,
    "claims": confront,
    "maps": draw_maps,
    "report": report_study,
}


def run(
    study: Study,
    stages: Sequence[Stage] = STAGES,
    *,
    out: Path | None = None,
    progress: Callable[[str, str], None] = lambda stage, step: None,
    execution: Execution | None = None,
    beside: bool = False,
) -> Outcome:
    """Run stages of a study and write their results to ``out`` (default ``results/<study>``).

    Everything is built beside the results and moved there at the end: an error or an interruption leaves
    earlier results as they were. Results of stages that are not run stay.

    The report is put together from what the other stages made in this run; those that it needs and that are
    not asked for are computed for it without writing their own files. ``execution``: processes, cluster and store for
    grids and robustness; numbers do not depend on it. ``beside``: a second process writes tables and figures while
    numbers go on, where they are many and there is a processor for it; files do not depend on it.

    Raises
    ------
    SpatialZbError
        What a stage refuses, or an output folder that cannot be used or that is the results of another study file.
    """
    begun = time.perf_counter()
    _refuse_unwanted(study, stages)
    if out is None:
        refuse_results_of_others(study)
    target, language = (out or study.results).resolve(), study.spoken
    second = Beside() if beside and cores() > 1 else None
    with (
        output.locked(target),
        output.staging(target) as place,
        _collected() as notes,
        second or nullcontext(),
    ):
        inputs = input_record({"study": study.path, **study.files()}, study.root)
        timings: dict[str, float] = {}
        with _timed(timings, "prepare"):
            progress(STAGE_WORDS["prepare"].pick(language), "")
            prepared = prepare(study)
        made = Made(warned=notes, beside=second)
        stage_of: dict[str, str] = {}
        for stage in _worked(study, stages):
            if stage == "report":
                with _timed(timings, "writing"):
                    made.gather()
            made.began[stage] = len(notes)
            with _timed(timings, stage):
                step = partial(progress, STAGE_WORDS[stage].pick(language))
                how = execution or Execution()
                job = Job(prepared, place, step, stage, made, stage in stages, how)
                made.readings += [Reading(stage, line) for line in WORK[stage](job)]
            give_back_memory()
            stage_of |= {p: stage for p in _files_in(place) if p not in stage_of}
        made.gather()
        stage_of |= made.stage_of
        if input_record({"study": study.path, **study.files()}, study.root) != inputs:
            warn("An input file changed while the study was running.", "研究运行期间有输入文件被改动。")
        stage_of[INDEX] = "index"
        _write_index(study, output.read_manifest(target), place, stages, made)
        manifest, stale = _manifest(study, target, place, stages, stage_of, inputs, timings, made)
        files = output.publish(place, target, manifest, stale)
    found = made.remarks(STAGE_WORDS)
    return Outcome(
        target,
        (*files, target / output.MANIFEST),
        tuple(made.short_reading()),
        tuple(remark.text for group in found.values() for remark in group),
        time.perf_counter() - begun,
        tuple(brief_lines(found)),
    )


def _refuse_unwanted(study: Study, stages: Sequence[Stage]) -> None:
    """Refuse to make the report alone for a study that switches it off."""
    if tuple(stages) == ("report",) and not (study.output.report or study.output.paper):
        place = study.place("output.report")
        raise SpecificationError(
            f"{study.path.name}, {place.en}, is false: set it to true, or leave it out.",
            f"{study.path.name}，{place.zh}为false：请设为true，或删去该项。",
        )


def refuse_results_of_others(study: Study) -> None:
    """Refuse to overwrite the results of another study file of the same name, such as a copy.

    Raises
    ------
    SpecificationError
        With both files, and the remedy.
    """
    inputs = output.read_manifest(study.results).get("inputs", [])
    others = []
    for record in inputs:
        with suppress(OutputError):
            others += [output.inside(study.root, record["path"])] if record.get("role") == "study" else []
    for other in others:
        if other.is_file() and not other.samefile(study.path) and name_in(other) == study.name:
            place, folder = study.place("study.name"), study.results.relative_to(study.root).as_posix()
            raise SpecificationError(
                f"{study.path.name}, {place.en}: {other.name} has the name {study.name!r} too, and its results are in "
                f"{folder}. Give this study a name of its own, or another folder with --out.",
                f"{study.path.name}，{place.zh}：{other.name}也名为{study.name!r}，其结果在{folder}。请为本研究另取名称，"
                "或用--out换一个文件夹。",
            )


def _worked(study: Study, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages to work through, in order: the report needs what all others make, claims need the fits."""
    if "report" in stages and (study.output.report or study.output.paper):
        return STAGES
    measures = {claim.measure for claim in study.claims} if "claims" in stages else set()
    fits = {stage for measure, stage in (("effect", "models"), ("granger", "systems")) if measure in measures}
    return tuple(stage for stage in STAGES if stage in stages or stage in fits)


def _manifest(
    study: Study,
    target: Path,
    place: Path,
    stages: Sequence[Stage],
    stage_of: Mapping[str, str],
    inputs: list[dict[str, Any]],
    timings: Mapping[str, float],
    run: Made,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest of this run, and the records of files of earlier runs of the same stages that it does not make."""
    old = output.read_manifest(target)
    earlier = old.get("outputs", [])
    made = output_record(place, stage_of)
    new = {record["path"] for record in made}
    kept = [r for r in earlier if r["stage"] not in stages and r["path"] not in new]
    stale = [r for r in earlier if r["stage"] in stages and r["path"] not in new]
    same = old.get("inputs") == inputs
    manifest = {
        "study": study.name,
        "versions": versions(spatial_zb.__version__),
        "seed": study.general.seed,
        "inputs": inputs,
        "settings": study.settings(),
        "stages": list(stages),
        "seconds": {name: round(value, 3) for name, value in timings.items()},
        "notes": _in_both(run.notes),
        "reading": _in_both(run.short_reading()),
        "figures": {**old.get("figures", {}), **_titles(run)},
        "exhibits": _exhibits(run, stages) + [e for e in old.get("exhibits", []) if e["stage"] not in stages],
        "outputs": made + [{**r, "from_other_inputs": not same} for r in kept],
    }
    return manifest, stale


#: The page that leads to all other files.
INDEX = "index.html"


def _write_index(
    study: Study, old: Mapping[str, Any], place: Path, stages: Sequence[Stage], run: Made
) -> None:
    """The index of all files that the folder will have: of this run, and of other stages of earlier ones."""
    from spatial_zb.report.page.html import render_index

    kept = {record["path"] for record in old.get("outputs", []) if record["stage"] not in stages}
    entries = [*old.get("exhibits", []), *_exhibits(run, stages)]
    titles = {entry["key"]: Text.of(entry["title"]) for entry in entries if entry.get("title")}
    titles |= {stem: Text.of(title) for stem, title in {**old.get("figures", {}), **_titles(run)}.items()}
    languages = LANGUAGES if study.general.language == "both" else (study.general.language,)
    files = sorted({*_files_in(place), *kept, output.MANIFEST} - {INDEX})
    write_atomic(place / INDEX, render_index(study.general.title, files, titles, languages))


def _titles(run: Made) -> dict[str, dict[str, str]]:
    """Titles of the figures of this run, by the stem of their files."""
    return {slug(stem): {"en": title.en, "zh": title.zh} for stem, title in run.titles.items()}


def _in_both(texts: Iterable[Text]) -> list[dict[str, str]]:
    return [{"en": text.en, "zh": text.zh} for text in texts]


def _exhibits(run: Made, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Key, stage and title of every table of these stages."""
    found = {}
    for item in run.items:
        if isinstance(item, MadeTable) and item.stage in stages:
            table = next(iter(item.tables.values()))
            title = Text.of(table.title)
            found[slug(table.key)] = {"stage": item.stage, "title": {"en": title.en, "zh": title.zh}}
    return [{"key": key, **entry} for key, entry in found.items()]


def _files_in(place: Path) -> Iterable[str]:
    return (p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())


@contextmanager
def _collected() -> Iterator[list[warnings.WarningMessage]]:
    """Gather this package's warnings for the log and the manifest; the rest stay with their owners."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        yield caught


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - begun
