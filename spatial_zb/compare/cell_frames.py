"""Cells of a grid as frames: numbers are kept as arrays and put into columns all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.effects import EFFECTS
from spatial_zb.models.estimates import TABLE_COLUMNS, coefficient_columns

__all__ = ["Record", "cell_frames"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Record:
    """A cell as arrays: estimates and errors (p,), effects and errors (k, 3)."""

    facts: dict[str, Any]
    terms: tuple[str, ...]
    regressors: tuple[str, ...]
    estimate: Array
    std_error: Array
    effect: Array
    effect_error: Array
    df: int | None


def cell_frames(records: Sequence[Record | dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Frames ``cells``, ``estimates`` and ``effects`` of some cells, numbered in the order of their records.

    A record is a :class:`Record`, or what a single fit gives: ``facts`` and, where it succeeded, the frames ``estimates``
    and ``effects``.
    """
    facts = [r.facts if isinstance(r, Record) else r["facts"] for r in records]
    cells = pd.DataFrame(facts, columns=list(max(facts, key=len)))
    cells.insert(0, "cell", range(len(records)))
    own = {i: r for i, r in enumerate(records) if isinstance(r, Record)}
    alone = {i: r for i, r in enumerate(records) if not isinstance(r, Record)}
    return {
        "cells": cells,
        "estimates": _long(_estimate_rows(own), alone, "estimates"),
        "effects": _long(_effect_rows(own), alone, "effects"),
    }


def _long(own: list[pd.DataFrame], alone: Mapping[int, dict[str, Any]], kind: str) -> pd.DataFrame:
    frames = list(own)
    for i, record in alone.items():
        if kind in record:
            frame = record[kind].reset_index(drop=True)
            frame.insert(0, "cell", i)
            frames.append(frame)
    if not frames:
        names = ["cell", "term", *(["effect"] if kind == "effects" else []), *TABLE_COLUMNS]
        return pd.DataFrame(columns=names).astype({"cell": int})
    return pd.concat(frames, ignore_index=True).sort_values("cell", kind="stable", ignore_index=True)


def _estimate_rows(own: Mapping[int, Record]) -> list[pd.DataFrame]:
    cell = np.repeat(list(own), [len(r.terms) for r in own.values()])
    terms = [term for r in own.values() for term in r.terms]
    numbers = [(r.estimate, r.std_error, r.df) for r in own.values()]
    return _table({"cell": cell, "term": terms}, numbers)


def _effect_rows(own: Mapping[int, Record]) -> list[pd.DataFrame]:
    cell = np.repeat(list(own), [3 * len(r.regressors) for r in own.values()])
    terms = [name for r in own.values() for name in r.regressors for _ in EFFECTS]
    effects = [effect for r in own.values() for _ in r.regressors for effect in EFFECTS]
    numbers = [(r.effect.ravel(), r.effect_error.ravel(), r.df) for r in own.values()]
    return _table({"cell": cell, "term": terms, "effect": effects}, numbers)


def _table(names: dict[str, Any], numbers: list[tuple[Array, Array, int | None]]) -> list[pd.DataFrame]:
    """Statistics of all cells at once, for each number of degrees of freedom."""
    if not numbers:
        return []
    estimate, error = (np.concatenate([each[i] for each in numbers]) for i in (0, 1))
    df = np.repeat([each[2] or 0 for each in numbers], [len(each[0]) for each in numbers])
    columns = np.empty((len(estimate), len(TABLE_COLUMNS)))
    for value in np.unique(df):
        rows = df == value
        columns[rows] = coefficient_columns(estimate[rows], error[rows], 0.05, int(value) or None)
    return [pd.DataFrame(names).join(pd.DataFrame(columns, columns=TABLE_COLUMNS))]
