"""The groups of the test chain, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from spatial_zb.base.results import Row
from spatial_zb.hypotheses.case import Case, Step, attempt
from spatial_zb.hypotheses.durbin import durbin
from spatial_zb.hypotheses.panel import collinearity, dependence, effects, lag_error
from spatial_zb.hypotheses.random import bsk, random_effects, random_spatial

if TYPE_CHECKING:
    pass


#: The parts of the chain, in the order of the table.
GROUPS: dict[str, Callable[[Case], list[Step]]] = {
    "collinearity": collinearity,
    "lag_error": lag_error,
    "durbin": durbin,
    "effects": effects,
    "random": random_effects,
    "bsk": bsk,
    "random_spatial": random_spatial,
    "dependence": dependence,
}


def run_tests(case: Case, groups: tuple[str, ...], wanted: Collection[str] | None = None) -> list[Row]:
    """Run groups of tests, or of them those wanted; one that cannot be computed says why."""
    out: list[Row] = []
    for group in groups:
        for names, run in GROUPS[group](case):
            if wanted is None or not set(names).isdisjoint(wanted):
                out += [row for row in attempt(names, run) if wanted is None or row.test in wanted]
    return out
