"""Study files: what is refused, how it is said, and that all mistakes are said at once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from pydantic import ValidationError

from spatial_zb import cli
from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.data.expressions import compile_expressions
from spatial_zb.data.expressions.syntax import FUNCTIONS
from spatial_zb.data.missing import RULES
from spatial_zb.study import Missing, Study, language_of, load_study
from spatial_zb.study.values import FUNCTIONS as STUDY_FUNCTIONS

ROOT = Path(__file__).resolve().parents[2]

BASE = """\
version = 1

[study]
name = "small"
title = { en = "Small", zh = "小" }

[regions]
file = "shapefiles/cities.shp"
id = "adcode"

[data]
file = "data/panel.csv"
unit = "adcode"
period = "year"
periods = [2007, 2009]
reference = "data/national.csv"

[[missing]]
columns = ["emp"]
rule = "interpolate"
reason = "not printed"

[constants.rate]
label = "Rate"
source = "Bank"
values = { 2007 = 7.6, 2008 = 6.9, 2009 = 6.8 }

[variables.industry]
expression = "log(lq(emp, total))"
label = { en = "Industry", zh = "产业" }

[variables.income]
expression = "1e-4 * gdp * rate"

[weights.queen]
kind = "contiguity"

[weights.near]
kind = "knn"
k = 4

[samples.all]

[samples.some]
units = ["1", "2"]

[moran]
variables = ["industry"]

[models.main]
y = "industry"
x = ["income", "gdp"]
weights = "queen"

[maps]
variables = ["industry"]
periods = [2007, 2009]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with the files that BASE names, inside a folder of other things."""
    home = tmp_path / "project"
    for folder in ("studies", "data", "shapefiles"):
        (home / folder).mkdir(parents=True)
    (home / "shapefiles/cities.shp").write_bytes(b"\x00\x00\x27\x0a" + bytes(96))
    (home / "data/panel.csv").write_text("\ufeffadcode,year,emp,total,gdp\n1,2007,1,2,3\n", "utf-8")
    (home / "data/national.csv").write_text("year,emp,total\n2007,1,2\n", "utf-8")
    (tmp_path / "outside.csv").write_text("adcode,year,emp,total,gdp\n", "utf-8")
    return home


def write(project: Path, text: str) -> Path:
    path = project / "studies/small.toml"
    path.write_text(text, "utf-8")
    return path


def changed(old: str, new: str) -> str:
    assert BASE.count(old) >= 1, old
    return BASE.replace(old, new, 1)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(SpecificationError) as caught:
        load_study(path, **options)
    said, lines = str(caught.value), caught.value.zh.split("\n")
    assert len(lines) == len(said.split("\n"))  # in Chinese the same, mistake by mistake
    for line in lines:
        words = line.partition("：")[2] if re.match(r"  \d+\. ", line) else line
        assert re.search("[\u4e00-\u9fff]", words), line
    return said


# --- a good file -------------------------------------------------------------------------------------------


def test_the_shipped_study_loads_and_its_expressions_compile() -> None:
    study = load_study(ROOT / "studies/bay_area.toml")
    columns = study.files()["data"].read_text("utf-8-sig").split("\n", 1)[0].split(",")
    reference = study.files()["reference"].read_text("utf-8-sig").split("\n", 1)[0].split(",")
    texts = {name: variable.expression for name, variable in study.variables.items()}
    compile_expressions(texts, known=[*columns, *study.constants], reference=[*reference, *study.constants])
    assert study.main_sample == "delta"
    assert list(study.samples) == ["delta", "zhejiang", "bay"]
    assert study.models["talent"].y == "talent"
    assert study.models["industry"].fixed_effects == ("none", "unit", "two_way")
    assert len(study.samples["bay"].units or ()) == 8
    assert study.data.periods == (2007, 2019)


@pytest.mark.parametrize(
    ("written", "kept"),
    [("'all'", "all"), ("['1', '2']", ("1", "2")), ("[]", ())],
    ids=["word", "units", "empty"],
)
def test_labels_of_maps_are_a_word_or_units(project: Path, written: str, kept: object) -> None:
    study = load_study(write(project, changed("[maps]", f"[maps]\nlabels = {written}")))
    assert study.maps is not None
    assert study.maps.labels == kept


@pytest.mark.parametrize(
    ("written", "kept"), [("'all'", "all"), ("['gdp']", ("gdp",)), ("'gdp'", ("gdp",)), ("[]", ())]
)
def test_lagged_regressors_are_all_or_a_list(project: Path, written: str, kept: object) -> None:
    study = load_study(write(project, changed('weights = "queen"', f"lag_x = {written}")))
    assert study.models["main"].lag_x == kept


def test_defaults_names_and_paths(project: Path) -> None:
    study = load_study(write(project, BASE))
    assert isinstance(study, Study)
    assert study.root == project
    assert study.sha256 == hashlib.sha256(study.path.read_bytes()).hexdigest()
    assert study.results == project / "results/small"
    assert study.files()["data"] == project / "data/panel.csv"
    assert study.general.title == Text("Small", "小")
    assert study.variables["income"].label == Text("income", "income")
    assert study.variables["income"].name == "income"
    assert study.constants["rate"].values == {2007: 7.6, 2008: 6.9, 2009: 6.8}
    assert study.rules() == {"emp": "interpolate"}
    assert study.weights_of(study.models["main"]) == ("queen",)
    assert study.weights_of(study.moran) == ("queen", "near")
    assert study.samples_of(study.models["main"]) == ("all",)


def test_suspect_figures_are_listed_in_order(project: Path) -> None:
    more = SUSPECT.replace("2008", "2009")
    study = load_study(write(project, changed("[constants.rate]", SUSPECT + more + "[constants.rate]")))
    found = [(s.columns, s.units, s.periods, s.rule) for s in study.suspect]
    assert found == [(("emp",), ("1",), (2008,), "blank"), (("emp",), ("1",), (2009,), "blank")]
    assert study.suspect[0].reason.en == "misprint"
    assert study.settings()["suspect"][1]["periods"] == [2009]


def test_rules_of_single_units_stand_beside_the_rule_of_the_column(project: Path) -> None:
    own = (
        '[[missing]]\ncolumns = ["emp"]\nunits = ["1"]\nrule = "drop_units"\nreason = "x"\n\n[constants.rate]'
    )
    study = load_study(write(project, changed("[constants.rate]", own)))
    assert (study.rules(), study.exceptions()) == ({"emp": "interpolate"}, {("emp", "1"): "drop_units"})


def test_several_tables_of_totals_have_the_columns_of_all(project: Path) -> None:
    text = changed('"data/national.csv"', '["data/printed.csv", "data/national.csv"]')
    (project / "data" / "printed.csv").write_text("year\n2007\n", encoding="utf-8")
    study = load_study(write(project, text))
    assert list(study.files())[2:4] == ["reference", "reference.2"]


def test_without_samples_there_is_one_of_all_units(project: Path) -> None:
    study = load_study(
        write(
            project, BASE.replace("[samples.all]\n", "").replace('[samples.some]\nunits = ["1", "2"]\n', "")
        )
    )
    assert list(study.samples) == ["all"]
    assert study.main_sample == "all"


def test_a_study_cannot_be_changed(project: Path) -> None:
    study = load_study(write(project, BASE))
    with pytest.raises(FrozenInstanceError):
        study.root = Path("/")  # type: ignore[misc]
    with pytest.raises(ValidationError):
        study.general.seed = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        study.models["other"] = study.models["main"]  # type: ignore[index]


def test_settings_are_plain_and_complete(project: Path) -> None:
    settings = load_study(write(project, BASE)).settings()
    assert json.loads(json.dumps(settings)) == json.loads(json.dumps(settings, default=str))
    assert settings["study"]["permutations"] == 9999
    assert settings["models"]["main"]["estimator"] == "lee_yu"
    assert settings["regions"]["file"] == "shapefiles/cities.shp"  # as written: the same on every machine


@pytest.mark.parametrize("options", [{}, {"root": "."}], ids=["found", "given"])
def test_the_project_folder(project: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]) -> None:
    path = write(project, BASE)
    if options:
        monkeypatch.chdir(project)
        path = path.rename(project.parent / "elsewhere.toml")
    assert load_study(path, **options).root == project


def test_a_study_beside_its_data_has_its_own_folder_as_project(project: Path) -> None:
    path = write(project, BASE).rename(project / "small.toml")
    assert load_study(path).root == project


def test_vocabularies_agree_with_their_homes() -> None:
    assert frozenset(FUNCTIONS) == STUDY_FUNCTIONS
    assert set(Missing.model_fields["rule"].annotation.__args__) == set(RULES)


def test_reading_a_study_loads_no_numerical_package() -> None:
    code = "import sys, spatial_zb.study; print(sorted({'numpy', 'pandas', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


# --- one mistake at a time ---------------------------------------------------------------------------------

SUSPECT = """[[suspect]]
columns = "emp"
units = "1"
periods = 2008
reason = "misprint"

"""

MISTAKES = {
    "misspelt key": ('id = "adcode"', 'idd = "adcode"', ["regions.idd (line 9)", "did you mean 'id'?"]),
    "misspelt section": ("[maps]", "[map]", ["map (line 55)", "did you mean 'maps'?"]),
    "misspelt value": (
        '"contiguity"',
        '"contigity"',
        ["weights.queen.kind (line 36)", "did you mean 'contiguity'?"],
    ),
    "no kind": ('kind = "contiguity"', 'rule = "queen"', ["weights.queen.kind", "is required"]),
    "key of another kind": ("k = 4", "k = 4\nrule = 'rook'", ["weights.near.rule (line 41)", "unknown key"]),
    "required key": ('period = "year"\n', "", ["data (line 11)", "period and periods go together"]),
    "required section": ("[weights.queen]", "[weight.queen]", ["unknown section", "did you mean 'weights'?"]),
    "no polygons": (
        "[regions]",
        "[region]",
        ["did you mean 'regions'?", "weights.queen.kind", "needs polygons", "maps (line 55): needs polygons"],
    ),
    "text for a number": ("k = 4", 'k = "4"', ["weights.near.k (line 40)", "'4'"]),
    "number for text": ('id = "adcode"', "id = 3", ["regions.id (line 9)", "3"]),
    "boolean for a number": ("k = 4", "k = true", ["weights.near.k", "True"]),
    "date for text": ('id = "adcode"', "id = 2020-01-01", ["regions.id"]),
    "out of range": ("k = 4", "k = 0", ["weights.near.k", "greater than or equal to 1"]),
    "table for a value": ('y = "industry"', "y = { a = 1 }", ["models.main.y"]),
    "value for a table": ("[samples.all]", "[samples]\nall = 3", ["samples.all", "must be a table"]),
    "single bracket": ("[[missing]]", "[missing]", ["missing (line 18)", "two brackets"]),
    "label of a number": ('label = "Rate"', "label = 3", ["constants.rate.label", "must be text"]),
    "label of another language": ('label = "Rate"', 'label = { fr = "Taux" }', ["constants.rate.label"]),
    "slug": ('name = "small"', 'name = "../small"', ["study.name (line 4)"]),
    "name key": ('y = "industry"', 'name = "m"\ny = "industry"', ["models.main.name", "heading"]),
    "name with a slash": ("[models.main]", '[models."a/b"]', ["models.a/b", "file names"]),
    "reserved variable": ("[variables.income]", "[variables.rho]", ["variables.rho", "reserved"]),
    "variable like a lag": ("[variables.income]", "[variables.W_gdp]", ["variables.W_gdp", "reserved"]),
    "variable like a function": ("[variables.income]", "[variables.log]", ["variables.log", "reserved"]),
    "variable that is no name": ("[variables.income]", "[variables.1st]", ["variables.1st", "letters"]),
    "variable like a column": ("[variables.income]", "[variables.gdp]", ["variables.gdp", "has a column"]),
    "constant like a variable": (
        "[constants.rate]",
        "[constants.income]",
        ["constants.income", "choose another"],
    ),
    "constant without a period": ("2008 = 6.9, ", "", ["constants.rate.values (line 26)", "2008"]),
    "constant of a word": ("2008 = 6.9", "y2008 = 6.9", ["constants.rate.values", "y2008"]),
    "constant that is infinite": (
        "2008 = 6.9",
        "2008 = inf",
        ["constants.rate.values", "2008: must be a finite number"],
    ),
    "unknown name in expression": (
        "gdp * rate",
        "gpd * rate",
        ["variables.income.expression (line 33)", "'gdp'"],
    ),
    "lq without a reference": ('reference = "data/national.csv"\n', "", ["data.reference"]),
    "unknown y": (
        'y = "industry"',
        'y = "industri"',
        ["models.main.y (line 51)", "did you mean 'industry'?"],
    ),
    "unknown x": ('x = ["income", "gdp"]', 'x = ["incomes"]', ["models.main.x (line 52)", "'income'"]),
    "y among x": ('x = ["income"', 'x = ["industry"', ["models.main.x", "also among"]),
    "x twice": ('x = ["income"', 'x = ["gdp"', ["models.main.x", "more than once"]),
    "empty x": ('x = ["income", "gdp"]', "x = []", ["models.main.x", "empty"]),
    "lag of no regressor": ('weights = "queen"', 'lag_x = ["emp"]', ["models.main.lag_x", "'emp'"]),
    "unknown weights": (
        'weights = "queen"',
        'weights = "quen"',
        ["models.main.weights (line 53)", "'queen'"],
    ),
    "unknown sample": ('weights = "queen"', 'samples = "bay"', ["models.main.samples", "all, some"]),
    "unknown effects": (
        'weights = "queen"',
        'fixed_effects = "twoway"',
        ["models.main.fixed_effects", "'two_way'"],
    ),
    "effects of one model in a flat list": (
        'weights = "queen"',
        'fixed_effects = ["unit", "lq*period"]',
        ["models.main.fixed_effects", '[["unit"'],
    ),
    "effects of no variable": (
        'weights = "queen"',
        'fixed_effects = [["unit", "nowhere*period"]]',
        ["models.main.fixed_effects", "nowhere"],
    ),
    "unknown W of x": ('weights = "queen"', 'W_x = "road"', ["models.main.W_x", "road"]),
    "unknown estimator": ('weights = "queen"', 'estimator = "ols"', ["models.main.estimator", "'lee_yu'"]),
    "unknown main sample": ('name = "small"', 'name = "small"\nsample = "bay"', ["study.sample (line 5)"]),
    "units and where": (
        "[samples.some]",
        "[samples.some]\nwhere = { prov = 'x' }",
        ["samples.some", "keep one"],
    ),
    "sample of one unit": ('units = ["1", "2"]', 'units = ["1"]', ["samples.some.units", "two units"]),
    "units as numbers": (
        'units = ["1", "2"]',
        "units = [1, 2]",
        ["samples.some.units", "entry 1: must be text in quotes"],
    ),
    "unknown map variable": (
        '[maps]\nvariables = ["industry"]',
        '[maps]\nvariables = ["x"]',
        ["maps.variables"],
    ),
    "label of nothing": (
        "[maps]",
        '[maps]\nlabels = "some"',
        ["maps.labels (line 56)", "'auto', 'all', 'groups' or 'none'"],
    ),
    "breaks": ("[maps]", "[maps]\nbreaks = [1, 0]", ["maps.breaks (line 56)", "increase"]),
    "breaks of nothing": ("[maps]", "[maps]\nbreaks = { x = [0] }", ["maps.breaks", "'x'"]),
    "center": ("[maps]", '[maps]\ncenter = "zero"', ["maps.center (line 56)", "'auto' or 'none'"]),
    "alpha": ("[maps]", "[maps]\nalpha = 1", ["maps.alpha"]),
    "adjust": ("[maps]", '[maps]\nadjust = "fdrs"', ["maps.adjust", "did you mean 'fdr'?"]),
    "bounds": (
        "[maps]",
        "[dynamics]\ndensities = 'industry'\nbounds.industry = [1, 0]\n[maps]",
        ["bounds", "[0, 1]"],
    ),
    "bounds of nothing": (
        "[maps]",
        "[dynamics]\ndensities = 'industry'\nbounds.x = [0, 1]\n[maps]",
        ["not of x"],
    ),
    "scheme": ("[maps]", '[maps]\nscheme = "quantiles"', ["maps.scheme", "did you mean 'quantile'?"]),
    "periods backwards": (
        "periods = [2007, 2009]",
        "periods = [2009, 2007]",
        ["data.periods", "[first, last]"],
    ),
    "unknown unit column": ('unit = "adcode"', 'unit = "adcod"', ["data.unit (line 13)", "'adcode'"]),
    "unknown missing column": (
        'columns = ["emp"]',
        'columns = ["emq"]',
        ["missing[1].columns (line 19)", "'emp'"],
    ),
    "two rules for a column": (
        "[constants.rate]",
        '[[missing]]\ncolumns = ["emp"]\nrule = "error"\nreason = "x"\n\n[constants.rate]',
        ["missing[2].columns (line 24)", "emp"],
    ),
    "suspect of no column": (
        "[constants.rate]",
        SUSPECT.replace("emp", "emq") + "[constants.rate]",
        ["suspect[1].columns (line 24)", "'emp'"],
    ),
    "suspect twice": (
        "[constants.rate]",
        2 * SUSPECT + "[constants.rate]",
        ["suspect[2] (line 29)", "same cell"],
    ),
    "suspect of all periods and of one": (
        "[constants.rate]",
        SUSPECT.replace("periods = 2008\n", "") + SUSPECT + "[constants.rate]",
        ["suspect[2] (line 28)", "same cell"],
    ),
    "suspect without a reason": (
        "[constants.rate]",
        SUSPECT.replace('reason = "misprint"\n', "") + "[constants.rate]",
        ["suspect[1].reason (line 23)", "is required"],
    ),
    "two rules for a unit": (
        "[constants.rate]",
        2 * '[[missing]]\ncolumns = ["emp"]\nunits = "1"\nrule = "drop_units"\nreason = "x"\n\n'
        + "[constants.rate]",
        ["missing[3].columns", "emp"],
    ),
    "flags without a kind": (
        'reference = "data/national.csv"',
        'reference = "data/national.csv"\nflags = "data/national.csv"',
        ["data.flags (line 17)", "'kind'"],
    ),
    "suspect in single brackets": (
        "[constants.rate]",
        '[suspect]\ncolumns = "emp"\n[constants.rate]',
        ["suspect (line 23)", "two brackets"],
    ),
    "rule without a reason": ('reason = "not printed"\n', "", ["missing[1].reason", "is required"]),
    "missing file": ("data/panel.csv", "data/panl.csv", ["data.file (line 12)", "did you mean 'panel.csv'?"]),
    "file is a folder": ("data/panel.csv", "data", ["data.file", "is a folder"]),
    "backslashes": ('"data/panel.csv"', "'data\\panel.csv'", ["data.file", "forward slashes"]),
    "absolute path": ("data/panel.csv", "/etc/hostname", ["data.file", "leaves the project folder"]),
    "drive": ("data/panel.csv", "C:/panel.csv", ["data.file", "leaves the project folder"]),
    "parent folder": ("data/panel.csv", "../outside.csv", ["data.file", "leaves the project folder"]),
    "results outside": ("[maps]", "[output]\nfolder = '../results'\n\n[maps]", ["output.folder", "leaves"]),
    "few replicates": (
        "[study]\n",
        "[study]\nbootstrap = 20\n",
        ["study.bootstrap", "0 or at least 99, not 20"],
    ),
    "bandwidth without distances": (
        "[models.main]\n",
        "[models.main]\nbandwidth_km = 300.0\n",
        ["models.main.bandwidth_km", '"conley"'],
    ),
    "address": ("data/panel.csv", "https://example.org/x.csv", ["data.file", "not a plain file"]),
    "address in archive": ("shapefiles/cities.shp", "zip://a.zip", ["regions.file", "not a plain file"]),
    "vsicurl": ("shapefiles/cities.shp", "/vsicurl/http:/x.shp", ["regions.file", "not a plain file"]),
    "vrt": ("shapefiles/cities.shp", "shapefiles/cities.VRT", ["regions.file", "not a plain file"]),
}


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_with_its_place(project: Path, old: str, new: str, words: list[str]) -> None:
    message = refusal(write(project, changed(old, new)))
    assert "nothing was run" in message
    for word in words:
        assert word in message


def test_mistakes_of_a_chinese_study_are_told_in_chinese(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    wrong = changed('file = "data/panel.csv"', 'file = "data/panle.csv"')
    path = write(project, wrong)
    assert language_of(path) == language_of(path.with_name("none.toml")) == "en"
    for text, options in ((wrong, ["--language", "zh"]), (f"{wrong}\n", [])):
        if not options:
            text = text.replace("[study]", '[study]\nlanguage = "zh"')
        assert cli.main(["check", str(write(project, text)), *options]) == 1
        said = capsys.readouterr().err
        assert said.startswith("错误：small.toml有1处错误，未作任何运行。\n  1. data.file（第")
        assert "项目文件夹中没有文件'data/panle.csv'；是否应为'panel.csv'？" in said
    assert language_of(path) == "zh"
    assert cli.main(["check", str(path), "--language", "en"]) == 1
    assert "did you mean 'panel.csv'" in capsys.readouterr().err


def test_classes_colours_and_the_review_number_of_maps(project: Path) -> None:
    more = "[maps]\nbreaks = { industry = [-1, 0.5] }\ncenter = 0\nadjust = 'none'\nreview_number = ' none '"
    study = load_study(write(project, changed("[maps]", more)))
    assert study.maps is not None
    assert study.maps.breaks_of("industry") == (-1.0, 0.5)
    assert study.maps.breaks_of("gdp") is None
    assert study.maps.center_of("industry") == 0.0
    assert study.review_number == ""
    plain = load_study(
        write(project, changed("[maps]", "[maps]\nbreaks = [1, 2]\ncenter = { industry = 1.5 }"))
    )
    assert plain.maps is not None
    assert plain.maps.breaks_of("gdp") == (1.0, 2.0)
    assert [plain.maps.center_of(name) for name in ("industry", "gdp")] == [1.5, "auto"]
    assert plain.review_number is None
    given = changed("[maps]", "[maps]\nreview_number = 'GS(2024)0650'")
    assert load_study(write(project, given)).review_number == "GS(2024)0650"


def test_map_periods_lie_within_the_data(project: Path) -> None:
    text = BASE.removesuffix("periods = [2007, 2009]\n") + "periods = [2007, 2011]\n"
    message = refusal(write(project, text))
    assert "1. maps.periods (line 57): 2011 lies outside data.periods, 2007 to 2009" in message


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(project: Path) -> None:
    text = BASE
    for old, new in [
        ('id = "adcode"', 'idd = "adcode"'),
        ("data/panel.csv", "data/panl.csv"),
        ("k = 4", "k = 0"),
        ('weights = "queen"', 'weights = "quen"'),
        ("[maps]", "[mapps]"),
    ]:
        text = text.replace(old, new, 1)
    message = refusal(write(project, text))
    assert "6 mistakes" in message
    lines = [line.split(":")[0] for line in message.split("\n")[1:]]
    assert lines == [
        "  1. regions.id (line 7)",
        "  2. regions.idd (line 9)",
        "  3. data.file (line 12)",
        "  4. weights.near.k (line 40)",
        "  5. models.main.weights (line 53)",
        "  6. mapps (line 55)",
    ]


def test_a_broken_table_still_defines_its_name(project: Path) -> None:
    """A mistake in a variable must not be followed by complaints of everything that uses it."""
    message = refusal(
        write(project, changed("[variables.industry]\nexpression", "[variables.industry]\nexpresion"))
    )
    assert "1 mistake" in message
    assert "models" not in message


ODD = [
    "0",
    "-1",
    "true",
    "''",
    "'x'",
    "nan",
    "[]",
    "[[1]]",
    "{}",
    "{ en = 1 }",
    "['x', 1]",
    "[1, 2, 3]",
    "07:32:00",
]


@pytest.mark.parametrize("odd", ODD)
def test_no_odd_value_escapes_as_another_error(project: Path, odd: str) -> None:
    """Every value of the file in turn: it is either accepted or refused in words."""
    refused = 0
    for line in [line for line in BASE.split("\n") if " = " in line]:
        path = write(project, BASE.replace(line, f"{line.split(' = ')[0]} = {odd}", 1))
        try:
            load_study(path)
        except SpecificationError:
            refused += 1
    assert refused > 20


# --- lines -------------------------------------------------------------------------------------------------


def test_lines_are_found_behind_multiline_values_comments_and_quotes(project: Path) -> None:
    decoys = '''[study]
name = "small"
title = { en = """
id = 1
[regions]
""", zh = "a = [b" } # [data]
'''
    text = changed('[study]\nname = "small"\ntitle = { en = "Small", zh = "小" }\n', decoys)
    text = text.replace('units = ["1", "2"]', 'units = [\n  "1", # ]\n  "2",\n  3,\n]')
    message = refusal(write(project, text.replace('id = "adcode"', 'idd = "adcode"')))
    line = text.split("\n").index('id = "adcode"') + 1
    assert f"regions.idd (line {line})" in message
    units = text.split("\n").index("units = [") + 1
    assert f"samples.some.units (line {units}): entry 3" in message


def test_dotted_and_quoted_keys_have_lines(project: Path) -> None:
    text = changed(
        '[weights.near]\nkind = "knn"\nk = 4\n', "[weights]\n\"near\".kind = 'knn'\nnear . k = 0\n"
    )
    assert "weights.near.k (line 40)" in refusal(write(project, text))


# --- files that are no study -------------------------------------------------------------------------------

NOT_A_STUDY = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\t\n", "is empty"),
    "bom only": (b"\xef\xbb\xbf", "is empty"),
    "gbk": ("version = 1\n# 浙江".encode("gb18030"), "not UTF-8 text (line 2)"),
    "binary": (b"\x80\x04\x95\x00", "not UTF-8"),
    "yaml": (b"study: !!python/object/apply:os.system ['true']\n", "not valid TOML"),
    "key twice": (b"version = 1\nversion = 1\n", "line 2"),
    "open quote": (b'version = 1\n[study]\nname = "x\n', "line 3"),
    "chinese quotes": ("version = 1\n[study]\nname = “x”\n".encode(), "full-width punctuation (“ ”)"),
    "no version": (b'[study]\nname = "x"\n', "has no version"),
    "other version": (b"version = 2\n", "version 1, not 2"),
    "text version": (b'version = "1"\n', "version 1, not '1'"),
    "true version": (b"version = true\n", "version 1, not True"),
    "deep nesting": (b"version = 1\na = " + b"[" * 50_000, "small.toml"),
    "huge number": (b"version = 1\na = " + b"9" * 10_000, "small.toml"),
    "too large": (b"#" * 1_000_001, "too large"),
    "only a version": (b"version = 1\n", "3 mistakes"),
}


@pytest.mark.parametrize(("content", "words"), NOT_A_STUDY.values(), ids=NOT_A_STUDY.keys())
def test_a_file_that_is_no_study(project: Path, content: bytes, words: str) -> None:
    path = project / "studies/small.toml"
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_study_that_is_not_there_lists_those_that_are(project: Path) -> None:
    write(project, BASE)
    assert "In that folder: small.toml" in refusal(project / "studies/smal.toml")


@pytest.mark.parametrize("name", ["study.yaml", "study.py", "study"])
def test_only_toml(project: Path, name: str) -> None:
    assert "ends in .toml" in refusal(project / name)


def test_a_folder_is_no_study(project: Path) -> None:
    (project / "folder.toml").mkdir()
    assert "cannot be read" in refusal(project / "folder.toml")


def test_a_study_with_a_byte_order_mark_and_windows_lines(project: Path) -> None:
    path = project / "studies/small.toml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load_study(path).name == "small"
    path.write_bytes(path.read_bytes().replace(b"k = 4", b"k = 0"))
    assert "weights.near.k (line 40)" in refusal(path)


# --- files that it names -----------------------------------------------------------------------------------


def test_a_link_out_of_the_project_is_refused(project: Path) -> None:
    try:
        os.symlink(project.parent / "outside.csv", project / "data/link.csv")
    except (OSError, NotImplementedError):
        pytest.skip("no symbolic links here")
    path = write(project, changed("data/panel.csv", "data/link.csv"))
    assert "leaves the project folder" in refusal(path)
    assert load_study(path, allow_outside=True).data.file == "data/link.csv"


@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
def test_outside_files_when_allowed(project: Path, absolute: bool) -> None:
    outside = (project.parent / "outside.csv").as_posix() if absolute else "../outside.csv"
    path = write(project, changed("data/panel.csv", outside))
    study = load_study(path, allow_outside=True)
    assert study.files()["data"].resolve() == (project.parent / "outside.csv").resolve()


def test_a_way_round_that_stays_inside_is_allowed(project: Path) -> None:
    path = write(project, changed("data/panel.csv", "studies/../data/panel.csv"))
    assert load_study(path).files()["data"].is_file()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"\x81\xff\xff\n", "not text in UTF-8")],
    ids=["empty", "undecodable"],
)
def test_a_table_that_cannot_be_one(project: Path, content: bytes, words: str) -> None:
    (project / "data/panel.csv").write_bytes(content)
    assert words in refusal(write(project, BASE))


def test_a_table_in_gbk_is_read(project: Path) -> None:
    (project / "data/panel.csv").write_bytes("adcode,year,emp,total,gdp,城市\n".encode("gb18030"))
    assert (
        load_study(write(project, changed('"income", "gdp"', '"income", "城市"'))).models["main"].x[1]
        == "城市"
    )


# --- systems -----------------------------------------------------------------------------------------------

SYSTEM = """
[systems.mutual]
methods = ["gs2sls", "fiml"]

[systems.mutual.equations.industry]
y = "industry"
endog = ["income"]
x = ["gdp"]

[systems.mutual.equations.income]
y = "income"
endog = ["industry"]
x = ["total"]
"""


def test_system_is_read(project: Path) -> None:
    system = load_study(write(project, BASE + SYSTEM)).systems["mutual"]
    assert system.methods == ("gs2sls", "fiml")
    assert system.fixed_effects == "two_way"
    assert system.equations["industry"].endog == ("income",)
    assert system.equations["income"].lag_endog == "all"


SYSTEM_MISTAKES = {
    "unknown key": ('x = ["total"]', 'xs = ["total"]', "systems.mutual.equations.income.xs"),
    "unknown variable": ('x = ["total"]', 'x = ["totl"]', "totl"),
    "not explained": ('endog = ["industry"]', 'endog = ["gdp"]', "systems.mutual.equations.income.endog"),
    "unknown method": ('"fiml"]', '"liml"]', "systems.mutual.methods"),
    "random": ("methods =", 'fixed_effects = "random"\nmethods =', "systems.mutual.fixed_effects"),
    "unknown weights": ("methods =", 'weights = "rook"\nmethods =', "rook"),
}


@pytest.mark.parametrize("case", SYSTEM_MISTAKES)
def test_mistakes_in_a_system_name_their_place(project: Path, case: str) -> None:
    old, new, words = SYSTEM_MISTAKES[case]
    assert old in SYSTEM
    assert words in refusal(write(project, BASE + SYSTEM.replace(old, new, 1)))


# --- kinds of weights --------------------------------------------------------------------------------------

KINDS = {
    "contiguity": "order = 2\ncumulative = false\nislands = [['1', '2']]",
    "knn": "k = 3\nmetric = 'projected'",
    "distance_band": "cutoff_km = 100.0\nislands = 'zero'",
    "inverse_distance": "power = 2\ncutoff_km = 300",
    "exponential_decay": "rate = 0.01",
    "block": "column = 'prov'\nislands = 'nearest'",
    "economic_distance": "variable = 'income'\nperiods = [2003, 2006]\nfloor = 0.1",
    "gravity": "variable = 'gdp'\nperiods = 2005\npower = 1.5",
    "combine": "parts = ['queen', 'near']\nhow = 'mix'\nalpha = 0.25",
    "file": "file = 'data/w.csv'\nislands = 'zero'\nallow_negative = true",
}


def with_weights(kind: str, body: str, project: Path, **swap: str) -> Path:
    (project / "data/w.csv").write_text("id,1,2\n1,0,1\n2,1,0\n", "utf-8")
    text = changed("[samples.all]", f"[weights.new]\nkind = '{kind}'\n{body}\n\n[samples.all]")
    for old, new in swap.items():
        assert old in text
        text = text.replace(old, new, 1)
    return write(project, text)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_weights_can_be_written(project: Path, kind: str) -> None:
    study = load_study(with_weights(kind, KINDS[kind], project))
    assert study.weights["new"].kind == kind
    assert study.weights["new"].normalisation == "row"
    json.dumps(study.settings())
    assert ("weights.new" in study.files()) == (kind == "file")


def test_every_kind_has_a_builder() -> None:
    from spatial_zb.pipeline.units import _BUILDERS
    from spatial_zb.study.sections import WEIGHT_KINDS

    assert set(_BUILDERS) == set(WEIGHT_KINDS) == set(KINDS)


def test_base_periods_are_a_span(project: Path) -> None:
    body = "variable = 'gdp'"
    for written, kept in (
        ("", "mean"),
        ("\nperiods = 2005", (2005, 2005)),
        ("\nperiods = [2003, 2006]", (2003, 2006)),
    ):
        assert load_study(with_weights("gravity", body + written, project)).weights["new"].periods == kept


WRONG_WEIGHTS = {
    "unknown policy": ("contiguity", "islands = 'drop'", ["weights.new.islands", "out of the sample"]),
    "bridge of three": ("contiguity", "islands = [['1', '2', '3']]", ["weights.new.islands", "pairs"]),
    "no bridges": ("contiguity", "islands = []", ["weights.new.islands", "pairs"]),
    "no rate": ("exponential_decay", "", ["weights.new.rate", "is required"]),
    "unknown variable": ("gravity", "variable = 'gpd'", ["weights.new.variable", "did you mean 'gdp'?"]),
    "periods upside down": (
        "gravity",
        "variable = 'gdp'\nperiods = [2006, 2003]",
        ["weights.new.periods", "[first, last]"],
    ),
    "periods of text": ("gravity", "variable = 'gdp'\nperiods = 'first'", ["weights.new.periods", "'mean'"]),
    "periods of truth": ("gravity", "variable = 'gdp'\nperiods = true", ["weights.new.periods", "'mean'"]),
    "unknown part": ("combine", "parts = ['queen', 'nera']", ["weights.new.parts", "'nera'"]),
    "one part": ("combine", "parts = ['queen']", ["weights.new.parts", "2 items"]),
    "part of itself": (
        "combine",
        "parts = ['queen', 'new']",
        ["weights.new.parts", "new must stand above it"],
    ),
    "mixture without alpha": (
        "combine",
        "parts = ['queen', 'near']\nhow = 'mix'",
        ["weights.new", "needs alpha"],
    ),
    "product with alpha": (
        "combine",
        "parts = ['queen', 'near']\nalpha = 0.5",
        ["weights.new", "needs alpha"],
    ),
    "alpha of one": (
        "combine",
        "parts = ['queen', 'near']\nhow = 'mix'\nalpha = 1.0",
        ["weights.new.alpha", "less than 1"],
    ),
    "no file": ("file", "file = 'data/v.csv'", ["weights.new.file", "did you mean 'w.csv'?"]),
    "file outside": ("file", "file = '../outside.csv'", ["weights.new.file", "leaves the project folder"]),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS, ids=str)
def test_mistakes_in_weights_are_said_where_they_are(project: Path, case: str) -> None:
    kind, body, words = WRONG_WEIGHTS[case]
    said = refusal(with_weights(kind, body, project))
    assert said.startswith("small.toml has 1 mistake;"), said
    for word in words:
        assert word in said, said


def test_parts_of_a_mixture_need_one_normalisation(project: Path) -> None:
    path = with_weights(
        "combine", KINDS["combine"], project, **{"k = 4": "k = 4\nnormalisation = 'spectral'"}
    )
    assert "one normalisation, not row, spectral" in refusal(path)


# --- compare -----------------------------------------------------------------------------------------------

COMPARE = """
[compare]
model = "main"
term = "income"
models = ["SLX", "SDM"]
y = "emp"

[compare.x]
income = ["total"]

[compare.controls]
none = []
size = ["gdp"]

[compare.robustness]
winsorise = 0.01

[compare.robustness.drop]
both = ["1", "2"]

[compare.robustness.periods]
late = [2008, 2009]

[compare.curve]
replicates = 99

[compare.probabilities]
g = 50.0
"""


def test_compare_is_read(project: Path) -> None:
    study = load_study(write(project, BASE + COMPARE))
    compare = study.compare
    assert compare.controls == {"none": (), "size": ("gdp",)}
    assert compare.x == {"income": ("total",)}
    assert compare.robustness.winsorise == (0.01,)
    assert compare.robustness.drop == {"both": ("1", "2")}
    assert (compare.curve.replicates, compare.probabilities.g) == (99, 50.0)
    assert study.weights_of(compare) == ("queen", "near")
    assert study.samples_of(compare) == ("all",)
    assert json.loads(json.dumps(study.settings()))["compare"]["term"] == "income"


def test_a_w_or_a_control_is_one_more_line(project: Path) -> None:
    more = COMPARE.replace('size = ["gdp"]', 'size = ["gdp"]\nlarge = ["gdp", "total"]')
    assert list(load_study(write(project, BASE + more)).compare.controls) == ["none", "size", "large"]


COMPARE_MISTAKES = {
    "unknown model": ('model = "main"', 'model = "mian"', "compare.model (line"),
    "unknown key": ('term = "income"', 'terms = "income"', "compare.terms"),
    "term among controls": ('term = "income"', 'term = "gdp"', "in no set of controls"),
    "unknown weights": ('y = "emp"', 'weights = ["quen"]', "did you mean 'queen'?"),
    "unknown control": ('size = ["gdp"]', 'size = ["gpd"]', "compare.controls.size"),
    "unknown family": ('"SDM"]', '"SMD"]', "compare.models"),
    "unknown measure": ('y = "emp"', 'y = "epm"', "compare.y"),
    "measure of a stranger": ('income = ["total"]', 'incme = ["total"]', "compare.x"),
    "too much winsorised": ("winsorise = 0.01", "winsorise = 0.6", "compare.robustness.winsorise"),
    "unknown key inside": ("winsorise = 0.01", "winsorize = 0.01", "compare.robustness.winsorize"),
    "period outside": ("late = [2008, 2009]", "late = [2008, 2011]", "compare.robustness.periods.late"),
    "few replicates": ("replicates = 99", "replicates = 9", "compare.curve.replicates"),
    "no g": ("g = 50.0", "g = -1.0", "compare.probabilities.g"),
    "no list of controls": ('size = ["gdp"]', "size = 3", "compare.controls"),
}


@pytest.mark.parametrize("case", COMPARE_MISTAKES)
def test_mistakes_in_a_comparison_name_their_place(project: Path, case: str) -> None:
    old, new, words = COMPARE_MISTAKES[case]
    assert old in COMPARE
    assert words in refusal(write(project, BASE + COMPARE.replace(old, new, 1)))


def test_comparisons_have_no_errors_by_kilometres(project: Path) -> None:
    text = (BASE + COMPARE).replace("[models.main]\n", '[models.main]\ncovariance = "conley"\n')
    assert "compare.model" in refusal(write(project, text))
    alone = BASE.replace("[models.main]\n", '[models.main]\ncovariance = "conley"\nbandwidth_km = 300.0\n')
    assert load_study(write(project, alone)).models["main"].bandwidth_km == 300.0


def test_the_robust_score_is_for_rho_and_lambda_together_too(project: Path) -> None:
    asked = '[models.main]\nestimator = "robust_score"\nlag_error = true\n'
    model = load_study(write(project, BASE.replace("[models.main]\n", asked))).models["main"]
    assert (model.estimator, model.lag_error, model.covariance) == ("robust_score", True, "cluster")


def test_a_logarithm_is_known_by_its_expression_or_as_a_column_by_its_name():
    from spatial_zb.study.columns import is_logarithm
    from spatial_zb.study.sections import Variable

    def of(expression):
        return Variable(name="v", expression=expression, label={"en": "a", "zh": "a"})

    known = {
        "a": of("log(gdp)"),
        "b": of("lag(a)"),
        "c": of("100 * log(gdp)"),
        "d": of("gdp"),
        "e": of("log1p(gdp)"),
    }
    assert [is_logarithm(known, name) for name in known] == [True, True, False, False, False]
    assert is_logarithm({}, "ln_wage")
    assert not is_logarithm({}, "wage")
