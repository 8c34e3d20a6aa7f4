"""The replication package: what is in it, that it runs again to the same tables, and what it refuses."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import openpyxl
import pytest
from docx import Document

from spatial_zb import cli
from spatial_zb.base.errors import DataError, OutputError
from spatial_zb.pipeline.replication import compare_results
from spatial_zb.pipeline.replication.package import digest_of, replicate, verify
from spatial_zb.study import load_study

ROOT = Path(__file__).resolve().parents[2]

#: A study of a second: two variables of the cities, Moran's I, one model.
STUDY = """
version = 1

[study]
name = "tiny"
title = { en = "Tiny | study", zh = "小研究" }
permutations = 99
draws = 100
bootstrap = 99

[regions]
file = "shapefiles/delta_cities.shp"
id = "adcode"
projected_crs = "EPSG:4549"
source = "Tianditu"

[data]
file = "data/delta_city_panel_2003_2019.csv"
unit = "adcode"
period = "year"
periods = [2007, 2010]
codebook = "data/codebook.csv"
source = { en = "Yearbook", zh = "年鉴" }

[variables.gdp]
expression = "log(gdp_10k)"
label = { en = "GDP", zh = "地区生产总值" }

[variables.wage]
expression = "log(avg_wage_yuan)"
label = { en = "Wage", zh = "工资" }

[weights.queen]
kind = "contiguity"
islands = "nearest"

[samples.all]
label = { en = "Delta", zh = "长三角" }

[moran]
variables = ["gdp"]
weights = ["queen"]

[models.gdp]
title = { en = "GDP", zh = "地区生产总值" }
y = "gdp"
x = ["wage"]
fixed_effects = "unit"
weights = "queen"

[output]
tables = ["csv", "docx", "xlsx", "tex"]
figures = ["png"]
dpi = 72
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    project = tmp_path_factory.mktemp("project")
    for part in ("shapefiles", "data"):
        shutil.copytree(ROOT / part, project / part)
    (project / "studies").mkdir()
    (project / "studies" / "tiny.toml").write_text(STUDY, encoding="utf-8")
    assert cli.main(["run", str(project / "studies" / "tiny.toml"), "--quiet"]) == 0
    return project


@pytest.fixture
def project(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture(scope="module")
def unpacked(finished, tmp_path_factory) -> Path:
    path = replicate(load_study(finished / "studies" / "tiny.toml"))
    place = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(place)
    return place / "tiny-replication"


def study_of(project: Path):
    return load_study(project / "studies" / "tiny.toml")


# The package


def test_it_holds_study_data_polygons_code_results_and_versions(unpacked):
    for name in (
        "README.md",
        "replicate.py",
        "checksums.sha256",
        "codebook.csv",
        "exhibits.csv",
        "environment/requirements.txt",
        "environment/python.txt",
        "studies/tiny.toml",
        "data/delta_city_panel_2003_2019.csv",
        "data/README.md",
        "shapefiles/delta_cities.dbf",
        "code/spatial_zb/core/likelihood/__init__.py",
        "code/uv.lock",
        "results/tiny/manifest.json",
        "results/tiny/tables/sdm_gdp.docx",
    ):
        assert (unpacked / name).is_file(), name
    assert not list(unpacked.rglob("__pycache__"))


def test_versions_are_those_installed_and_closed_under_what_they_need(unpacked):
    from importlib import metadata

    lines = (unpacked / "environment" / "requirements.txt").read_text().split()
    pins = dict(line.split("==") for line in lines)
    assert {"numpy", "geopandas", "pydantic-core", "python-dateutil"} <= set(pins)
    assert all(metadata.version(name) == version for name, version in pins.items())
    assert "spatial-zb" not in pins  # its source is in the package
    assert "pytest" not in pins


def test_the_readme_is_filled_and_says_what_only_authors_know(unpacked):
    text = (unpacked / "README.md").read_text(encoding="utf-8")
    for part in (
        "Tiny &#124; study (小研究)",
        "## Data availability and provenance statements",
        "Yearbook (年鉴)",
        "## Computational requirements",
        "seed 20190101",
        "## Instructions to replicators",
        "| table `sdm_gdp` |",
        "spatial_zb.pipeline.stages.equations.estimate",
        "**[AUTHORS:",
    ):
        assert part in text, part


def test_every_exhibit_names_the_function_behind_it(unpacked):
    rows = list(csv.DictReader(io.StringIO((unpacked / "exhibits.csv").read_text(encoding="utf-8-sig"))))
    tables = {row["exhibit"]: row for row in rows if row["kind"] == "table"}
    assert tables["sdm_gdp"]["title"] == "GDP: SDM"
    for row in rows:
        module, _, function = row["code"].rpartition(".")
        assert callable(getattr(sys.modules[module], function))
        assert all((unpacked / "results" / "tiny" / name).is_file() for name in row["files"].split())


def test_the_codebook_has_derived_variables_and_columns(unpacked):
    rows = list(csv.DictReader(io.StringIO((unpacked / "codebook.csv").read_text(encoding="utf-8-sig"))))
    kinds = {row["variable"]: row["kind"] for row in rows}
    assert kinds["gdp"] == "derived"
    assert kinds["avg_wage_yuan"].startswith("column of")


def test_the_same_results_make_the_same_bytes(finished, tmp_path):
    study = study_of(finished)
    first, second = (replicate(study, tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second


def test_as_a_replicator(unpacked, tmp_path):
    """The command of the README, in a process that sees the code of the package only."""
    place = Path(shutil.copytree(unpacked, tmp_path / "there"))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"MPLBACKEND": "Agg"}
    command = [sys.executable, str(place / "replicate.py"), "--here"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Every table came out again." in done.stdout
    assert (place / "rerun" / "tables" / "sdm_gdp.csv").is_file()


def test_a_table_that_does_not_come_out_again_is_named(unpacked, tmp_path, capsys):
    """As if the published table had been made by other code: its checksum is right, its numbers are not."""
    place = Path(shutil.copytree(unpacked, tmp_path / "there"))
    table = place / "results" / "tiny" / "tables" / "sdm_gdp.csv"
    old = hashlib.sha256(table.read_bytes()).hexdigest()
    table.write_bytes(table.read_bytes().replace(b"SDM", b"SAR"))
    sums = (place / "checksums.sha256").read_text()
    (place / "checksums.sha256").write_text(sums.replace(old, hashlib.sha256(table.read_bytes()).hexdigest()))
    assert cli.main(["verify", str(place)]) == 1
    said = capsys.readouterr()
    assert "different: tables/sdm_gdp.csv" in said.err
    assert "Not every table came out again." in said.out
    assert cli.main(["verify", str(place), "--language", "zh"]) == 1
    said = capsys.readouterr()
    assert re.search(r"^不同：tables/sdm_gdp\.csv 第\d+行：.*变为", said.err, re.MULTILINE)
    assert "有的表没有得到复现。" in said.out
    assert "完全相同" in said.out


def test_what_is_printed_is_in_the_language_of_the_study(finished, tmp_path, capsys):
    study = finished / "studies" / "tiny.toml"
    assert cli.main(["replicate", str(study), "--out", str(tmp_path / "a.zip"), "--language", "zh"]) == 0
    assert "请在其README中补全" in capsys.readouterr().out
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "x.toml").write_text('language = "zh"\n', encoding="utf-8")
    assert cli.main(["verify", str(tmp_path)]) == 1
    assert "错误：" in capsys.readouterr().err


def test_a_changed_file_is_named_before_anything_runs(unpacked, tmp_path):
    place = Path(shutil.copytree(unpacked, tmp_path / "there"))
    (place / "data" / "codebook.csv").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match=r"data/codebook\.csv is missing or was changed"):
        verify(place)
    assert not (place / "rerun").exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd"])
def test_checksums_do_not_lead_outside(unpacked, tmp_path, path):
    place = tmp_path / "there"
    place.mkdir()
    (place / "checksums.sha256").write_text(f"{'0' * 64}  {path}\n")
    with pytest.raises(OutputError, match="does not lie in"):
        verify(place)


def test_a_folder_that_is_no_package_is_said(tmp_path):
    with pytest.raises(OutputError, match="unpack the replication package"):
        verify(tmp_path)


def test_the_study_asked_for_bootstrap_p_values_of_its_tests(unpacked):
    with open(unpacked / "results" / "tiny" / "tables" / "tests_gdp.csv", encoding="utf-8-sig") as handle:
        rows = {row["Test"]: row for row in csv.DictReader(handle)}
    assert float(rows["LM lag"]["p, bootstrap"]) >= 1 / 100
    assert rows["Condition number"]["p, bootstrap"] == ""


# What cannot be packed


def test_results_must_be_there_whole_and_of_these_inputs(project):
    study = study_of(project)
    manifest = project / "results" / "tiny" / "manifest.json"
    whole = manifest.read_text(encoding="utf-8")
    manifest.write_text(whole.replace('"complete": true', '"complete": false'), encoding="utf-8")
    with pytest.raises(OutputError, match="no complete results of tiny"):
        replicate(study)
    manifest.write_text(whole, encoding="utf-8")
    with open(project / "data" / "codebook.csv", "a", encoding="utf-8") as handle:
        handle.write("\n")
    with pytest.raises(OutputError, match=r"older than data/codebook\.csv"):
        replicate(study)


def test_a_result_that_was_edited_is_not_packed(project):
    (project / "results" / "tiny" / "tables" / "sdm_gdp.csv").write_text("better", encoding="utf-8")
    with pytest.raises(OutputError, match=r"1 result file\(s\) changed since they were made"):
        replicate(study_of(project))


def test_inputs_outside_the_project_are_named(project, tmp_path):
    outside = tmp_path / "codebook.csv"
    shutil.copy(project / "data" / "codebook.csv", outside)
    path = project / "studies" / "tiny.toml"
    path.write_text(STUDY.replace('"data/codebook.csv"', f'"{outside.as_posix()}"'), encoding="utf-8")
    assert cli.main(["run", str(path), "--allow-outside", "--quiet"]) == 0
    with pytest.raises(DataError, match="lies outside the project folder"):
        replicate(load_study(path, allow_outside=True))


def test_a_second_study_in_the_package_is_not_guessed_at(unpacked, tmp_path):
    place = Path(shutil.copytree(unpacked, tmp_path / "there"))
    shutil.copy(place / "studies" / "tiny.toml", place / "studies" / "other.toml")
    with pytest.raises(OutputError, match=r"studies/other\.toml"):
        verify(place)
    with (place / "checksums.sha256").open("a") as sums:
        sums.write(f"{'0' * 64}  studies/other.toml\n")
    remade_sums(place)
    with pytest.raises(OutputError, match="holds 2 study files, not one"):
        verify(place)


# Comparison


def results_of(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "before", "after", "verdict"),
    [
        ("tables/t.csv", "a,0.123***", "a,0.123***", "identical"),
        ("tables/t.csv", "a,0.123***", "a,0.124***", "same numbers"),
        ("tables/t.csv", "a,0.123***", "a,0.125***", "different"),
        ("tables/t.csv", "a,−0.123", "a,0.123", "different"),
        ("tables/t.csv", "a,0.123***", "a,0.123**", "different"),
        ("tables/t.csv", "Units,41", "Units,42", "different"),
        ("tables/t.csv", "a,1.2e-06", "a,1.3e-06", "same numbers"),
        ("tables/t.csv", "a,1.2e-06", "a,1.2e-05", "different"),
        ("tables/t.csv", "a\nb", "a", "different"),
        ("tidy/t.csv", "a,0.12345678", "a,0.12345679", "same numbers"),
        ("tidy/t.csv", "a,0.12345678", "a,0.12346678", "different"),
        ("tidy/t.csv", "a,0.12345678", "b,0.12345678", "different"),
    ],
)
def test_numbers_agree_to_the_last_printed_digit_and_words_exactly(tmp_path, name, before, after, verdict):
    old, new = results_of(tmp_path / "old", name, before), results_of(tmp_path / "new", name, after)
    found = compare_results(old, new)
    assert found.tidy()["verdict"].tolist() == [verdict]
    assert found.same is (verdict != "different")
    assert (found.tidy()["detail"][0] != "") is (verdict == "different")


def test_missing_and_new_files_are_rows(tmp_path):
    old = results_of(tmp_path / "old", "tables/gone.csv", "1")
    new = results_of(tmp_path / "new", "tables/fresh.csv", "1")
    found = compare_results(old, new)
    assert dict(zip(found.files["file"], found.files["verdict"], strict=True)) == {
        "tables/gone.csv": "missing",
        "tables/fresh.csv": "new",
    }
    assert not found.same


def test_documents_are_compared_by_their_words(finished, tmp_path):
    results = finished / "results" / "tiny"
    for name in ("sdm_gdp.docx", "sdm_gdp.xlsx"):
        for folder in ("old", "new"):
            (tmp_path / folder / "tables").mkdir(parents=True, exist_ok=True)
            shutil.copy(results / "tables" / name, tmp_path / folder / "tables" / name)
        path = tmp_path / "new" / "tables" / name
        with zipfile.ZipFile(path) as archive:
            parts = {part: archive.read(part) for part in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # other bytes, same words
            for part, data in parts.items():
                archive.writestr(part, data)
    assert set(compare_results(tmp_path / "old", tmp_path / "new").files["verdict"]) == {"same numbers"}
    (tmp_path / "new" / "tables" / "sdm_gdp.docx").write_bytes(b"PK no longer")
    with pytest.raises(OutputError, match="damaged"):
        compare_results(tmp_path / "old", tmp_path / "new")


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(OutputError, match="holds no tables"):
        compare_results(tmp_path, tmp_path)


# What was slipped in


def remade_sums(place: Path) -> None:
    """Checksums that fit what the files are now, as a forger would make them."""
    lines = (place / "checksums.sha256").read_text().splitlines()
    paths = [line.partition("  ")[2] for line in lines]
    sums = (f"{hashlib.sha256((place / path).read_bytes()).hexdigest()}  {path}\n" for path in paths)
    (place / "checksums.sha256").write_text("".join(sums))


def no_sums(place: Path) -> None:
    (place / "checksums.sha256").write_text("")


def garbled_sums(place: Path) -> None:
    (place / "checksums.sha256").write_bytes(b"\xff\xfe\x00")


def more_code(place: Path) -> None:
    (place / "code" / "sitecustomize.py").write_text("raise SystemExit(3)")


def another_table(place: Path) -> None:
    (place / "results" / "tiny" / "tables" / "more.csv").write_text("a")


@pytest.mark.parametrize("forge", [no_sums, garbled_sums, more_code, another_table])
def test_a_file_that_no_line_names_is_refused(unpacked, tmp_path, forge):
    place = Path(shutil.copytree(unpacked, tmp_path / "there"))
    forge(place)
    with pytest.raises(OutputError, match=r"checksums\.sha256"):
        verify(place)
    assert not (place / "rerun").exists()


def forged_header(results: Path) -> str:
    document = Document(results / "tables" / "sdm_gdp.docx")
    document.sections[0].header.paragraphs[0].text = "FORGED"
    document.save(results / "tables" / "sdm_gdp.docx")
    return "tables/sdm_gdp.docx"


def second_sheet(results: Path) -> str:
    book = openpyxl.load_workbook(results / "tables" / "sdm_gdp.xlsx")
    book.create_sheet("more").append([1, 2])
    book.save(results / "tables" / "sdm_gdp.xlsx")
    return "tables/sdm_gdp.xlsx"


def forged_page(results: Path) -> str:
    page = (results / "report.html").read_text(encoding="utf-8")
    (results / "report.html").write_text(page.replace("0.5", "0.6"), encoding="utf-8")
    return "report.html"


@pytest.mark.parametrize("forge", [forged_header, second_sheet, forged_page])
def test_a_forgery_with_sums_remade_is_found_by_running_again(finished, tmp_path, forge):
    published, again = (Path(shutil.copytree(finished / "results" / "tiny", tmp_path / n)) for n in "ab")
    for place in (published, again):
        (place / "report.html").write_text("<p>total 0.51</p><svg><path d='M0.5 1'/></svg>", encoding="utf-8")
    assert compare_results(published, again).same
    name = forge(published)
    found = compare_results(published, again).tidy().set_index("file")["verdict"]
    assert found[name] == "different"
    assert (found.drop(name) == "identical").all()


def test_code_of_the_package_shadows_nothing(unpacked, tmp_path):
    """Before a checksum can be read, nothing but the package itself is taken from code/."""
    place = Path(shutil.copytree(unpacked, tmp_path / "there"))
    for name in ("sitecustomize.py", "numpy.py", "json.py"):
        (place / "code" / name).write_text("raise SystemExit('taken from code/')")
    command = [sys.executable, str(place / "replicate.py"), "--here"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sitecustomize.py" in done.stderr
    assert "taken from code/" not in done.stderr


def test_the_digest_is_in_the_readme_and_printed(unpacked, tmp_path, capsys):
    place = Path(shutil.copytree(unpacked, tmp_path / "there"))
    assert cli.main(["verify", str(place)]) == 0
    digest = re.search(r"Digest of the package: ([0-9a-f]{64})", capsys.readouterr().out)[1]
    assert f"`{digest}`" in (place / "README.md").read_text(encoding="utf-8")
    page = place / "results" / "tiny" / "report.html"
    assert page.read_text(encoding="utf-8").count(f"<code>{digest}</code>") == 1
    assert not re.search(r'id="package">[^<]', (place / "rerun" / "report.html").read_text(encoding="utf-8"))

    def digest_now() -> str:
        remade_sums(place)
        return digest_of((place / "checksums.sha256").read_text(), lambda path: (place / path).read_bytes())

    assert digest_now() == digest
    page.write_text(page.read_text(encoding="utf-8").replace("<h2", "<h3", 1), encoding="utf-8")
    assert digest_now() != digest
    table = place / "results" / "tiny" / "tables" / "sdm_gdp.tex"
    table.write_text(table.read_text(encoding="utf-8") + "%\n", encoding="utf-8")
    assert digest_now() != digest
