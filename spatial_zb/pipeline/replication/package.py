"""Put the replication package of a study together, and run one again."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import platform
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path, PurePosixPath
from typing import Any

import spatial_zb
from spatial_zb.base.errors import DataError, OutputError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.pipeline.replication import DIGEST, Comparison, compare_results, readme
from spatial_zb.pipeline.running import WORK, run
from spatial_zb.report.files import SHAPEFILE_PARTS, atomic_path, fingerprint, input_record
from spatial_zb.report.folder import MANIFEST, inside, read_manifest
from spatial_zb.report.tables.writers.markup import harmless
from spatial_zb.study import Study, load_study

CHECKSUMS = "checksums.sha256"
SCRIPT = "replicate.py"
#: The time every entry of the archive carries: same content, same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: Pages of results, and the place in them for the digest of the package, which is known when all other files are.
_PAGES = re.compile(r"results/[^/]+/report\.html")
_PACKED_AS = re.compile(rb'(<p class="colophon" id="package">).*?(</p>)')
_LEFT_OUT = {"__pycache__", ".DS_Store", "Thumbs.db", "desktop.ini"}
#: Folders that running a package makes in it.
_MADE = {"rerun", ".venv"}
#: Files that say where data come from and what may be done with them, taken along from their folders.
_COMPANIONS = ("README.md", "LICENSE", "LICENSE.txt", "codebook.csv")
_PROJECT = ("pyproject.toml", "uv.lock", "environment.yml", "LICENSE", "CITATION.cff")


def replicate(study: Study, out: str | Path | None = None) -> Path:
    """Put the replication package of a study into one zip file.

    It holds the study file, data and polygons at their own paths, the results, the code of this package, the
    exact versions of everything it needs, a README in the template of the social science data editors filled
    from the manifest, a codebook, the list of exhibits and the code behind each, checksums, and
    ``replicate.py``, which sets up an environment, runs the study again and compares every table.

    Parameters
    ----------
    study
        A study whose whole run lies in its results folder.
    out
        The zip file; ``<results>-replication.zip`` beside the results folder when None.

    Raises
    ------
    OutputError
        No complete results, results of other inputs than the files are now, or a file that cannot be written.
    DataError
        An input outside the project folder: a package holds everything at its own place.
    """
    results = study.results.resolve()
    manifest = _sound_manifest(study, results)
    name = f"{study.name}-replication"
    entries = dict(_entries(study, results, manifest))
    digest = digest_of(_sums_of(entries), entries.__getitem__)
    entries["README.md"] = entries["README.md"].decode().replace(DIGEST, digest).encode()
    entries |= {
        path: _PACKED_AS.sub(_said(digest), data) for path, data in entries.items() if _PAGES.fullmatch(path)
    }
    sums = _sums_of(entries)
    entries[CHECKSUMS] = sums.encode()
    target = Path(out) if out is not None else results.parent / f"{name}.zip"
    if os.path.isdir(target):  # Path.is_dir raises where a path is too long
        target = target / f"{name}.zip"
    with (
        atomic_path(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
    ):
        for path in sorted(entries):
            info = zipfile.ZipInfo(f"{name}/{path}", _EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, entries[path])
    return target


def verify(
    folder: str | Path,
    *,
    progress: Callable[[str, str], None] = lambda stage, step: None,
) -> Comparison:
    """Run the study of an unpacked replication package again and compare every table.

    New results go to ``<folder>/rerun``.

    Raises
    ------
    OutputError
        The folder is no unpacked package, or one of its files is not what the checksums say.
    SpatialZbError
        What the study refuses.
    """
    folder = Path(folder).resolve()
    sums = _check_sums(folder)
    found = sorted((folder / "studies").glob("*.toml"))
    if len(found) != 1:
        raise OutputError(
            f"{folder}/studies holds {len(found)} study files, not one; unpack the replication package again.",
            f"{folder}/studies含{len(found)}个研究文件，应为1个；请重新解压复现包。",
        )
    study = load_study(found[0], root=folder)
    if (folder / "rerun").is_symlink():
        raise OutputError(
            f"{folder / 'rerun'} is a link to another folder; results are not written there. Remove it.",
            f"{folder / 'rerun'}是指向其他文件夹的链接，不在那里写结果。请删除。",
        )
    run(study, out=folder / "rerun", progress=progress)
    compared = compare_results(folder / "results" / study.name, folder / "rerun")
    return replace(compared, digest=digest_of(sums, lambda path: inside(folder, path).read_bytes()))


def _sums_of(entries: Mapping[str, bytes]) -> str:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(entries.items()))


def _sound_manifest(study: Study, results: Path) -> dict[str, Any]:
    """The manifest of results that are whole and made from the inputs as they are."""
    manifest = read_manifest(results)
    command = f"spatial-zb run {study.path.name}"
    remedy = Text(f"Run the whole study first: {command}.", f"请先运行整个研究：{command}。")
    if not manifest.get("complete"):
        raise OutputError(
            f"{results} holds no complete results of {study.name}. {remedy.en}",
            f"{results}没有{study.name}的完整结果。{remedy.zh}",
        )
    now = input_record({"study": study.path, **study.files()}, study.root)
    before = {record["path"]: record["sha256"] for record in manifest["inputs"]}
    changed = [record["path"] for record in now if before.get(record["path"]) != record["sha256"]]
    if changed:
        raise OutputError(
            f"The results are older than {listed(changed)}. {remedy.en}",
            f"结果早于{listed_zh(changed)}。{remedy.zh}",
        )
    stale = sorted({r["stage"] for r in manifest["outputs"] if r.get("from_other_inputs")})
    if stale:
        raise OutputError(
            f"Results of {listed(stale)} were made from other inputs. {remedy.en}",
            f"{listed_zh(stale)}的结果由其他输入得出。{remedy.zh}",
        )
    damaged = [r["path"] for r in manifest["outputs"] if not _is(inside(results, r["path"]), r["sha256"])]
    if damaged:
        raise OutputError(
            f"{len(damaged)} result file(s) changed since they were made ({damaged[0]}). {remedy.en}",
            f"{len(damaged)}个结果文件在生成后被改动（{damaged[0]}）。{remedy.zh}",
        )
    return manifest


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and fingerprint(path) == sha256


def _entries(study: Study, results: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Path in the package and content of everything but the checksums."""
    yield f"studies/{study.path.name}", study.path.read_bytes()
    inputs = dict(_inputs(study))
    yield from inputs.items()
    outputs = [MANIFEST, *(record["path"] for record in manifest["outputs"])]
    for path in outputs:
        yield f"results/{study.name}/{path}", (results / path).read_bytes()
    yield from _code()
    requirements = _requirements()
    yield "environment/requirements.txt", "".join(f"{line}\n" for line in requirements).encode()
    yield "environment/python.txt", f"{platform.python_version()}\n".encode()
    exhibits = _exhibits(study, manifest)
    yield "exhibits.csv", _csv(exhibits)
    yield "codebook.csv", _csv(_codebook(study))
    yield SCRIPT, resources.files("spatial_zb.pipeline.replication").joinpath("replicate.py.txt").read_bytes()
    text = readme(study, manifest, exhibits, sorted(inputs), requirements)
    yield "README.md", text.encode()


def _inputs(study: Study) -> Iterator[tuple[str, bytes]]:
    """Data and polygons at their own paths, with what their folders say about them."""
    seen = set()
    for role, path in study.files().items():
        parts = [path.with_suffix(s) for s in SHAPEFILE_PARTS] if path.suffix.lower() == ".shp" else [path]
        for file in (*parts, *(path.parent / name for name in _COMPANIONS)):
            if not file.is_file() or file in seen:
                continue
            seen.add(file)
            if not file.resolve().is_relative_to(study.root.resolve()):
                raise DataError(
                    f"The {role} file {file} lies outside the project folder {study.root}. Copy it there and "
                    "name it in the study by its path inside.",
                    f"文件{file}（{role}）在项目文件夹{study.root}之外。请复制到其中，并在研究文件中改为文件夹内的路径。",
                )
            yield file.relative_to(study.root).as_posix(), file.read_bytes()


def _code() -> Iterator[tuple[str, bytes]]:
    """The source of this package, and the files of its project where it runs from a checkout."""
    package = Path(spatial_zb.__file__).parent
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.is_file() and not _LEFT_OUT & set(inside.parts):
            yield f"code/spatial_zb/{inside.as_posix()}", path.read_bytes()
    for name in _PROJECT:
        if (package.parent / "pyproject.toml").is_file() and (package.parent / name).is_file():
            yield f"code/{name}", (package.parent / name).read_bytes()


def _requirements() -> list[str]:
    """Exact versions of the packages this one needs, and of what those need, as they are installed here."""
    found: dict[str, str] = {}
    queue = _needs("spatial-zb") or list(_RUNTIME)
    while queue:
        name = _normal(queue.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # needed on other systems or for extras only
        queue += _needs(name)
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name != "spatial-zb"]


#: What this package imports, for a copy of its source that no installer knows of.
_RUNTIME = [
    "geopandas",
    "joblib",
    "libpysal",
    "matplotlib",
    "numpy",
    "openpyxl",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyogrio",
    "pyproj",
    "python-docx",
    "rich",
    "scipy",
    "shapely",
]


def _needs(name: str) -> list[str]:
    """Names that an installed package asks for on this system, extras left out."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    return [re.split(r"[\s\[(<>=!~;@]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _exhibits(study: Study, manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row per table and figure: its files, its stage, and the function that makes it."""
    titles = {entry["key"]: entry for entry in manifest.get("exhibits", [])}
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for record in manifest["outputs"]:
        path = PurePosixPath(record["path"])
        if record["stage"] not in WORK:  # the index leads to what others make
            continue
        kind = path.parts[0] if len(path.parts) > 1 else "page"
        place = (kind, path.stem)
        if place not in rows:
            work = WORK.get(record["stage"])
            rows[place] = {
                "exhibit": path.stem,
                "kind": {"tables": "table", "figures": "figure", "tidy": "data of tables"}.get(kind, kind),
                "title": titles.get(path.stem, {}).get("title", {}).get("en", ""),
                "stage": record["stage"],
                "code": f"{work.__module__}.{work.__name__}" if work else "",
                "command": f"spatial-zb run studies/{study.path.name}",
                "files": "",
            }
        rows[place]["files"] = " ".join(filter(None, [rows[place]["files"], record["path"]]))
    order = {"table": 0, "figure": 1, "page": 2}
    return sorted(rows.values(), key=lambda row: (order.get(row["kind"], 3), row["exhibit"]))


def _codebook(study: Study) -> list[dict[str, str]]:
    """Variables the study derives, and the columns of its data that its codebook describes."""
    rows = [
        {
            "variable": name,
            "kind": "derived",
            "definition": entry.expression,
            "label_en": entry.label.en,
            "label_zh": entry.label.zh,
        }
        for name, entry in study.variables.items()
    ]
    if study.data.codebook is None:
        return rows
    with open(study.file(study.data.codebook), encoding="utf-8-sig", newline="") as handle:
        for record in csv.DictReader(handle):
            rows.append(
                {
                    "variable": record.get("name", ""),
                    "kind": f"column of {record.get('table', 'data')}",
                    "definition": record.get("notes") or "",
                    "label_en": record.get("label_en", ""),
                    "label_zh": record.get("label_zh", ""),
                }
            )
    return rows


def _csv(rows: list[dict[str, str]]) -> bytes:
    """Rows as CSV that opens in Excel with its Chinese, and starts no formula."""
    stream = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: harmless(str(value)) for key, value in row.items()} for row in rows)
    return b"\xef\xbb\xbf" + stream.getvalue().encode()


def digest_of(sums: str, read: Callable[[str], bytes]) -> str:
    """One fingerprint of a package, for a journal to print: of all its files, before it stands in two of them.

    Those are the README, which is left out, and the page, which ``read`` gives by its path and which counts without it.
    """
    lines = []
    for line in sums.splitlines():
        own, _, path = line.partition("  ")
        if _PAGES.fullmatch(path):
            own = hashlib.sha256(_PACKED_AS.sub(rb"\1\2", read(path))).hexdigest()
        if path != "README.md":
            lines.append(f"{own}  {path}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _said(digest: str) -> bytes:
    """What stands on the page of a packed study; for :data:`_PACKED_AS`."""
    words = f"Digest of the replication package · 复现包校验值: <code>{digest}</code>"
    return rb"\1" + words.encode() + rb"\2"


def _check_sums(folder: Path) -> str:
    """Refuse a package with changed, missing or additional files; give its checksums."""
    try:
        sums = (folder / CHECKSUMS).read_text(encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{folder} has no {CHECKSUMS}: unpack the replication package and give the folder it makes.",
            f"{folder}没有{CHECKSUMS}：请解压复现包，并给出解压所得的文件夹。",
        ) from error
    except UnicodeDecodeError as error:
        raise OutputError(
            f"{CHECKSUMS} is damaged: it is not text. Unpack the replication package again.",
            f"{CHECKSUMS}已损坏：不是文本。请重新解压复现包。",
        ) from error
    named = set()
    for line in sums.splitlines():
        sha256, _, path = line.partition("  ")
        if not _is(inside(folder, path), sha256):
            raise OutputError(
                f"{path} is missing or was changed since the package was made; unpack it again.",
                f"{path}不存在，或在复现包制成后被改动；请重新解压。",
            )
        named.add(path)
    strange = sorted(_files(folder) - named)
    if strange:
        raise OutputError(
            f"{len(strange)} file(s) are not in {CHECKSUMS}: {listed(strange)}. They do not belong to the package: "
            "unpack it into an empty folder.",
            f"{len(strange)}个文件不在{CHECKSUMS}中：{listed_zh(strange)}。它们不属于复现包：请解压到空文件夹。",
        )
    return sums


def _files(folder: Path) -> set[str]:
    """Files of an unpacked package, without those that running it makes."""
    found = set()
    for top, folders, names in os.walk(folder):
        place = Path(top)
        if place == folder:
            folders[:] = [name for name in folders if name not in _MADE]
            names = [name for name in names if name != CHECKSUMS]
        found |= {(place / name).relative_to(folder).as_posix() for name in names if name not in _LEFT_OUT}
        found |= {
            f"{(place / name).relative_to(folder).as_posix()}/"
            for name in folders
            if (place / name).is_symlink()
        }
    return found
