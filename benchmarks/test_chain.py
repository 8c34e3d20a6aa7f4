"""Bootstrap p-values of the test chain, panels tested together beside panels tested one by one, in one run.

    python benchmarks/test_chain.py

Prints processor seconds and their ratio; both ways draw the same panels, and their p-values are compared. One by one only a
fifth of the draws is timed and multiplied up. Set OPENBLAS_NUM_THREADS=1 for times of one core.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

import spatial_zb as zb
from spatial_zb.hypotheses import nulls
from spatial_zb.hypotheses.replicated import PREPIVOTED

DRAWS, SHARE = 995, 5
SHAPES = ((11, 11), (41, 13), (90, 20))


def processor(call) -> tuple[float, zb.TestTable]:
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


@contextmanager
def one_by_one() -> Iterator[None]:
    """Nulls whose panels have streams of their own, tested one by one."""
    kept = dict(nulls.NULLS)
    nulls.NULLS.update(
        {
            name: replace(null, together=lambda case: False) if null.apart else null
            for name, null in kept.items()
        }
    )
    try:
        yield
    finally:
        nulls.NULLS.update(kept)


def neighbours(n: int) -> zb.Weights:
    """Two on either side of a circle."""
    A = sum(np.roll(np.eye(n), step, axis=1) for step in (-2, -1, 1, 2))
    return zb.as_weights(A, [f"{i:03d}" for i in range(n)]).standardise("row")


def main() -> None:
    warnings.simplefilter("ignore", zb.SpatialZbWarning)
    print("units × periods   together, s   one by one, s   ratio   largest difference of p")
    for n, T in SHAPES:
        W = neighbours(n)
        panel = zb.simulate.durbin(W, T, {"a": 1.0, "b": -0.5, "c": 0.3}, rho=0.3, rng=1)
        spec = zb.DurbinSpec("y", ["a", "b", "c"], fixed_effects="two_way")
        zb.diagnose(spec, panel, W)  # eigenvalues of W
        chain = partial(zb.diagnose, spec, panel, W, rng=1)
        together, _ = processor(partial(chain, replicates=DRAWS))
        few = chain(replicates=DRAWS // SHARE)
        with one_by_one():
            alone, again = processor(partial(chain, replicates=DRAWS // SHARE))
        drawn = [
            (one.p_bootstrap, other.p_bootstrap)
            for one, other in zip(few.rows, again.rows, strict=True)
            if one.test not in PREPIVOTED and np.isfinite(one.p_bootstrap)
        ]
        apart = max(abs(one - other) for one, other in drawn)
        print(
            f"{n:5} × {T:<9} {together:11.2f} {alone * SHARE:15.1f} {alone * SHARE / together:7.0f} {apart:25.0e}"
        )


if __name__ == "__main__":
    main()
