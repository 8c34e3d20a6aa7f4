"""The whole road through the command line, on the real cities with small settings."""

from __future__ import annotations

import html
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from docx import Document

from spatial_zb import cli, pipeline
from spatial_zb.base import threads
from spatial_zb.base.errors import DataError, OutputError
from spatial_zb.base.text import Text
from spatial_zb.pipeline import running
from spatial_zb.pipeline.job import Job, Made, Reading, Verdict
from spatial_zb.pipeline.stages import exploration
from spatial_zb.pipeline.stages import page as report_page
from spatial_zb.report import folder as output
from spatial_zb.report.tables.text import clean
from spatial_zb.study import load_study

ROOT = Path(__file__).resolve().parents[2]
PANEL = "data/delta_city_panel_2003_2019.csv"

#: The default study, made small: fewer permutations and draws, one map, one language, two formats.
SMALLER = {
    "permutations = 9999": "permutations = 99",
    "draws = 2000": "draws = 200",
    'tables = ["csv", "tex", "md", "docx", "xlsx"]': 'tables = ["csv", "md"]',
    'figures = ["pdf", "png"]': 'figures = ["png"]',
    "dpi = 300": "dpi = 72",
    'language = "both"': 'language = "en"',
    "periods = [2007, 2011, 2015, 2019]": "periods = [2007, 2019]",
    "replicates = 99": "replicates = 19",
    "leave_one_out = true": "leave_one_out = false",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project folder with the results of one run of the small study."""
    project = tmp_path_factory.mktemp("项目 folder")
    for part in ("shapefiles", "data"):
        shutil.copytree(ROOT / part, project / part)
    (project / "studies").mkdir()
    text = (ROOT / "studies" / "bay_area.toml").read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        text = text.replace(old, new)
    (project / "studies" / "small.toml").write_text(text, encoding="utf-8")
    assert cli.main(["run", str(project / "studies" / "small.toml"), "--quiet"]) == 0
    return project


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of it, to be broken."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def results(project: Path) -> Path:
    return project / "results" / "bay_area"


def contents(project: Path) -> dict[str, bytes]:
    folder = results(project)
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def run(project: Path, command: str = "run", *options: str) -> int:
    return cli.main([command, str(project / "studies" / "small.toml"), "--quiet", *options])


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_all_results_are_there_and_signed(finished):
    manifest = output.read_manifest(results(finished))
    assert manifest["complete"] is True
    made = {r["path"] for r in manifest["outputs"]}
    stems = {Path(name).stem for name in made}
    expected = {
        "descriptives",
        "definitions",
        "missing",
        "moran",
        "sdm_industry",
        "sdm_talent",
        "effects_industry",
    }
    expected |= {"map_industry", "map_talent", "moran_scatter_industry", "weights_queen"}
    expected |= {
        "tests_industry",
        "system_mutual_delta_queen",
        "system_mutual_identification",
        "system_mutual_reading",
    }
    expected |= {"models_side_by_side", "effects_side_by_side", "models_varied"}
    assert expected <= stems
    assert made == set(contents(finished)) - {output.MANIFEST}
    assert not list(results(finished).glob(".*"))


def test_manifest_knows_inputs_settings_and_suspects(finished):
    manifest = output.read_manifest(results(finished))
    roles = {r["role"] for r in manifest["inputs"]}
    assert roles == {"study", "regions", "data", "reference", "reference.2", "codebook", "flags"}
    assert manifest["seed"] == manifest["settings"]["study"]["seed"]
    assert any("Zhoushan" in note["en"] and "舟山" in note["zh"] for note in manifest["notes"])
    assert any(
        "Treated as missing" in note["en"] and "按空缺处理" in note["zh"] for note in manifest["notes"]
    )
    said = [line["en"] for line in manifest["reading"]]
    assert said[0].startswith("With talent agglomeration 10% higher, industry agglomeration is ")
    assert [line for line in said if len(line.split()) > 25] == []
    # four models, in two samples where these say something else, how firm the first is, two of systems, claims
    assert len(said) == len(set(said)) == 9
    both = [
        line
        for line in said
        if line.startswith("In Zhejiang and in Great Bay Area of Zhejiang, the effect of")
    ]
    assert len(both) == 1
    assert both[0].endswith("on industry agglomeration cannot be told from these data.")


def test_tables_carry_the_estimates(finished):
    tidy = pd.read_csv(results(finished) / "tidy" / "sdm_industry.csv").set_index(["fixed_effects", "term"])
    printed = (results(finished) / "tables" / "sdm_industry.csv").read_text(encoding="utf-8-sig")
    assert f"{tidy.loc[('two_way', 'rho'), 'estimate']:.3f}" in printed


def test_a_system_that_is_not_identified_says_so_before_anything_else(finished):
    """Effective F of the shipped system are 0.8 to 1.9; estimates without effects said nothing of it."""
    text = (results(finished) / "tables" / "system_mutual_reading.txt").read_text(encoding="utf-8-sig")
    paragraphs = [part.splitlines() for part in text.split("\n\n") if "SLS" in part]
    assert len(paragraphs) == 6
    first = re.compile(r"[^.]*(?:SLS|FIML)\. Not identified: ")
    for part in paragraphs:
        assert first.match(part[0])
        assert first.match(part[-1])  # FIML rests on something else
        assert len(part) == 3


def test_report_shows_what_every_stage_made(finished):
    page = (results(finished) / "report.html").read_text(encoding="utf-8")
    manifest = output.read_manifest(results(finished))
    for line in manifest["reading"]:
        assert html.escape(line["en"]) in page
    for exhibit in manifest["exhibits"]:
        assert html.escape(exhibit["title"]["en"]) in page
    assert (
        html.escape(
            (results(finished) / "tables" / "system_mutual_reading.txt").read_text("utf-8").split("\n")[0]
        )
        in page
    )
    blocks = re.findall(r'class="reading"><div class="en" lang="en">(.*?)</div>', page, re.DOTALL)
    said = [
        text for block in blocks for text in re.findall(r"<p>(.*?)</p>", block) if text.endswith(("%).", "."))
    ]
    effects = [text for text in said if "in all other places together" in text]
    assert effects
    assert len(effects) == len(set(effects))  # no finding twice
    of_fits = re.compile(
        r"[^:]* under '[^']*'( \(sample: .*\))?: "
    )  # several of them may stand in one sentence
    notes = [note["en"] for note in manifest["notes"]]
    assert all(html.escape(clean(note)) in page for note in notes if not of_fits.match(note))
    assert any(map(of_fits.match, notes))
    assert 'id="part-systems" class="part" data-effects="0"' not in page


def test_report_alone_gives_the_same_page_and_no_other_file(tmp_path, monkeypatch):
    """The whole run with a second process that writes tables and figures, the other one without."""
    monkeypatch.setattr(threads, "MANY", 1)
    monkeypatch.setattr(running, "cores", lambda: 2)
    study = load_study(ROOT / "studies" / "counties.toml")
    less = {"permutations": 99, "language": "en"}
    study = replace(
        study,
        general=study.general.model_copy(update=less),
        output=study.output.model_copy(update={"dpi": 72, "figures": ("png",), "tables": ("csv",)}),
        maps=study.maps.model_copy(update={"variables": ("growth",)}),
    )
    pipeline.run(study, out=tmp_path / "whole", beside=True)
    pipeline.run(study, ("report",), out=tmp_path / "alone")
    page = (tmp_path / "alone" / "report.html").read_bytes()
    assert page == (tmp_path / "whole" / "report.html").read_bytes()
    for name in ("paper.docx", "paper.tex"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    names = [p.name for p in (tmp_path / "alone").iterdir()]
    own = ["figures", "index.html", output.MANIFEST, "paper.docx", "paper.tex", "report.html"]
    assert sorted(names) == own  # a paper needs its figures


def test_a_study_may_do_without_the_report(project, monkeypatch, capsys):
    edit(project, "studies/small.toml", "dpi = 72", "dpi = 72\nreport = false\npaper = false")
    before = contents(project)
    assert run(project, "report") == 1
    assert "report (line" in capsys.readouterr().err
    assert contents(project) == before
    only(monkeypatch, running.STAGES[-1])
    assert run(project) == 0
    assert not (results(project) / "report.html").exists()


def test_every_stage_has_its_words_and_its_part_of_the_report():
    assert (
        set(running.STAGE_WORDS)
        == {"prepare", "weights", *running.STAGES}
        == {"prepare", "weights", *running.WORK}
    )
    assert set(report_page.PARTS) == set(running.STAGES[:-1])


def test_the_paper_has_the_models_of_the_study_side_by_side_and_names_each(finished):
    """One table of the models of both responses, one in short of what varies them; numbers are those of the fits."""
    document = Document(str(results(finished) / "paper.docx"))
    texts = [p.text for p in document.paragraphs]
    captions = [text for text in texts if re.match(r"Table \d+\. ", text)]
    assert [int(re.findall(r"\d+", c)[0]) for c in captions] == list(range(1, len(captions) + 1))
    titles = ["The models side by side", "Effects of the models side by side", "The same under other samples"]
    assert [any(title in c for c in captions) for title in titles] == [True] * 3
    for name in ("Industry agglomeration (", "Talent agglomeration (", "Industry agglomeration, sub-samples"):
        assert any(text.startswith(name) and "SDM" in text for text in texts), name
    table = pd.read_csv(results(finished) / "tables" / "models_side_by_side.csv", header=None)
    own = pd.read_csv(results(finished) / "tidy" / "sdm_talent.csv")
    own = own[(own["fixed_effects"] == "two_way") & (own["term"] == "rho")]
    rho = table[table[0] == "Spatial lag ρ"].iloc[0, -1]
    assert float(str(rho).replace("−", "-").rstrip("*")) == pytest.approx(own["estimate"].item(), abs=6e-4)


def test_the_short_reading_has_a_finding_for_each_model_and_how_firm_it_is_after_it():
    lines = [Reading(stage, Text(word, word)) for stage, word in zip("moran", "abcde", strict=True)]
    made = Made(readings=lines)
    assert [line.en for line in made.short_reading()] == ["a", "b", "c"]
    for about, word, rank in (
        ("m", "one", 0),
        ("n", "two", 0),
        ("s", "three", 0),
        ("m", "firm", 1),
        ("t", "two", 0),
    ):
        made.verdicts.append(Verdict(about, Text(word, word), rank))
    assert [line.en for line in made.short_reading()] == ["one", "firm", "two", "three"]


def only(monkeypatch, *stages: str) -> None:
    """The other stages make nothing and take no time."""
    for stage in set(running.STAGES) - {*stages}:
        monkeypatch.setitem(running.WORK, stage, lambda job: [])


def test_second_run_gives_the_same_tables(project, monkeypatch):
    """And figures; of maps, which claims name, and the page tests of their own say so."""
    untold = {"maps", "claims", "report"}
    before = contents(project)
    stages = {r["path"]: r["stage"] for r in output.read_manifest(results(project))["outputs"]}
    only(monkeypatch, *set(running.STAGES) - untold)
    assert run(project) == 0
    after = contents(project)
    wanted = {name for name in before if stages.get(name) not in untold}
    differing = {name for name in wanted if before[name] != after.get(name)} - {output.MANIFEST, "index.html"}
    assert not differing
    assert set(after) == wanted


def test_one_stage_leaves_the_others(project):
    before = contents(project)
    assert run(project, "moran") == 0
    manifest = output.read_manifest(results(project))
    assert manifest["stages"] == ["moran"]
    assert {r["path"] for r in manifest["outputs"]} == set(before) - {output.MANIFEST}
    kept = [r for r in manifest["outputs"] if r["stage"] == "maps"]
    assert kept
    assert not any(r["from_other_inputs"] for r in kept)


def test_results_from_other_inputs_are_flagged(project):
    edit(project, "studies/small.toml", "permutations = 99", "permutations = 199")
    assert run(project, "moran") == 0
    outputs = output.read_manifest(results(project))["outputs"]
    assert all(r["from_other_inputs"] for r in outputs if r["stage"] == "maps")


def test_results_no_longer_made_are_removed_and_strangers_stay(project, monkeypatch):
    (results(project) / "my notes.txt").write_text("kept")
    edit(
        project,
        "studies/small.toml",
        'variables = ["industry", "talent"]\nperiods',
        'variables = ["industry"]\nperiods',
    )
    maps = {r["path"] for r in output.read_manifest(results(project))["outputs"] if r["stage"] == "maps"}
    gone = {path for path in maps if Path(path).stem in ("map_talent", "moran_scatter_talent")}
    only(monkeypatch, "maps")
    assert run(project) == 0
    assert "figures/map_talent.png" in gone
    assert set(contents(project)) == maps - gone | {output.MANIFEST, "index.html", "my notes.txt"}
    assert (results(project) / "my notes.txt").read_text() == "kept"


def drop_city(project: Path) -> None:
    table = pd.read_csv(project / PANEL, dtype=str)
    table[table["adcode"] != "330900"].to_csv(project / PANEL, index=False)


def repeat_row(project: Path) -> None:
    table = pd.read_csv(project / PANEL, dtype=str)
    row = table[(table["adcode"] == "330200") & (table["year"] == "2010")]
    pd.concat([table, row]).to_csv(project / PANEL, index=False)


def drop_row(project: Path) -> None:
    table = pd.read_csv(project / PANEL, dtype=str)
    table[~((table["adcode"] == "330200") & (table["year"] == "2010"))].to_csv(project / PANEL, index=False)


def blank_cell(project: Path) -> None:
    table = pd.read_csv(project / PANEL, dtype=str)
    table.loc[(table["adcode"] == "330200") & (table["year"] == "2010"), "gdp_pc_yuan"] = None
    table.to_csv(project / PANEL, index=False)


def zero_cell(project: Path) -> None:
    table = pd.read_csv(project / PANEL, dtype=str)
    table.loc[(table["adcode"] == "330200") & (table["year"] == "2010"), "emp_scires"] = "0"
    table.to_csv(project / PANEL, index=False)


STUDY = "studies/small.toml"
BROKEN = {
    "misspelt key": (
        lambda p: edit(p, STUDY, "permutations =", "permutatons ="),
        ["permutatons", "permutations", "line"],
    ),
    "missing city": (drop_city, ["330900", "samples"]),
    "duplicated city-year": (repeat_row, ["330200 2010", "one row"]),
    "hole": (drop_row, ["330200", "2010"]),
    "blank cell": (blank_cell, ["gdp_pc_yuan", "330200", "2010"]),
    "log of zero": (zero_cell, ["talent", "330200", "2010"]),
    "path outside": (
        lambda p: edit(p, STUDY, f'file = "{PANEL}"', 'file = "../../elsewhere.csv"'),
        ["elsewhere", "outside"],
    ),
    "absent file": (lambda p: (p / PANEL).unlink(), [PANEL]),
    "absent dbf": (lambda p: (p / "shapefiles/delta_cities.dbf").unlink(), ["delta_cities", ".dbf"]),
    "code in an expression": (
        lambda p: edit(p, STUDY, '"log(avg_wage_yuan)"', "\"__import__('os').system('true')\""),
        ["ln_wage"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_input_gives_one_error_and_leaves_results(project, capsys, case):
    damage, words = BROKEN[case]
    before = contents(project)
    damage(project)
    assert run(project) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert "Traceback" not in error
    assert [w for w in words if w not in error] == []
    assert contents(project) == before


def test_failure_in_the_last_stage_leaves_results(project, monkeypatch):
    def fail(job):
        raise DataError("the last stage fails")

    before = contents(project)
    edit(project, STUDY, "permutations = 99", "permutations = 199")  # tables of the first stages would differ
    only(monkeypatch, "data", "moran")
    monkeypatch.setitem(running.WORK, "maps", fail)
    assert run(project) == 1
    assert contents(project) == before
    assert not list(results(project).glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_interruption_exits_130_and_leaves_results(project):
    before = contents(project)
    command = [sys.executable, "-m", "spatial_zb", "run", str(project / STUDY)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    for line in process.stderr:
        if "Moran" in line:
            process.send_signal(signal.SIGTERM)
            break
    process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert contents(project) == before


def test_second_run_in_the_same_folder_is_refused(project):
    before = contents(project)
    with output.locked(results(project)):
        assert run(project) == 1
    assert contents(project) == before


def test_words_that_a_dead_run_left_in_the_lock_hold_nobody_up(tmp_path):
    (tmp_path / output.LOCK).write_text(f"process {os.getpid()} on elsewhere")  # even of a living process
    with output.locked(tmp_path):
        assert (
            (tmp_path / output.LOCK)
            .read_text()
            .startswith(f"process {os.getpid()} on {platform.node()}, since")
        )
        with pytest.raises(OutputError, match=f"process {os.getpid()}"), output.locked(tmp_path):
            pass
    assert not (tmp_path / output.LOCK).exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user that permissions bind")
def test_read_only_folder_is_refused_before_work(project):
    results(project).chmod(0o500)
    began = time.monotonic()
    assert run(project) == 1
    assert time.monotonic() - began < 5


def test_folder_below_a_file_is_refused(project, tmp_path):
    (tmp_path / "file").write_text("")
    study = load_study(project / STUDY)
    with pytest.raises(OutputError, match="file"):
        pipeline.run(study, out=tmp_path / "file" / "results")


def test_check_writes_nothing(project, capsys):
    shutil.rmtree(project / "results")
    assert cli.main(["check", str(project / STUDY)]) == 0
    assert "40 units" in capsys.readouterr().out
    assert cli.main(["check", str(project / STUDY), "--language", "zh"]) == 0
    assert "40个地区" in capsys.readouterr().out
    assert not (project / "results").exists()


def test_report_gives_folders_finding_and_notes_last(finished, capsys, tmp_path):
    assert (
        cli.main(["estimate", str(finished / STUDY), "--out", str(tmp_path / "out"), "--language", "zh"]) == 0
    )
    printed = capsys.readouterr().out
    assert "manifest.json\n" in printed
    assert re.search(r"tables/：\d+ \(\.csv \.md\)\n", printed)
    assert "sdm_industry" not in printed
    assert printed.index("结论") < printed.index("明显差异")
    assert printed.index("结论") < printed.index("提示") < printed.index("  1. ", printed.index("提示"))
    assert json.loads((tmp_path / "out" / output.MANIFEST).read_text(encoding="utf-8"))["complete"]


def test_results_do_not_depend_on_the_order_of_tasks(finished):
    """Every Moran stream is named by its task: the talent rows are the same without the industry rows."""
    study = load_study(finished / STUDY)
    prepared = pipeline.prepare(study)
    job = Job(prepared, finished, lambda step: None)
    alone = exploration._moran(job, "delta", "talent", "inverse").table()
    table = pd.read_csv(results(finished) / "tidy" / "moran.csv")
    chosen = table[(table["variable"] == "talent") & (table["weights"] == "inverse")]
    by_period = chosen[chosen["period"] != "pooled"]
    assert by_period["p_sim"].tolist() == alone["p_sim"].tolist()


def test_folders_of_a_language_that_is_no_longer_made_are_gone(project):
    assert run(project, "moran", "--language", "both") == 0
    assert (results(project) / "tables" / "zh" / "moran.csv").is_file()
    assert run(project, "moran", "--language", "en") == 0
    assert not (results(project) / "tables" / "zh").exists()
    assert (results(project) / "tables" / "moran.csv").is_file()


def test_a_copy_of_a_study_does_not_write_over_the_results_of_the_first(project, capsys):
    before = contents(project)
    shutil.copy(project / "studies" / "small.toml", project / "studies" / "mine.toml")
    copied = str(project / "studies" / "mine.toml")
    said = r"mine.toml, study.name \(line \d+\): small.toml has the name 'bay_area'"
    for command in ("run", "moran"):
        assert cli.main([command, copied, "--quiet"]) == 1
        assert re.search(said, capsys.readouterr().err)
    assert cli.main(["check", copied]) == 0  # it writes nothing
    assert re.search(said, capsys.readouterr().out)
    assert contents(project) == before
    edit(project, "studies/mine.toml", 'name = "bay_area"', 'name = "mine"')
    assert cli.main(["check", copied, "--quiet"]) == 0
    (project / "studies" / "small.toml").rename(project / "studies" / "renamed.toml")
    assert cli.main(["check", str(project / "studies" / "renamed.toml"), "--quiet"]) == 0
