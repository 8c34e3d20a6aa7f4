"""The study of the bootstrap of other models: what it draws has the truth it says, and its table every parameter."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from validation import resampled_others as study


@pytest.mark.parametrize("name", study.MODELS)
def test_panels_have_the_truth_that_is_said(name):
    """With 41 cities the mean of a few estimates is near every coefficient that has a truth."""
    model, W = study.MODELS[name], study.weights(41, "contiguity")
    truth, found = model.truth(W), []
    for seed in range(3):
        fit = model.fit(model.draw(W, np.random.default_rng(seed)), W)
        found.append([(fit.params[t] - truth[t]) / fit.bse[t] for t in fit.params.index if t in truth])
    found = np.array(found)
    assert found.shape[1] >= 2
    assert np.nanmax(np.abs(found.mean(axis=0))) < 4 / np.sqrt(3)


def test_a_replicate_gives_every_parameter_with_every_interval(monkeypatch):
    monkeypatch.setattr(study, "REPLICATES", 99)
    for name in ("dynamic SDM", "SAR by 2SLS, endogenous w"):
        table = study.replicate((name, 41, "contiguity"), study.SEED, 0)
        truth = study.MODELS[name].truth(study.weights(41, "contiguity"))
        for interval in ("standard_error", *study.INTERVALS):
            own = table[table["interval"] == interval]
            assert set(truth) <= set(own["parameter"]), (name, interval)


def test_the_table_holds_every_parameter_of_a_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "REPLICATES", 99)
    monkeypatch.setattr(study, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(study, "design", lambda: [("SAR by 2SLS", 11, "contiguity")])
    study.run(replications=3)
    table = pd.read_csv(tmp_path / "table.csv")
    truth = study.MODELS["SAR by 2SLS"].truth(study.weights(11, "contiguity"))
    assert set(table["model"]) == {"SAR by 2SLS"}
    assert set(truth) <= set(table["parameter"])
