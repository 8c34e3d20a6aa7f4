"""The replication package of a study, made of its results, run again and compared: here, the comparison and the README.

Are two results folders the same? Words exactly, numbers to the last digit that is printed. The README keeps the order of the
social science data editors' template.
"""

from __future__ import annotations

import hashlib
import math
import platform
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from spatial_zb.base.errors import OutputError
from spatial_zb.base.printing import Printed
from spatial_zb.base.text import Text
from spatial_zb.report.tables.writers.markup import escape_markdown, escape_start
from spatial_zb.study import Regions, Study

#: Frames of full precision agree to this share of their own size: other processors and other versions of the
#: linear algebra round differently, and an optimum is found to about 1e-8.
TIDY_TOLERANCE = 1e-6
_NUMBER = re.compile(r"[-−]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+−]?\d+)?")
#: Documents that are archives of parts: words of all of them are compared.
_PACKED = {".docx", ".xlsx"}
_COMPARED = {"tables", "tidy"}
_PAGE = "report.html"
_PAPERS = tuple(f"paper{part}.{suffix}" for part in ("", ".zh") for suffix in ("docx", "tex"))
#: Of the page, what draws (styles and shapes), and the digest of the package. Its words and numbers are compared,
#: embedded ones too.
_DRAWN = re.compile(
    r"<style\b.*?</style>|<svg\b.*?</svg>|<p class=\"colophon\" id=\"package\">.*?</p>", re.DOTALL
)
#: What is found of a file, in words.
VERDICTS = {
    "identical": Text("identical", "完全相同"),
    "same numbers": Text("same numbers", "数值相同"),
    "different": Text("different", "不同"),
    "missing": Text("missing", "缺失"),
    "new": Text("new", "新增"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Printed):
    """Two results folders, file by file.

    Attributes
    ----------
    files
        One row per file of ``tables/`` and ``tidy/``, of the paper and the page: ``file``, ``verdict`` (``identical``,
        ``same numbers``: other bytes, every word equal and every number equal to the last printed digit, ``different``,
        ``missing``, ``new``) and the first difference, as ``detail`` and in Chinese as ``detail_zh``.
    digest
        Of a replication package: the fingerprint of its files.
    """

    files: pd.DataFrame
    digest: str = ""

    @property
    def same(self) -> bool:
        """Whether every expected table was reproduced."""
        return bool(self.files["verdict"].isin(["identical", "same numbers", "new"]).all())

    def tidy(self) -> pd.DataFrame:
        """One row per file."""
        return self.files.copy()

    def glance(self) -> pd.DataFrame:
        """How many files have each verdict."""
        return (
            self.files["verdict"]
            .value_counts(sort=False)
            .rename("files")
            .rename_axis("verdict")
            .reset_index()
        )


def compare_results(expected: str | Path, found: str | Path) -> Comparison:
    """Compare the tables, the tidy frames and the words of the report page of two results folders of the same study.

    Figures are drawings of these numbers and are not compared.

    Raises
    ------
    OutputError
        ``expected`` holds no tables and no tidy frames.
    """
    expected, found = Path(expected), Path(found)
    names = _files(expected)
    if not names:
        raise OutputError(
            f"{expected} holds no tables to compare with; give the results folder of a study.",
            f"{expected}没有可比较的表；请给出研究的结果文件夹。",
        )
    rows = [{"file": name, **_verdict(expected / name, found / name)} for name in names]
    rows += [{"file": name, **_found("new")} for name in _files(found) if name not in set(names)]
    return Comparison(pd.DataFrame(rows, columns=["file", "verdict", "detail", "detail_zh"]))


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for top in sorted(_COMPARED)
        for path in sorted((folder / top).rglob("*"))
        if path.is_file()
    ] + [name for name in (*_PAPERS, _PAGE) if (folder / name).is_file()]


def _found(verdict: str, detail: Text | None = None) -> dict[str, str]:
    said = detail or Text("", "")
    return {"verdict": verdict, "detail": said.en, "detail_zh": said.zh}


def _verdict(expected: Path, found: Path) -> dict[str, str]:
    if not found.is_file():
        return _found("missing", Text("not made again", "未再生成"))
    if expected.read_bytes() == found.read_bytes():
        return _found("identical")
    tolerance = TIDY_TOLERANCE if "tidy" in expected.parts else None
    detail = next(_differences(_words(expected), _words(found), tolerance), None)
    return _found("different" if detail else "same numbers", detail)


def _words(path: Path) -> str:
    """Text of a file; for a packed document, the text of all its parts."""
    if path.name == _PAGE:
        return re.sub(r"<[^>]*>", " ", _DRAWN.sub(" ", path.read_text(encoding="utf-8", errors="replace")))
    if path.suffix.lower() not in _PACKED:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in sorted(archive.namelist())}
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise OutputError(
            f"{path} is damaged: it is not a document that can be opened.",
            f"{path}已损坏：不是能打开的文件。",
        ) from error
    return "\n".join(f"{name} {_part_words(name, data)}" for name, data in parts.items())


def _part_words(name: str, data: bytes) -> str:
    """Words of a part; for one that is not text its fingerprint, but figures of a paper are drawings of its numbers."""
    if name.startswith("word/media/"):
        return ""
    if name.endswith((".xml", ".rels")):
        return re.sub(r"<[^>]*>", " ", data.decode("utf-8", errors="replace"))
    return hashlib.sha256(data).hexdigest()


def _differences(expected: str, found: str, tolerance: float | None) -> Iterator[Text]:
    """Say where two texts differ, line by line; nothing when they say the same."""
    for number, (old, new) in enumerate(zip_longest(expected.splitlines(), found.splitlines()), 1):
        if old is None or new is None:
            more, more_zh = ("more", "多") if old is None else ("fewer", "少")
            yield Text(f"line {number}: {more} lines than before", f"第{number}行：行数比原来{more_zh}")
            return
        if old == new:
            continue
        if " ".join(_NUMBER.sub("#", old).split()) != " ".join(_NUMBER.sub("#", new).split()):
            yield _became(number, _short(old), _short(new))
            continue
        for a, b in zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True):
            if not _agree(a, b, tolerance):
                yield _became(number, a, b)


def _became(number: int, old: str, new: str) -> Text:
    return Text(f"line {number}: {old} became {new}", f"第{number}行：{old}变为{new}")


def _agree(a: str, b: str, tolerance: float | None) -> bool:
    """Whether two printed numbers agree: relatively, or within one unit of the last digit printed."""
    x, y = (float(text.replace("−", "-")) for text in (a, b))
    if tolerance is not None:
        return math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance**2)
    return abs(x - y) <= 1.000001 * max(_unit(a), _unit(b))


def _unit(text: str) -> float:
    """One unit of the last digit of a printed number; zero for whole numbers, which are counts."""
    mantissa, _, exponent = text.replace("−", "-").lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.0 if not decimals and not exponent else 10.0 ** (int(exponent or 0) - decimals)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


# --- The README

_OPEN = "**[AUTHORS: {}]**"
_MINUTE = 60
#: Where the digest of the package goes, which is known when all other files are.
DIGEST = "@digest@"


def readme(
    study: Study,
    manifest: Mapping[str, Any],
    exhibits: Sequence[Mapping[str, str]],
    inputs: Sequence[str],
    requirements: Sequence[str],
) -> str:
    """Fill the template (https://social-science-data-editors.github.io/template_README) as far as the study says.

    What only the authors can know (rights to the data, their names) is a bold line that starts with
    ``[AUTHORS:``. Text of the study is escaped.
    """
    sections = [
        _overview(study, exhibits),
        _provenance(study),
        _datasets(inputs),
        _requirements(manifest, requirements),
        _programs(study, manifest),
        _instructions(study),
        _list_of_exhibits(exhibits),
        _remarks(study, manifest),
        _references(),
    ]
    return "\n".join(line for part in sections for line in (*part, "")).rstrip() + "\n"


def _plain(text: Text | str) -> str:
    """Words of the study as Markdown prints them, English first."""
    text = Text.of(text)
    both = text.en if text.en == text.zh else f"{text.en} ({text.zh})"
    return escape_start(escape_markdown(" ".join(both.split())))


def _overview(study: Study, exhibits: Sequence[Mapping[str, str]]) -> list[str]:
    counts = {kind: sum(row["kind"] == kind for row in exhibits) for kind in ("table", "figure")}
    return [
        f"# Replication package: {_plain(study.general.title)}",
        "",
        _OPEN.format("title of the paper, names, journal, date"),
        "",
        "## Overview",
        "",
        f"One study file, `studies/{study.path.name}`, names data, polygons, weights, models, samples and the seed. "
        f"The code in `code/` reads it and makes {counts['table']} tables and {counts['figure']} figures. The "
        "replicator runs one command, `python3 replicate.py`, which also compares every table with the published one.",
        "",
        f"Digest of all other files of this package (SHA-256 of their lines in `checksums.sha256`): `{DIGEST}`. "
        "`replicate.py` prints it again: a package with another digest has been changed. It also stands at the foot of "
        "`report.html`, whose checksum in `manifest.json` is that of the page before it was packed.",
    ]


def _provenance(study: Study) -> list[str]:
    lines = [
        "## Data availability and provenance statements",
        "",
        "### Statement about rights",
        "",
        _OPEN.format(
            "state that you had permission to use the data and may redistribute them, or what may not be"
        ),
        "",
        "### Summary of availability",
        "",
        _OPEN.format("all data are / some data are not / no data are publicly available"),
        "",
        "### Details on each source",
        "",
    ]
    regions = study.regions
    sources: dict[str, Text | None] = {
        f"Data (`{study.table_name}`)": study.data.source,
        **({} if regions is None else {f"Polygons ({_polygon_files(regions)})": regions.source}),
        **{f"Constant `{name}`": entry.source for name, entry in study.constants.items()},
    }
    for what, source in sources.items():
        said = _plain(source) if source else _OPEN.format("name the source")
        lines.append(f"- {what}: {said}")
    if study.review_number:
        lines.append(f"- Map review number (审图号): {_plain(study.review_number)}")
    return lines


def _polygon_files(regions: Regions) -> str:
    return ", ".join(f"`{file}`" for file in regions.files)


def _datasets(inputs: Sequence[str]) -> list[str]:
    lines = ["## Dataset list", "", "| file | provided |", "|---|---|"]
    lines += [f"| `{path}` | yes |" for path in inputs]
    return [
        *lines,
        "",
        "Variables derived from them, and the columns of the data, are described in `codebook.csv`.",
    ]


def _requirements(manifest: Mapping[str, Any], requirements: Sequence[str]) -> list[str]:
    versions = manifest["versions"]
    seconds = sum(manifest["seconds"].values())
    time = f"{seconds:.0f} seconds" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} minutes"
    revision = f" (revision {versions['revision']})" if "revision" in versions else ""
    return [
        "## Computational requirements",
        "",
        "### Software",
        "",
        f"- Python {versions['python']} on {versions['system']} ({platform.machine()}); 3.11 or newer runs it",
        f"- spatial_zb {versions['spatial_zb']}{revision}, in `code/`",
        f"- {len(requirements)} packages at the versions of `environment/requirements.txt`",
        "",
        "### Controlled randomness",
        "",
        f"The seed {manifest['seed']} stands in the study file. Every permutation test and simulated standard error draws "
        "from a stream of its own, so that results do not depend on the order of work.",
        "",
        "### Memory, runtime, storage",
        "",
        f"The published run took {time} with one process; any machine with 4 GB of memory will do. The package and a "
        "second run take less than 200 MB.",
    ]


def _programs(study: Study, manifest: Mapping[str, Any]) -> list[str]:
    stages = ", ".join(f"`{stage}`" for stage in manifest["stages"])
    return [
        "## Description of programs",
        "",
        "- `replicate.py` sets up an environment, checks the checksums, runs the study and compares the tables",
        f"- `studies/{study.path.name}` holds every choice of the analysis",
        f"- `code/spatial_zb/pipeline/` works through the stages {stages}; `code/spatial_zb/core/` holds the formulas",
        "- `exhibits.csv` names the function behind every table and figure",
        "",
        "Licence of the code: BSD-3-Clause. " + _OPEN.format("licence of the data"),
    ]


def _instructions(study: Study) -> list[str]:
    return [
        "## Instructions to replicators",
        "",
        "1. Unpack the archive.",
        "2. Run `python3 replicate.py` in its folder (Python 3.11 or newer; the first run downloads the packages). Or "
        "install `environment/requirements.txt` yourself and run `python3 replicate.py --here`.",
        f"3. New results are in `rerun/`, the published ones in `results/{study.name}/`. The command lists every table "
        "that differs and ends with exit code 1 if any does.",
        "",
        "Tables may differ in the last printed digit on another processor; that counts as the same and is said.",
    ]


def _list_of_exhibits(exhibits: Sequence[Mapping[str, str]]) -> list[str]:
    lines = [
        "## List of tables and programs",
        "",
        "The code makes all of them. " + _OPEN.format("numbers of the tables and figures in the paper"),
        "",
        "| exhibit | in the paper | title | code | file |",
        "|---|---|---|---|---|",
    ]
    for row in exhibits:
        if row["kind"] in ("table", "figure"):
            first = row["files"].split()[0]
            title = escape_markdown(row["title"])
            lines.append(f"| {row['kind']} `{row['exhibit']}` |  | {title} | `{row['code']}` | `{first}` |")
    return lines


def _remarks(study: Study, manifest: Mapping[str, Any]) -> list[str]:
    reasons = [entry.reason for entry in study.suspect] + [entry.reason for entry in study.missing]
    lines = ["## What a reader should know", ""]
    lines += [f"- {_plain(reason)}" for reason in reasons]
    lines += [f"- {_plain(Text.of(note))}" for note in manifest["notes"]]
    return lines if reasons or manifest["notes"] else []


def _references() -> list[str]:
    return [
        "## References",
        "",
        _OPEN.format("full references of the data and the literature"),
        "",
        "- spatial_zb: see `code/CITATION.cff` where it is included",
    ]
