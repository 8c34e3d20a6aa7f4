"""The cells of a grid that share W, sample and effects, estimated together; each gives what a single fit gives.

Models with one spatial coefficient or none, by maximum likelihood with the classical covariances, are estimated from
:mod:`spatial_zb.compare.moments`. All other cells, and every one in which something is unusual (a variable that cannot be
used, near collinearity, no interior maximum, a weak spatial coefficient), go through :func:`fit_durbin`, whose words they
then carry.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning, joined_notes
from spatial_zb.compare.moments import Moments, Option, shared_cells, shared_moments
from spatial_zb.compare.records import Answers, CrossTraces, Record, cell_frames, cell_record
from spatial_zb.core.likelihood import inner_interval
from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.weights.matrix import Weights

#: With this many cells, all of the admissible interval of ρ is prepared at once.
MANY = 10


@dataclass(frozen=True)
class Block:
    """Cells of one W: all ``options`` with each of some panels of its units (samples that differ in their periods).

    ``shared`` when they can be estimated together.
    """

    panels: tuple[Panel, ...]
    weights: Weights
    options: tuple[Option, ...]
    shared: bool


def shares_moments(option: Option, weights: Weights, periods: int) -> bool:
    """Whether :func:`fit_block` can estimate the cell together with others."""
    spec = option.spec
    plain = DurbinSpec(spec.y, spec.x, spec.lag_y, spec.lag_x, spec.lag_error, spec.fixed_effects)
    timed = spec.fixed_effects in ("time", "two_way")
    return (
        spec == plain
        and spec.fixed_effects != "random"
        and option.estimator in ("lee_yu", "direct")
        and option.covariance in ("information", "hessian")
        and not (spec.lag_y and spec.lag_error)
        and not (timed and spec.spatial_terms and not weights.row_normalised)
        and not (periods == 1 and spec.fixed_effects != "none")
        and spec.y not in weights.variables
        and bool(spec.terms)
    )


def fit_block(block: Block) -> dict[str, pd.DataFrame]:
    """Estimate the cells of a block.

    Returns
    -------
    ``cells``, ``estimates`` and ``effects`` as in :class:`spatial_zb.compare.grid.Grid`, with the number of the cell
    instead of its choices as column ``cell``; options count up within panels.
    """
    cells = list(product(block.panels, block.options))
    found = _together(block) if block.shared else {}
    records = [
        found[i] if i in found else _single(option, panel, block.weights)
        for i, (panel, option) in enumerate(cells)
    ]
    return cell_frames(records)


def _single(option: Option, panel: Panel, weights: Weights) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        try:
            fit = fit_durbin(option.spec, panel, weights, option.estimator, option.covariance)
            effects = spatial_effects(fit).tidy()
        except SpatialZbError as error:
            return {"facts": {"converged": False, "notes": "", "reason": str(error)}}
    notes = {"notes": joined_notes(caught), "reason": ""}
    return {
        "facts": fit.glance().iloc[0].to_dict() | notes,
        "estimates": fit.tidy(),
        "effects": effects,
    }


def _together(block: Block) -> dict[int, Record]:
    """Records of the cells that the shared moments can answer, by number."""
    _prepare(block)
    kinds = dict.fromkeys(option.spec.transform for option in block.options)
    runs = []
    for (place, panel), effects in product(enumerate(block.panels), kinds):
        first = place * len(block.options)
        mine = {
            first + i: option for i, option in enumerate(block.options) if option.spec.transform == effects
        }
        moments = _moments(panel, block.weights, effects, [option.spec for option in mine.values()])
        if moments is not None:
            runs.append((moments, shared_cells(mine, moments)))
    traces = CrossTraces(block.weights, [c for _, asked in runs for c in asked.values()])
    out: dict[int, Any] = {}
    for moments, asked in runs:
        answers = Answers(moments, list(asked.values()), traces)
        records = {i: cell_record(cell, moments, answers) for i, cell in asked.items()}
        out |= {i: record for i, record in records.items() if record is not None}
    return out


def _prepare(block: Block) -> None:
    """With many cells, make the log-determinant ready for all admissible ρ."""
    spatial = sum(bool(option.spec.spatial_terms) for option in block.options)
    if spatial * len(block.panels) >= MANY:
        block.weights.logdet.cover(*inner_interval(block.weights.logdet.interval))


def _moments(panel: Panel, weights: Weights, effects: Any, specs: Sequence[DurbinSpec]) -> Moments | None:
    y = dict.fromkeys(spec.y for spec in specs)
    x = dict.fromkeys(name for spec in specs for name in spec.x)
    lagged = dict.fromkeys(name for spec in specs for name in spec.lag_x)
    known = set(panel.columns)
    if not known.issuperset([*y, *x]):
        y, x, lagged = (dict.fromkeys(name for name in part if name in known) for part in (y, x, lagged))
        if not y:
            return None
    errors = any(spec.lag_error for spec in specs)
    return shared_moments(panel, weights, effects, list(y), list(x), list(lagged), errors)
