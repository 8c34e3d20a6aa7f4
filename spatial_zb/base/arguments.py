"""Arguments that many functions take, each checked in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.notes import warn_old

#: What an argument ``rng`` may be: a seed, or a generator that goes on from where it stands.
Rng = int | np.random.SeedSequence | np.random.Generator | None
#: Draws from which percentile limits can be read.
FEWEST_DRAWS = 100

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take arguments by their names of the last release: ``@renamed(alpha="level")``.

    An argument given by its old name is passed on under the new one, with a ``DeprecationWarning`` that names it;
    ``alpha`` for ``level`` is turned into 1 − alpha.

    >>> @renamed(alpha="level")
    ... def interval(level: float = 0.95) -> float:
    ...     return level
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     interval(alpha=0.1)
    0.9
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def called(*args: Any, **given: Any) -> R:
            for old in names.keys() & given.keys():
                new, value = names[old], given.pop(old)
                if new in given:
                    raise SpecificationError(
                        f"{function.__name__}: {old} is the old name of {new}; give {new} only.",
                        f"{function.__name__}：{old}是{new}的旧名；请只给出{new}。",
                    )
                warn_old(f"{function.__name__}({old}=…) is now {function.__name__}({new}=…).")
                if (old, new) == ("alpha", "level"):
                    check_alpha(value)
                    value = 1 - value
                given[new] = value
            return function(*args, **given)

        return called

    return wrap


def gathered(into: str, join: Callable[..., Any], *names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take arguments of the last release that are now part of one: ``@gathered("at", Point.of, "x")``.

    ``join(value, **old)`` gives the argument ``into`` from the value it has (its default where it was not given) and
    the old arguments; a ``DeprecationWarning`` names it.

    >>> @gathered("ends", lambda ends, **old: {**ends, **old}, "low", "high")
    ... def width(ends: dict = {"low": 0, "high": 1}) -> float:
    ...     return ends["high"] - ends["low"]
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     width(high=3)
    3
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        place, default = list(parameters).index(into), parameters[into].default

        @functools.wraps(function)
        def called(*args: Any, **given: Any) -> R:
            old = {name: given.pop(name) for name in names if name in given}
            if not old:
                return function(*args, **given)
            shown = ", ".join(f"{name}=…" for name in old)
            warn_old(
                f"{function.__name__}({shown}) is now part of the argument {into} of {function.__name__}; its "
                "docstring says how to give it.",
            )
            if len(args) > place:
                args = (*args[:place], join(args[place], **old), *args[place + 1 :])
            elif into in given or default is not inspect.Parameter.empty:
                given[into] = join(given.get(into, default), **old)
            return function(*args, **given)

        return called

    return wrap


def need_columns(frame: Any, names: Iterable[object]) -> None:
    """Refuse a table that lacks a column.

    Raises
    ------
    DataError
        Naming those that are not there, and those that are.
    """
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DataError(
            f"The table has no column {listed(map(repr, absent))}; it has {listed(frame.columns)}.",
            f"表中没有列{listed_zh(map(repr, absent))}；已有{listed_zh(frame.columns)}。",
        )


def check_level(level: float) -> None:
    """Refuse an invalid confidence level, such as 95, with which every limit would be blank.

    Raises
    ------
    SpecificationError
        ``level`` is not between 0 and 1.
    """
    if not (_is_number(level) and 0 < level < 1):
        raise SpecificationError(
            f"level is the confidence level, between 0 and 1 (0.95 for 95 %), not {level!r}.",
            f"level为置信水平，在0与1之间（95%时为0.95），而不是{level!r}。",
        )


def alpha_of(level: float) -> float:
    """One minus a confidence level, rounded so that 1 − 0.95 is 0.05.

    >>> alpha_of(0.95)
    0.05

    Raises
    ------
    SpecificationError
        ``level`` is not between 0 and 1.
    """
    check_level(level)
    return round(1 - level, 15)


def check_alpha(alpha: float) -> None:
    """Refuse an invalid confidence level, such as 95, with which every limit would be blank.

    Raises
    ------
    SpecificationError
        ``alpha`` is not between 0 and 1.
    """
    if not (_is_number(alpha) and 0 < alpha < 1):
        raise SpecificationError(
            f"alpha is one minus the confidence level, between 0 and 1 (0.05 for 95 %), not {alpha!r}.",
            f"alpha为1减去置信水平，在0与1之间（95%时为0.05），而不是{alpha!r}。",
        )


def check_count(value: int, name: str, least: int) -> None:
    """Refuse a count that is not a whole number or is too small.

    Raises
    ------
    SpecificationError
        ``value`` is not a whole number from ``least``.
    """
    if not _is_whole(value):
        raise SpecificationError(
            f"{name} must be a whole number, not {value!r}.", f"{name}须为整数，而不是{value!r}。"
        )
    if value < least:
        raise SpecificationError(
            f"{name} must be at least {least}, not {value}.", f"{name}至少为{least}，而不是{value}。"
        )


def check_draws(draws: int) -> None:
    """Refuse a number of draws that is too small for percentile limits or not a whole number.

    Raises
    ------
    SpecificationError
        ``draws`` is not a whole number from 100.
    """
    if not (_is_whole(draws) and draws >= FEWEST_DRAWS):
        raise SpecificationError(
            f"draws must be at least {FEWEST_DRAWS} for percentile limits, and a whole number, not {draws!r}.",
            f"百分位区间的draws须为不小于{FEWEST_DRAWS}的整数，而不是{draws!r}。",
        )


def check_orders(orders: int) -> None:
    """Refuse an invalid highest power of W.

    Raises
    ------
    SpecificationError
        ``orders`` is not a whole number from zero.
    """
    if not (_is_whole(orders) and orders >= 0):
        raise SpecificationError(
            f"orders must be a whole number, 0 or more, not {orders!r}.",
            f"orders须为非负整数，而不是{orders!r}。",
        )


def random_generator(rng: Any) -> np.random.Generator:
    """Make a generator from a seed; give a generator back unchanged.

    Raises
    ------
    SpecificationError
        ``rng`` is an invalid seed.
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise _no_seed(rng, "rng") from None


def seed_of(rng: Any, name: str = "rng") -> np.random.SeedSequence:
    """Make the seed sequence from which tasks draw their streams; ``name`` is the argument's name in errors.

    A sequence that a caller holds is copied, so that it counts no children and a second call draws the same. A generator
    gives its next numbers as a seed and goes on behind them, so that a second call draws others.

    Raises
    ------
    SpecificationError
        ``rng`` is an invalid seed.
    """
    try:
        if isinstance(rng, np.random.Generator):
            return np.random.SeedSequence([int(word) for word in rng.integers(2**32, size=4)])
        if isinstance(rng, np.random.SeedSequence):
            return np.random.SeedSequence(rng.entropy, spawn_key=rng.spawn_key, pool_size=rng.pool_size)
        return np.random.SeedSequence(rng)
    except (TypeError, ValueError):
        raise _no_seed(rng, name) from None


def child_of(seed: np.random.SeedSequence, place: int) -> np.random.SeedSequence:
    """The stream at one place below a seed, without counting up the seed's own children."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, place), pool_size=seed.pool_size)


def _no_seed(rng: Any, name: str) -> SpecificationError:
    return SpecificationError(
        f"{name} must be a whole number from zero, a numpy.random.SeedSequence or a Generator, not {rng!r}.",
        f"{name}须为非负整数、numpy.random.SeedSequence或Generator，而不是{rng!r}。",
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
