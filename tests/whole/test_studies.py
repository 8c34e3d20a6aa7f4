"""The other two studies of the repository, made small: they run, and their numbers are those of their data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spatial_zb import cli
from spatial_zb.base.errors import SpecificationError
from spatial_zb.core.indices.composite import coordination_grade, coupling_coordination, entropy_weights
from spatial_zb.pipeline import prepare
from spatial_zb.study import load_study
from spatial_zb.study.sections import LISTS, NAMED, TABLES, WEIGHT_KINDS

ROOT = Path(__file__).resolve().parents[2]
SMALLER = {
    "permutations = 9999": "permutations = 999",
    'language = "both"': 'language = "en"',
    'tables = ["csv", "tex", "md", "docx", "xlsx"]': 'tables = ["csv"]',
    'figures = ["pdf", "png"]': 'figures = ["png"]',
    "dpi = 300": "dpi = 72",
    "periods = [2017, 2019, 2020, 2022]": "periods = [2022]",
}


def small(name: str, folder: Path, **changes: str) -> Path:
    """A small copy of a study beside links to the data and polygons of the repository."""
    text = (ROOT / "studies" / f"{name}.toml").read_text(encoding="utf-8")
    for old, new in {**SMALLER, **changes}.items():
        text = text.replace(old, new)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def finished(name: str, folder: Path) -> Path:
    out = folder / "out"
    path = small(name, folder)
    assert cli.main(["run", str(path), "--root", str(ROOT), "--out", str(out), "--quiet"]) == 0
    return out


def test_counties(tmp_path):
    out = finished("counties", tmp_path)
    panel = pd.read_csv(out / "tidy" / "panel.csv", dtype={"unit": str}).set_index("unit")
    assert len(panel) == 77
    assert "huzhou_districts" not in panel.index
    census = pd.read_csv(ROOT / "data" / "zhejiang_county_census_2000_2010.csv")
    core = census[census["constant_unit"] == "hangzhou_core"]
    growth = 10 * np.log(core["pop_2010"].sum() / core["pop_2000"].sum())
    assert panel.loc["hangzhou_core", "growth"] == pytest.approx(growth, rel=1e-12)
    moran = pd.read_csv(out / "tidy" / "moran.csv")
    assert (moran["I"] > 0.3).all()
    local = pd.read_csv(out / "tidy" / "local_moran.csv")
    assert len(local) == 3 * 77
    assert set(local["cluster"]) <= {"HH", "LL", "HL", "LH", "not significant"}
    assert len(list((out / "figures").glob("clusters_*.png"))) == 3


def test_coupling(tmp_path):
    out = finished("coupling", tmp_path)
    panel = pd.read_csv(out / "tidy" / "panel.csv")
    wide = {
        name: panel.pivot(index="period", columns="unit", values=name).to_numpy()
        for name in ("gdp", "employees", "gdp_per_employee", "teachers", "students", "science", "inventions")
    }
    industry = entropy_weights(np.dstack([wide[n] for n in ("gdp", "employees", "gdp_per_employee")])).scores
    talent = entropy_weights(
        np.dstack([wide[n] for n in ("teachers", "students", "science", "inventions")])
    ).scores
    expected = coupling_coordination(industry, np.clip(talent, 0, 1)).coordination
    graded = pd.read_csv(out / "tidy" / "coordination.csv")
    found = graded.pivot(index="period", columns="unit", values="coordination").to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(graded) == 66
    assert [coordination_grade(d).en for d in graded["coordination"]] == list(graded["grade_en"])
    weights = pd.read_csv(out / "tidy" / "entropy_weights.csv")
    np.testing.assert_allclose(weights.groupby("index")["weight"].sum(), 1.0)


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_the_lines_of_the_readme_give_the_finding_of_the_readme(monkeypatch):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    effects = names["zb"].spatial_effects(names["fit"]).tidy().query("term == 'talent'").set_index("effect")
    numbers = {
        effect: [
            f"{effects.loc[effect, c]:.2f}".replace("-", "−") for c in ("estimate", "conf_low", "conf_high")
        ]
        for effect in ("direct", "indirect", "total")
    }
    words = " ".join(page.split())
    assert "({}, 95 % interval {} to {})".format(*numbers["direct"]) in words
    assert "({}, {} to {})".format(*numbers["indirect"]) in words
    assert "({}, {} to {};".format(*numbers["total"]) in words
    assert f"{len(names['panel'].units)} cities (Lu'an is left out)" in words


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
@pytest.mark.parametrize("kind", ["xlsx", "dta", "gbk.csv"])
def test_the_same_panel_from_every_kind_of_file(tmp_path, kind):
    source = ROOT / "data" / "zhejiang_innovation_2017_2022.csv"
    target = tmp_path / f"innovation.{kind}"
    table = pd.read_csv(source, dtype={"adcode": str})
    match kind:
        case "xlsx":
            table.to_excel(target, index=False)
        case "dta":
            table.fillna({"flag": ""}).to_stata(target, write_index=False, version=118)
        case _:
            table.to_csv(target, index=False, encoding="gb18030")
    changed = small("coupling", tmp_path, **{"data/zhejiang_innovation_2017_2022.csv": target.as_posix()})
    found = prepare(load_study(changed, root=ROOT, allow_outside=True)).panel
    expected = prepare(load_study(ROOT / "studies" / "coupling.toml")).panel
    assert list(found.units) == list(expected.units)
    np.testing.assert_allclose(found.array(list(expected.columns)), expected.values, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_studies_of_what_the_theory_names_take_their_traps_into_account():
    """Exports of 2017 in yuan, suspect cells away, nothing of R&D in an index, no sector shares of 2017."""
    delta = prepare(load_study(ROOT / "studies" / "innovation.toml"))
    panel, raw = (
        delta.panel,
        pd.read_csv(ROOT / "data" / "delta_innovation_2017_2022.csv", dtype={"adcode": str}),
    )
    raw = raw.set_index(["adcode", "year"])
    assert len(panel.units) == 39
    assert not {"341300", "341500"} & set(panel.units)
    exports = pd.DataFrame(panel.array("exports"), panel.periods, panel.units)
    assert exports.loc[2017, "330100"] == pytest.approx(raw.loc[("330100", 2017), "exports_10k"] * 6.7518)
    assert exports.loc[2018, "330100"] == pytest.approx(raw.loc[("330100", 2018), "exports_10k"])
    assert exports.loc[2022, "320700"] > 5 * raw.loc[("320700", 2022), "exports_10k"]
    growth = np.log(exports.loc[2018] / exports.loc[2017])
    assert growth.median() == pytest.approx(0.05, abs=0.1)  # dollars as yuan would be 1.9
    assert ((panel.array("coordination") >= 0) & (panel.array("coordination") <= 1)).all()
    upgrading = prepare(load_study(ROOT / "studies" / "upgrading.toml")).panel
    assert 2017 not in upgrading.periods
    assert (len(upgrading.units), len(upgrading.periods)) == (41, 16)
    standing = prepare(load_study(ROOT / "studies" / "standing.toml")).panel
    assert standing.array("hitech").std(axis=0) == pytest.approx(np.zeros(11), abs=1e-12)
    assert (standing.array("inventions") > 50).all()


WRONG = {
    "columns": ('"inventions"]', '"inventoins"]', "did you mean 'inventions'"),
    "index": ('second = "talent"', 'second = "talnt"', "index 'talnt' is not known; did you mean 'talent'"),
    "name": ("[coupling.coordination]", "[coupling.industry]", "has this name; choose another"),
    "weights": ('labels = "none"\nclusters = "queen"', 'labels = "none"\nclusters = "quen"', "'queen'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_in_the_new_sections_are_named(tmp_path, case):
    old, new, words = WRONG[case]
    study = "counties" if case == "weights" else "coupling"
    with pytest.raises(SpecificationError, match=words):
        load_study(small(study, tmp_path, **{old: new}), root=ROOT)


def test_rd_columns_are_refused_with_their_blank_cells(tmp_path, capsys):
    path = small("coupling", tmp_path, **{'"inventions"]': '"rd_personnel"]'})
    assert cli.main(["check", str(path), "--root", str(ROOT)]) == 1
    said = capsys.readouterr()
    assert "rd_personnel" in said.out + said.err


def test_the_page_of_the_study_file_names_every_key():
    page = (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8")
    named = {name: record for name, record in NAMED.items() if record is not None}
    sections = {**TABLES, **named, **LISTS, **WEIGHT_KINDS}
    lacking = [
        f"{section}.{key}"
        for section, record in sections.items()
        for key in record.model_fields.keys() - {"name", "kind"}
        if not re.search(rf"`{key}(`| = )|`\[{section}(\.<name>)?\.{key}[.\]]", page)
    ]
    assert not lacking


def test_the_small_study_of_the_documentation_can_be_run(tmp_path, capsys):
    (example,) = re.findall(
        r"```toml\n(version = 1.*?)```",
        (ROOT / "docs" / "study-file.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    (tmp_path / "wages.toml").write_text(example, encoding="utf-8")
    assert cli.main(["check", str(tmp_path / "wages.toml"), "--root", str(ROOT)]) == 0
    assert "wages.toml is sound: 41 units, 10 periods (2007-2016)" in capsys.readouterr().out


def test_the_code_for_those_who_come_from_elsewhere_runs(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "from-stata-and-r.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for folder in ("data", "shapefiles"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "from-stata-and-r.md", "exec"), {})
    assert "avg_wage_yuan" in capsys.readouterr().out
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} == {".docx", ".tex"}
