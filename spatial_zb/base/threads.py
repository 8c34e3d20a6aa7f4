"""Threads of linear algebra: one around the small matrices of this package, all of them around large ones."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: Dense matrices of at least so many rows gain from threads; below, waking them costs more than the work.
LARGE = 1000

_lock = threading.Lock()
_state: dict[str, Any] = {"inside": 0, "limit": None}


@functools.cache
def _libraries() -> Any:
    """The libraries of linear algebra in this process; looked up once, which takes 3 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Let a public function compute with one thread of linear algebra, and give back what the caller had set.

    The matrices of a fit have tens of rows. A library that wakes a thread for each of them takes many times as long, most of
    all where other programs use the processor. Calls inside such a call change nothing.

    >>> @one_thread
    ... def twice(x: int) -> int:
    ...     return 2 * x
    >>> twice(2)
    4
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with _one():
            return function(*args, **kwargs)

    return called


@contextmanager
def _one() -> Iterator[None]:
    """One thread, from the first caller to enter until the last one leaves: the number is one for the whole process."""
    with _lock:
        _state["inside"] += 1
        if _state["inside"] == 1:
            _state["limit"] = _libraries().limit(limits=1)
    try:
        yield
    finally:
        with _lock:
            _state["inside"] -= 1
            if not _state["inside"]:
                _state["limit"].restore_original_limits()
                _state["limit"] = None


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """The threads that the caller had, inside a call of :func:`one_thread`, where a dense matrix has many ``rows``."""
    outer = _state["limit"]
    if outer is None or rows < LARGE:
        yield
        return
    with _libraries().limit(limits=outer.get_original_num_threads()["blas"] or 1):
        yield
