"""Every error the package raises on purpose. Nothing else escapes the public API for a bad input."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AlignmentError",
    "ConvergenceError",
    "DataError",
    "OutputError",
    "SpatialZbError",
    "SpatialZbWarning",
    "SpecificationError",
    "WeightsError",
    "WorkerError",
    "listed",
]


class SpatialZbError(Exception):
    """Base of all errors of this package; its message names the culprit and the remedy."""


class DataError(SpatialZbError):
    """A table, a polygon layer or a value in them cannot be used."""


class AlignmentError(SpatialZbError):
    """Units of two objects do not match by id."""


class WeightsError(SpatialZbError):
    """A spatial weights matrix cannot be built or used."""


class SpecificationError(SpatialZbError):
    """A model, an expression or a study file asks for something that is not defined."""


class ConvergenceError(SpatialZbError):
    """An estimator did not reach a solution that can be reported."""


class OutputError(SpatialZbError):
    """A result cannot be written."""


class WorkerError(SpatialZbError):
    """A worker process died again and again on one task."""


class SpatialZbWarning(UserWarning):
    """Said once, in words, when a result stands but its reader should know something."""


def listed(items: Iterable[object], limit: int = 8) -> str:
    """Join items for a message: ``"a, b, c and 4 more"``."""
    items = [str(item) for item in items]
    if len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} and {len(items) - limit} more"
