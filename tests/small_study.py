"""A study of twelve squares and eight years, written in a moment, for tests that break it or stop it."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

IDS = [f"3301{number:02d}" for number in range(1, 13)]
YEARS = list(range(2010, 2018))
HEADINGS = ("adcode", "year", "y", "x1", "x2")
TEXT = """version = 1
[study]
name = "tiny"
title = "Tiny"
permutations = 99
language = "en"
[regions]
file = "shapes/a.geojson"
id = "adcode"
names = "NAME"
[data]
file = "data/a.csv"
unit = "adcode"
period = "year"
periods = [2010, 2017]
[variables.ly]
label = "Y log"
expression = "log(y)"
[weights.queen]
kind = "contiguity"
islands = "nearest"
[moran]
variables = ["ly"]
[models.m]
y = "ly"
x = ["x1", "x2"]
[output]
tables = ["csv", "md"]
figures = ["svg"]
"""


def squares(names: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """GeoJSON of three rows of four squares; ``more`` stands beside the features."""
    features = []
    for k, unit in enumerate(IDS):
        row, column = divmod(k, 4)
        x, y, side = 119 + column * 0.3, 29 + row * 0.3, 0.3
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        features.append(
            {
                "type": "Feature",
                "properties": {"adcode": unit, "NAME": (names or {}).get(unit, f"City {k}")},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        )
    return {"type": "FeatureCollection", "features": features, **more}


def rows(seed: int = 0) -> list[list[Any]]:
    """Unit, year, y, x1, x2, with unit effects in ln y."""
    rng = np.random.default_rng(seed)
    own, made = rng.normal(size=12), []
    for i, unit in enumerate(IDS):
        for year in YEARS:
            x1, x2 = rng.normal(size=2)
            y = np.exp(1 + 0.5 * x1 - 0.3 * x2 + own[i] + rng.normal() * 0.3)
            made.append([unit, year, repr(float(y)), repr(float(x1)), repr(float(x2))])
    return made


def write_table(path: Path, lines: Sequence[Sequence[Any]], headings: Sequence[str] = HEADINGS) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([headings, *lines])


def write_study(folder: Path, text: str = TEXT) -> Path:
    """The study in a folder; gives its study file."""
    for part in ("data", "shapes", "studies"):
        (folder / part).mkdir(parents=True)
    (folder / "studies/tiny.toml").write_text(text, encoding="utf-8")
    (folder / "shapes/a.geojson").write_text(json.dumps(squares(), ensure_ascii=False), encoding="utf-8")
    write_table(folder / "data/a.csv", rows())
    return folder / "studies/tiny.toml"


def command(folder: str, words: Sequence[str], said: str, ready: Any, pause: float = 0.0) -> None:
    """Target of a process that is to be stopped: a command in a folder, with all it prints in the file ``said``.

    ``pause``: seconds that the disk takes for each file it moves.
    """
    os.chdir(folder)
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8")
    from spatial_zb.cli import main

    move = os.replace

    def moved(*paths: Any, **options: Any) -> None:
        time.sleep(pause)
        move(*paths, **options)

    os.replace = moved
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    ready.set()
    code = main(list(words))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
