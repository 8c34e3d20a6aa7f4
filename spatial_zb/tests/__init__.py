"""Tests of hypotheses by name: ``zb.tests``. The whole chain at once is :func:`spatial_zb.diagnose`.

No code of its own: each test lives in the room of what it tests.
"""

import inspect

from spatial_zb.compare.curve import curve_test as curve_test
from spatial_zb.effects.nonlinear import u_shape_test as u_shape_test
from spatial_zb.hypotheses.nested import likelihood_ratio as likelihood_ratio
from spatial_zb.hypotheses.nested import regime_tests as regime_tests
from spatial_zb.hypotheses.nested import restriction_tests as restriction_tests
from spatial_zb.hypotheses.nested import simplification_tests as simplification_tests
from spatial_zb.hypotheses.nonnested import j_test as j_test
from spatial_zb.hypotheses.nonnested import vuong_test as vuong_test
from spatial_zb.hypotheses.over_time import serial_correlation as serial_correlation
from spatial_zb.models.dynamic import stability_test as stability_test

__all__ = sorted(name for name, item in globals().items() if inspect.isfunction(item))


def __dir__() -> list[str]:
    return __all__
