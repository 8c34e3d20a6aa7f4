"""From an empty folder to a first answer: init, a command without a study file, and the example without files."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import spatial_zb as zb
from spatial_zb import cli
from spatial_zb.base.errors import OutputError
from spatial_zb.pipeline import examples
from spatial_zb.study import find_study

ROOT = Path(__file__).parents[2]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
MOST_BYTES = 300_000


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder that commands are called in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize(("name", "language"), [("delta", "zh"), ("counties", "en")])
def test_what_init_writes_is_sound_in_its_language(name, language, empty, capsys):
    assert cli.main(["init", "--example", name, "--language", language]) == 0
    assert bool(CHINESE.search(capsys.readouterr().out)) == (language == "zh")
    assert cli.main(["check"]) == 0
    said = capsys.readouterr().out
    assert f"{name}.toml" in said
    assert bool(CHINESE.search(said)) == (language == "zh")


@pytest.mark.slow
def test_an_empty_folder_has_a_report_after_two_commands(empty):
    assert cli.main(["init", "--language", "en", "--quiet"]) == 0
    assert cli.main(["run", "--quiet"]) == 0
    assert (empty / "results" / "delta" / "report.html").is_file()


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_both_languages_of_an_example_are_one_study_with_comments_in_their_own(name):
    texts = {
        language: (examples.HOME / name / f"{language}.toml").read_text("utf-8") for language in ("en", "zh")
    }
    said = {
        language: [line.partition("#")[2] for line in text.splitlines()] for language, text in texts.items()
    }
    assert not [line for line in said["en"] if CHINESE.search(line) and "审图号" not in line]
    assert (
        len([line for line in said["zh"] if line and not CHINESE.search(line)]) <= 1
    )  # one lists choices only
    studies = [zb.load_study(examples.HOME / name / f"{language}.toml") for language in texts]
    assert studies[0].with_language("zh").settings() == studies[1].settings()


def test_the_examples_are_small():
    assert sum(path.stat().st_size for path in examples.HOME.rglob("*") if path.suffix != ".py") <= MOST_BYTES


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_the_example_estimates_what_the_whole_study_does():
    regions, panel, W = zb.example("delta")
    assert list(panel.units) == list(W.ids) == list(regions.index)
    study = zb.prepare(zb.load_study(ROOT / "studies" / "bay_area.toml"))
    spec = zb.DurbinSpec("industry", study.study.models["industry"].x)
    whole = zb.fit_durbin(spec, study.sample("delta"), study.weights("queen", "delta"))
    np.testing.assert_allclose(
        zb.fit_durbin(spec, panel, W).params, whole.params, atol=1e-5
    )  # 6 decimals are kept


@pytest.mark.slow
def test_the_data_of_the_examples_are_those_of_the_studies(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    derivation = importlib.import_module("derivation.examples")
    assert derivation.derive_examples(check=True) == 0, "run scripts/derive_examples.py"
    sys.modules.pop("derivation.examples")


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_the_docstring_of_the_example_runs():
    assert doctest.testmod(examples).failed == 0


def test_an_unknown_example_is_refused():
    with pytest.raises(zb.SpecificationError, match="detla"):
        zb.example("detla")


def test_nothing_is_written_over(empty, capsys):
    (empty / "mine.csv").write_text("a\n")
    assert cli.main(["init"]) == 1
    assert "mine.csv" in capsys.readouterr().err
    assert [path.name for path in empty.iterdir()] == ["mine.csv"]
    assert cli.main(["init", "new", "--quiet"]) == 0
    assert (empty / "new" / "delta.toml").is_file()
    assert cli.main(["init", "mine.csv"]) == 1
    (empty / "a.toml").touch()
    with pytest.raises(OutputError, match=r"a\.toml"):
        examples.write_new(empty, {"a.toml": b"x", "b.csv": b"x"})
    assert not (empty / "b.csv").exists()
    assert (empty / "mine.csv").read_text() == "a\n"


def test_a_command_takes_the_one_study_here(empty):
    with pytest.raises(zb.SpecificationError, match="spatial-zb init"):
        find_study(empty)
    (empty / "pyproject.toml").write_text("[project]\nname = 'p'\n")  # no study
    (empty / "studies").mkdir()
    for name in ("a", "b"):
        (empty / "studies" / f"{name}.toml").write_text(f"[study]\nname = '{name}'\n")
    with pytest.raises(zb.SpecificationError, match=r"studies/a\.toml, studies/b\.toml"):
        find_study(empty)
    (empty / "studies" / "b.toml").unlink()
    assert find_study(empty) == empty / "studies" / "a.toml"
    (empty / "c.toml").write_text("[study]\nname = 'c'\n")
    assert find_study(empty) == empty / "c.toml"


def test_the_bare_command_shows_the_help(capsys):
    assert cli.main([]) == 0
    assert "init" in capsys.readouterr().out


def test_no_study_is_told_in_the_language_of_the_system(empty, capsys, monkeypatch):
    for language, said in (("zh_CN.UTF-8", "没有研究文件"), ("en_US.UTF-8", "no study file")):
        monkeypatch.setenv("LC_ALL", language)
        assert cli.main(["check"]) == 1
        assert said in capsys.readouterr().err


def test_check_of_many_units_takes_a_moment_and_says_how_far_it_is(empty, capsys):
    """A set of all rows for each unit took 64 seconds at 2,852 units."""
    rows, columns = 30, 50
    units = {f"{100_000 + k}": divmod(k, columns) for k in range(rows * columns)}
    features = [
        {"type": "Feature", "properties": {"id": unit}, "geometry": {"type": "Polygon", "coordinates": [
            [[90 + (x + i) / 4, 20 + (y + j) / 4] for i, j in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]]}}
        for unit, (y, x) in units.items()
    ]  # fmt: skip
    (empty / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    lines = [f"{unit},{year},{x}" for unit, (_, x) in units.items() for year in (2010, 2011)]
    (empty / "a.csv").write_text("id,year,y\n" + "\n".join(lines))
    (empty / "a.toml").write_text(MANY)
    begun = time.process_time()
    assert cli.main(["check"]) == 0
    assert time.process_time() - begun < 3
    assert "Building weights" in capsys.readouterr().err


MANY = """version = 1
study = { name = "many", title = "Many" }
regions = { file = "a.geojson", id = "id" }
data = { file = "a.csv", unit = "id", period = "year", periods = [2010, 2011] }
weights.queen.kind = "contiguity"
moran.variables = ["y"]
"""
