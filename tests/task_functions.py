"""Tasks that the tests of ``execute`` send to other processes, which import them by name."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np

from spatial_zb.base.errors import DataError, SpatialZbWarning


def square(x):
    return x * x


def draw(x, seed):
    return x + float(np.random.default_rng(seed).normal())


def table(task):
    """A table and more; leaves a mark in the folder, so that a test can count the calls."""
    import pandas as pd  # not at the top: what a new worker loads is waited for

    folder, n = task
    (Path(folder) / f"{n}-{time.monotonic_ns()}").touch()
    frame = pd.DataFrame(
        {"term": ["a", "b", None][:n], "estimate": [0.1, np.nan, 3.0][:n], "ok": [True, False, True][:n]}
    )
    return {"frame": frame, "array": np.arange(6).reshape(2, 3) * n, "reason": "", "n": n}


def slow_table(task):
    time.sleep(0.05)
    return table(task)


def die_once(task):
    folder, i = task
    mark = Path(folder) / "died"
    if i == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def block_after_a_death(folder, block):
    """The cells of a grid; the first worker that is asked for any dies."""
    from spatial_zb.compare.cells import fit_block

    mark = Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_block(block)


def die(i):
    if i == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def wait(i):
    time.sleep(0.05)
    return i


def complain(i):
    warnings.warn(SpatialZbWarning("read this", "请看"), stacklevel=1)
    if i == 3:
        raise ValueError("three")
    return i


def warn(i):
    warnings.warn(SpatialZbWarning("read this", "请看"), stacklevel=1)
    return i


def numbered_task(number: int, slow: float = 0.0) -> tuple[int, int]:
    time.sleep(slow)
    if number == 3:
        warn(number)
    return number, os.getpid()


def refuse(number: int) -> None:
    raise DataError(f"no {number}", f"没有{number}")


def end_the_other(first: int) -> str:
    if os.getpid() != first:
        os._exit(9)
    return "done by the first"


class OddError(Exception):
    """Can be sent to another process, and not read there."""

    def __init__(self, number: int, more: str) -> None:
        super().__init__(f"odd {number}")


def refuse_oddly(number: int) -> None:
    raise OddError(number, "more")
