"""Figures that a study file asks for: they are drawn, from the numbers that their tidy tables hold."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from spatial_zb import SpecificationError, load_study
from spatial_zb.pipeline import run

ROOT = Path(__file__).resolve().parents[2]
#: Figures of the scenarios that the study has.
SCENARIOS = {f"scenario_{name}{part}" for name in ("hangzhou", "loss") for part in ("", "_map")}
FIGURES = """[figures]
effects = ["industry.talent"]
system_effects = ["mutual.talent.ln_wage"]
orders = 2
correlogram = ["talent"]
thresholds = [1, 200]
reach = "within"
"""


def written(folder: Path, figures: str, **changes: str) -> Path:
    """The bay study with other figures, without maps, in one language and small."""
    text = (ROOT / "studies" / "bay_area.toml").read_text(encoding="utf-8")
    start, end = text.index("[maps]"), text.index("[output]")
    text = text[:start] + figures + "\n" + text[end:]
    changes = {
        "permutations = 9999": "permutations = 99",
        'language = "both"': 'language = "zh"',
        'figures = ["pdf", "png"]': 'figures = ["png"]',
        "dpi = 300": "dpi = 72",
        # by instruments and clustered, the denominator of effects is not told from zero
        'methods = ["gs2sls", "gs3sls", "fiml"]\ncovariance = "cluster"': 'methods = ["fiml"]\ncovariance = "classical"',
    } | changes
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_that_is_asked_for_is_drawn(tmp_path):
    study = load_study(written(tmp_path, FIGURES), root=ROOT)
    outcome = run(study, ["maps"], out=tmp_path / "out")
    stems = {path.stem for path in outcome.files if path.suffix == ".png"}
    pairs = ["industry_talent", "mutual_talent_ln_wage"]
    expected = {f"{kind}_{pair}" for kind in ("effect_map", "effects_by_order") for pair in pairs}
    expected |= {"moran_by_distance_talent", "effects_by_distance_industry_talent"}
    assert stems == expected | SCENARIOS
    tidy = {path.stem: pd.read_csv(path) for path in (tmp_path / "out" / "tidy").glob("*.csv")}
    for pair in pairs:
        # The mean of the maps is the indirect effect, which orders tend to.
        unit = tidy[f"effects_by_unit_{pair}"]
        assert unit["received"].mean() == pytest.approx(unit["emitted"].mean())
        assert set(tidy[f"effects_by_order_{pair}"]["order"]) == {0, 1, 2}
    assert len(tidy["moran_by_distance_talent"]["period"].unique()) == 2
    reasons = tidy["effects_by_distance_industry"].groupby("km")["reason"].first()
    assert reasons.notna().tolist() == [True, False]


def test_maps_of_two_variables_and_clusters_with_a_locator(tmp_path, monkeypatch):
    from spatial_zb.report.drawing import sheet

    drawn = []
    plain = sheet._draw_locator
    monkeypatch.setattr(sheet, "_draw_locator", lambda *parts: drawn.append(plain(*parts)))
    maps = """[maps]
variables = ["industry"]
periods = [2019]
bivariate = ["industry", "talent"]
clusters = "queen"
locator = true
"""
    study = load_study(written(tmp_path, maps, **{'sample = "delta"': 'sample = "bay"'}), root=ROOT)
    outcome = run(study, ["maps"], out=tmp_path / "out")
    stems = {path.stem for path in outcome.files if path.suffix == ".png"}
    assert {"map_industry", "map_industry_talent", "clusters_industry"} <= stems
    assert len(drawn) == 3


def test_an_unstable_system_is_told_and_left_out(tmp_path, monkeypatch):
    from spatial_zb.models.system.fit import Stability

    monkeypatch.setattr(Stability, "stable", property(lambda self: False))
    figures = '[figures]\nsystem_effects = ["mutual.industry.talent"]\n'
    outcome = run(load_study(written(tmp_path, figures), root=ROOT), ["maps"], out=tmp_path / "out")
    assert {path.stem for path in outcome.files if path.suffix == ".png"} == SCENARIOS
    assert any("stable" in note.en for note in outcome.notes)


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        pytest.param(
            'effects = ["industry.talnt"]', ["figures.effects", "industry.talent"], id="misspelt variable"
        ),
        pytest.param('effects = ["talent"]', ["figures.effects", "model.variable"], id="no model"),
        pytest.param('system_effects = ["mutual.industry.pigs"]', ["figures.system_effects"], id="no source"),
        pytest.param('correlogram = ["pigs"]', ["figures.correlogram", "pigs"], id="no variable"),
        pytest.param("thresholds = [0]", ["figures.thresholds"], id="no distance"),
        pytest.param("orders = 0", ["figures.orders"], id="no order"),
    ],
)
def test_mistakes_are_named(tmp_path, figures, said):
    with pytest.raises(SpecificationError) as caught:
        load_study(written(tmp_path, f"[figures]\n{figures}\n"), root=ROOT)
    assert all(word in str(caught.value) for word in said)


@pytest.mark.parametrize(
    ("pair", "word"), [('["industry"]', "two variables"), ('["industry", "pigs"]', "pigs")]
)
def test_two_variables_of_a_map_are_two_and_known(tmp_path, pair, word):
    maps = f'[maps]\nvariables = ["industry"]\nperiods = [2019]\nbivariate = {pair}\n'
    with pytest.raises(SpecificationError, match=word):
        load_study(written(tmp_path, maps), root=ROOT)
