"""Concentration of sectors and specialisation of units of a study, by period."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from spatial_zb import indices
from spatial_zb.errors import DataError, listed, listed_zh
from spatial_zb.pipeline.job import Job, sample_notes
from spatial_zb.text import Text

__all__ = ["write_concentration"]


def write_concentration(job: Job, names: Mapping[str, Text]) -> None:
    """The tables of ``[concentration]``: sectors by period, pairs of sectors and units in the ends of the sample."""
    from spatial_zb.report.layouts.concentration import pairs_table, sectors_table, units_table

    chosen, study = job.study.concentration, job.study
    if chosen is None:
        return
    panel = job.prepared.sample(study.main_sample)
    frame = panel.frame().set_index(["unit", "period"])
    amounts, total = frame[list(chosen.sectors)], None if chosen.total is None else frame[chosen.total]
    found = {"hhi": indices.herfindahl(amounts, "sectors"), "gini": indices.locational_gini(amounts, total)}
    if chosen.plant_hhi is not None:
        found["gamma"] = indices.ellison_glaeser(amounts, pd.Series(chosen.plant_hhi), total)
    pairs = indices.pairwise_coagglomeration(amounts)
    units = indices.krugman_specialisation(_with_rest(job, amounts)).unstack("period").loc[panel.units]
    ends = list(dict.fromkeys([panel.periods[0], panel.periods[-1]]))
    notes = [*sample_notes(job, study.main_sample), *job.prepared.sources]
    labels = panel.labels
    reference = None if total is None else panel.label(chosen.total)
    job.table(lambda style: sectors_table(found, labels, reference, notes=notes, style=style))
    job.table(lambda style: pairs_table(pairs, ends[-1], labels, notes=notes, style=style))
    job.table(lambda style: units_table(units[ends], names, reference, notes=notes, style=style))
    job.tidy("concentration", pd.concat(found, names=["index"]).reset_index())
    job.tidy("coagglomeration", pairs.reset_index())
    job.tidy("specialisation", units.rename_axis("unit").reset_index())


def _with_rest(job: Job, amounts: pd.DataFrame) -> pd.DataFrame:
    """The sectors, and what the total holds beside them."""
    name = job.study.concentration.total
    if name is None:
        return amounts
    total = job.prepared.sample(job.study.main_sample).frame().set_index(["unit", "period"])[name]
    rest = total - amounts.sum(axis=1)
    if (rest < 0).any():
        place = job.study.place("concentration.total")
        cells = [f"{unit} {period}" for unit, period in rest.index[rest < 0]]
        raise DataError(
            f"{place.en}: the sectors are more than {name!r} at {listed(cells)}.",
            f"{place.zh}：行业之和在{listed_zh(cells)}超过{name!r}。",
        )
    return amounts.assign(**{"": rest})
