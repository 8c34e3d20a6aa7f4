"""The README of a replication package, in the order of the social science data editors' template."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from spatial_zb.base.text import Text
from spatial_zb.report.tables.writers.markup import escape_markdown, escape_start
from spatial_zb.study import Regions, Study

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
        **({} if regions is None else {f"Polygons ({_files(regions)})": regions.source}),
        **{f"Constant `{name}`": entry.source for name, entry in study.constants.items()},
    }
    for what, source in sources.items():
        said = _plain(source) if source else _OPEN.format("name the source")
        lines.append(f"- {what}: {said}")
    if study.review_number:
        lines.append(f"- Map review number (审图号): {_plain(study.review_number)}")
    return lines


def _files(regions: Regions) -> str:
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
