"""Layouts: from tidy frames to the tables a paper prints.

Each function takes results by their protocol (``tidy()``, ``glance()``, ``table()`` frames), never a model
class, and returns a :class:`~spatial_zb.report.tables.table.Table`. Stars, errors and the notes about them are
settled here, together, so that they cannot disagree.
"""

from spatial_zb.report.tables.layouts.effects import effects_table, scenario_table, sets_table
from spatial_zb.report.tables.layouts.exploration import coordination_table, entropy_table, moran_table
from spatial_zb.report.tables.layouts.regression import regression_table
from spatial_zb.report.tables.layouts.sample import (
    absences_table,
    correlations_table,
    definitions_table,
    descriptives_table,
    missing_table,
)
from spatial_zb.report.tables.layouts.tests import chain_table, identification_table

__all__ = [
    "absences_table",
    "chain_table",
    "coordination_table",
    "correlations_table",
    "definitions_table",
    "descriptives_table",
    "effects_table",
    "entropy_table",
    "identification_table",
    "missing_table",
    "moran_table",
    "regression_table",
    "scenario_table",
    "sets_table",
]
