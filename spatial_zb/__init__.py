"""Spatial econometrics of industry and talent agglomeration.

The public names load on first use, so that importing the package, or asking the command line for help,
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from spatial_zb import indices, weights
    from spatial_zb.compare.bayes import Prior, model_probabilities
    from spatial_zb.compare.curve import curve_test
    from spatial_zb.compare.family import spec_family
    from spatial_zb.compare.grid import specification_grid
    from spatial_zb.compare.nested import compare_fits
    from spatial_zb.compare.nonnested import j_test, vuong_test
    from spatial_zb.compare.robustness import robustness
    from spatial_zb.data.codes import MatchReport, constant_units, match_report
    from spatial_zb.data.gate import build_panel
    from spatial_zb.data.panel import Panel
    from spatial_zb.data.read import read_table
    from spatial_zb.data.regions import join_regions, read_regions, select_regions
    from spatial_zb.distance_decay import effects_by_distance, moran_by_distance
    from spatial_zb.dynamic_effects import effects_path
    from spatial_zb.dynamics import (
        beta_convergence,
        dagum_decomposition,
        deviation_ellipses,
        kernel_densities,
        sigma_convergence,
        theil_decomposition,
    )
    from spatial_zb.effect_orders import order_effects
    from spatial_zb.effects import effect_matrix, effects_by_order, effects_by_unit, spatial_effects
    from spatial_zb.errors import (
        AlignmentError,
        ConvergenceError,
        DataError,
        OutputError,
        SpatialZbError,
        SpatialZbWarning,
        SpecificationError,
        WeightsError,
        WorkerError,
    )
    from spatial_zb.execute import ResultStore
    from spatial_zb.explore import (
        bivariate_moran,
        esda_statistic,
        geary,
        general_g,
        lee,
        local_bivariate_moran,
        local_g,
        local_moran,
        moran,
        pooled_moran,
        residual_moran,
    )
    from spatial_zb.hypotheses import diagnose
    from spatial_zb.models.durbin import fit_durbin
    from spatial_zb.models.dynamic import stability_test
    from spatial_zb.models.nested_systems import likelihood_ratio, restriction_tests
    from spatial_zb.models.regimes import regime_tests
    from spatial_zb.models.simultaneous import fit_system
    from spatial_zb.models.spec import DurbinSpec
    from spatial_zb.models.system_spec import Equation, SystemSpec
    from spatial_zb.nonlinear import marginal_effects, u_shape_test
    from spatial_zb.pipeline import prepare
    from spatial_zb.power import power_study
    from spatial_zb.profile_intervals import profile_interval
    from spatial_zb.regime_effects import regime_spillovers
    from spatial_zb.resampling import bootstrap
    from spatial_zb.score_inversion import median_unbiased
    from spatial_zb.simplification import simplification_tests
    from spatial_zb.simulate import simulate_durbin, simulate_panel
    from spatial_zb.study import load_study
    from spatial_zb.system_effects import (
        feedback_decomposition,
        system_effects_by_order,
        system_effects_by_unit,
    )
    from spatial_zb.system_simulation import simulate_system
    from spatial_zb.weak_instruments import anderson_rubin
    from spatial_zb.weights.matrix import Weights, as_weights

#: Public name → the module it comes from.
_HOMES = {
    "Panel": "data.panel",
    "build_panel": "data.gate",
    "join_regions": "data.regions",
    "read_regions": "data.regions",
    "select_regions": "data.regions",
    "Weights": "weights.matrix",
    "as_weights": "weights.matrix",
    "moran": "explore",
    "DurbinSpec": "models.spec",
    "fit_durbin": "models.durbin",
    "Equation": "models.system_spec",
    "SystemSpec": "models.system_spec",
    "fit_system": "models.simultaneous",
    "spatial_effects": "effects",
    "effects_path": "dynamic_effects",
    "stability_test": "models.dynamic",
    "u_shape_test": "nonlinear",
    "marginal_effects": "nonlinear",
    "regime_tests": "models.regimes",
    "regime_spillovers": "regime_effects",
    "effect_matrix": "effects",
    "effects_by_order": "effects",
    "effects_by_unit": "effects",
    "bootstrap": "resampling",
    "diagnose": "hypotheses",
    "compare_fits": "compare.nested",
    "curve_test": "compare.curve",
    "robustness": "compare.robustness",
    "vuong_test": "compare.nonnested",
    "j_test": "compare.nonnested",
    "Prior": "compare.bayes",
    "model_probabilities": "compare.bayes",
    "spec_family": "compare.family",
    "specification_grid": "compare.grid",
    "simulate_durbin": "simulate",
    "simulate_panel": "simulate",
    "simulate_system": "system_simulation",
    "load_study": "study",
    "simplification_tests": "simplification",
    "prepare": "pipeline",
    "profile_interval": "profile_intervals",
    "median_unbiased": "score_inversion",
    "anderson_rubin": "weak_instruments",
    "power_study": "power",
    "AlignmentError": "errors",
    "ConvergenceError": "errors",
    "DataError": "errors",
    "OutputError": "errors",
    "SpatialZbError": "errors",
    "SpatialZbWarning": "errors",
    "SpecificationError": "errors",
    "WeightsError": "errors",
    "WorkerError": "errors",
    "ResultStore": "execute",
    "bivariate_moran": "explore",
    "esda_statistic": "explore",
    "geary": "explore",
    "general_g": "explore",
    "lee": "explore",
    "local_bivariate_moran": "explore",
    "local_g": "explore",
    "local_moran": "explore",
    "pooled_moran": "explore",
    "residual_moran": "explore",
    "beta_convergence": "dynamics",
    "dagum_decomposition": "dynamics",
    "deviation_ellipses": "dynamics",
    "kernel_densities": "dynamics",
    "sigma_convergence": "dynamics",
    "theil_decomposition": "dynamics",
    "likelihood_ratio": "models.nested_systems",
    "restriction_tests": "models.nested_systems",
    "feedback_decomposition": "system_effects",
    "system_effects_by_order": "system_effects",
    "system_effects_by_unit": "system_effects",
    "read_table": "data.read",
    "match_report": "data.codes",
    "constant_units": "data.codes",
    "MatchReport": "data.codes",
    "order_effects": "effect_orders",
    "moran_by_distance": "distance_decay",
    "effects_by_distance": "distance_decay",
}

__all__ = [
    "AlignmentError",
    "ConvergenceError",
    "DataError",
    "DurbinSpec",
    "Equation",
    "MatchReport",
    "OutputError",
    "Panel",
    "Prior",
    "ResultStore",
    "SpatialZbError",
    "SpatialZbWarning",
    "SpecificationError",
    "SystemSpec",
    "Weights",
    "WeightsError",
    "WorkerError",
    "__version__",
    "anderson_rubin",
    "as_weights",
    "beta_convergence",
    "bivariate_moran",
    "bootstrap",
    "build_panel",
    "compare_fits",
    "constant_units",
    "curve_test",
    "dagum_decomposition",
    "deviation_ellipses",
    "diagnose",
    "effect_matrix",
    "effects_by_distance",
    "effects_by_order",
    "effects_by_unit",
    "effects_path",
    "esda_statistic",
    "feedback_decomposition",
    "fit_durbin",
    "fit_system",
    "geary",
    "general_g",
    "indices",
    "j_test",
    "join_regions",
    "kernel_densities",
    "lee",
    "likelihood_ratio",
    "load_study",
    "local_bivariate_moran",
    "local_g",
    "local_moran",
    "marginal_effects",
    "match_report",
    "median_unbiased",
    "model_probabilities",
    "moran",
    "moran_by_distance",
    "order_effects",
    "pooled_moran",
    "power_study",
    "prepare",
    "profile_interval",
    "read_regions",
    "read_table",
    "regime_spillovers",
    "regime_tests",
    "residual_moran",
    "restriction_tests",
    "robustness",
    "select_regions",
    "sigma_convergence",
    "simplification_tests",
    "simulate_durbin",
    "simulate_panel",
    "simulate_system",
    "spatial_effects",
    "spec_family",
    "specification_grid",
    "stability_test",
    "system_effects_by_order",
    "system_effects_by_unit",
    "theil_decomposition",
    "u_shape_test",
    "vuong_test",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name in ("indices", "weights"):
        return import_module(f"spatial_zb.{name}")
    if name in _HOMES:
        return getattr(import_module(f"spatial_zb.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'spatial_zb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
