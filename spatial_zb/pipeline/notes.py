"""What a run tells its reader beside the results."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from spatial_zb.errors import SpatialZbError, SpatialZbWarning
from spatial_zb.text import Text

__all__ = ["notes_of", "saying_where", "warn_undone"]


def notes_of(caught: Iterable[warnings.WarningMessage]) -> list[Text]:
    """This package's warnings in words, each once."""
    own = (w.message for w in caught if isinstance(w.message, SpatialZbWarning))
    return list(dict.fromkeys(Text(str(message), message.zh) for message in own))


@contextmanager
def saying_where(place: str) -> Iterator[None]:
    """Say of an error from here which part of the study or which file it is about, where its message does not."""
    try:
        yield
    except SpatialZbError as error:
        if place in str(error):
            raise
        raise type(error)(f"{place}: {error}", f"{place}：{error.zh}") from error


def warn_undone(what: Text, why: SpatialZbError | Text) -> None:
    """Say that a part of the study was left out, and why; the rest of the run goes on.

    ``what`` is the part, such as ``Text("No robustness battery", "未作稳健性检验")``.
    """
    en, zh = (why.en if isinstance(why, Text) else str(why)), why.zh
    warnings.warn(SpatialZbWarning(f"{what.en}: {en}", f"{what.zh}：{zh}"), stacklevel=3)
