"""How a result shows itself where it is printed or ends a notebook cell: what it is, and its table."""

from __future__ import annotations

import html
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd

from spatial_zb.base import through_door
from spatial_zb.base.errors import SpatialZbError, SpatialZbWarning, not_one_of

#: Rows that are shown; of a longer table the first and the last ones. Texts longer than ``LONG`` are left to ``tidy()``.
ROWS, WIDTH, LONG = 60, 110, 50
#: What ``glance()`` knows of the fit behind a result and the result need not repeat.
LEFT_OUT = ("covariance", "log_likelihood", "aic", "bic", "sigma2", "r2_within")


class Printed:
    """A result with ``tidy()`` or ``table()``, and perhaps ``glance()``, printed as a table instead of as its fields.

    Numbers are shown with four digits, the object keeps them in full precision. What cannot be computed is said in the
    place of the table: showing an object never raises.
    """

    def __repr__(self) -> str:
        head, table, notes = self._parts()
        lines = [type(self).__name__, *textwrap.wrap(head, WIDTH)]
        if table is not None:
            long = [name for name, column in table.items() if _longest(column) > LONG]
            with pd.option_context("display.unicode.east_asian_width", True):
                text = table.drop(columns=long).to_string(
                    index=_named(table), na_rep="–", float_format=_digits, max_rows=ROWS, min_rows=ROWS
                )
            lines += ["", text]
            notes += [f"not shown: {', '.join(map(str, long))}"] if long else []
        return "\n".join([*lines, *notes])

    def _repr_html_(self) -> str:
        return shown_in_html(type(self).__name__, *self._parts())

    def _parts(self) -> tuple[str, pd.DataFrame | None, list[str]]:
        """What it is in one line, its table (None where it has none) and what has to be said of it."""
        notes: list[str] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpatialZbWarning)
            try:
                table = self._body()
            except SpatialZbError as error:
                table, notes = None, [str(error)]
            head = self._head()
        notes += dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, SpatialZbWarning))
        if table is not None and len(table) > ROWS:
            notes.append(f"{ROWS} of {len(table):,} rows")
        return head, table, notes

    def _body(self) -> pd.DataFrame:
        """The table that is shown."""
        return getattr(self, "tidy" if hasattr(self, "tidy") else "table")()

    def _head(self) -> str:
        """What ``glance()`` says, where it has one row."""
        glance = self.glance() if hasattr(self, "glance") else pd.DataFrame()
        if len(glance) != 1:
            return ""
        known = glance.iloc[0].dropna().drop(list(LEFT_OUT), errors="ignore")
        return " · ".join(f"{key.replace('_', ' ')} {written(value)}" for key, value in known.items())


class Drawn:
    """A result that is drawn, by :mod:`spatial_zb.report.plots`; ``pictures`` are its kinds, the usual one first."""

    pictures: ClassVar[tuple[str, ...]] = ()

    def plot(
        self,
        kind: str = "",
        *,
        terms: Sequence[str] | None = None,
        periods: Sequence[int] | None = None,
        regions: Any = None,
        look: Any = None,
    ) -> Any:
        """Draw the result.

        Parameters
        ----------
        kind
            One of ``pictures``; the first without it.
        terms
            Variables to show, from top to bottom; of ``"map"`` the one whose effect is mapped.
        periods
            Those to show.
        regions
            Polygons indexed by unit id, for maps; a scatter takes the names of units from them.
        look
            Words, style and language, see :class:`~spatial_zb.report.drawing.frame.Look`.

        Returns
        -------
        Drawing, which shows itself in a notebook; ``.save("name.pdf")`` writes it, ``.figure`` is matplotlib's.

        Raises
        ------
        SpecificationError
            An unknown kind, or a map without ``regions``.
        """
        wanted = kind or self.pictures[0]
        if wanted not in self.pictures:
            raise not_one_of("kind", kind, self.pictures)
        return through_door("plot", "draw")(
            self, wanted, terms=terms, periods=periods, regions=regions, look=look
        )


def shown_in_html(kind: str, head: str, table: pd.DataFrame | None, notes: Sequence[str] = ()) -> str:
    """What ends a notebook cell: what it is, its table and what has to be said of it, all of it escaped."""
    said = html.escape(head).replace("\n", "<br>")
    parts = [f"<p><b>{html.escape(kind)}</b><br>{said}</p>"]
    if table is not None:
        with pd.option_context("display.min_rows", ROWS):
            parts.append(
                table.to_html(
                    index=_named(table),
                    na_rep="–",
                    float_format=_digits,
                    max_rows=ROWS,
                    border=0,
                    escape=True,
                )
            )
    return "\n".join([*parts, *(f"<p>{html.escape(note)}</p>" for note in notes)])


def _longest(column: pd.Series) -> int:
    """Characters of the longest text of a column; zero where it holds none."""
    return max((len(value) for value in column if isinstance(value, str)), default=0)


def _named(table: pd.DataFrame) -> bool:
    """Whether the index holds labels (units or periods) rather than positions."""
    return not isinstance(table.index, pd.RangeIndex)


def _digits(value: float) -> str:
    return f"{value:.4g}"


def written(value: object) -> str:
    """A fact of a result in a line of text: four digits of a number with decimals."""
    return _digits(value) if isinstance(value, float) else str(value)
