"""Spatial econometrics of industry and talent agglomeration.

The public names stand in ``__init__.pyi`` and load on first use, so that importing the package, or asking the command
line for help, costs nothing.
"""

import importlib

from spatial_zb.base import DOORS, attach_stub

__version__ = "0.1.0"

_load, __dir__, __all__ = attach_stub(__name__, __file__)
# Results show themselves through these doors: what draws and writes them lives above them.
DOORS.update(plot="spatial_zb.report.plots", write="spatial_zb.report.tables.writers")

_PLACES = {
    "base.errors": "OutputError WorkerError",
    "base.result_store": "ResultStore",
    "compare": "Prior compare_fits model_probabilities robustness spec_family",
    "data": "constant_units join_regions match_report read_table select_regions",
    "data.units": "MatchReport",
    "dynamics": "beta_convergence dagum_decomposition deviation_ellipses kernel_densities sigma_convergence "
    "theil_decomposition",
    "explore": "bivariate_moran effects_by_distance esda_statistic geary general_g lee local_bivariate_moran local_g "
    "moran_by_distance pooled_moran residual_moran",
    "tests": "curve_test j_test likelihood_ratio regime_tests restriction_tests simplification_tests stability_test "
    "u_shape_test vuong_test",
}
_RENAMED = {
    "order_effects": "effects_by_order",
    "power_study": "simulate.power",
    "simulate_durbin": "simulate.durbin",
    "simulate_panel": "simulate.panel",
    "simulate_system": "simulate.system",
    "system_effects_by_order": "effects_by_order",
    "system_effects_by_unit": "effects.system_effects_by_unit",
}
#: Names of the last release by where they are now; they go with the next one.
MOVED = {name: f"{place}.{name}" for place, names in _PLACES.items() for name in names.split()} | _RENAMED


def __getattr__(name: str) -> object:
    if name not in MOVED:
        return _load(name)
    from spatial_zb.base.notes import warn_old

    place, _, own = MOVED[name].rpartition(".")
    warn_old(f"spatial_zb.{name} is now spatial_zb.{MOVED[name]}.")
    if not place:
        return _load(own)
    room = _load(place) if place in __all__ else importlib.import_module(f"{__name__}.{place}")
    return getattr(room, own)
