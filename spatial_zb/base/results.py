"""Kinds of results that many rooms give: a table of tests, a table of numbers, and one of estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from spatial_zb.base.arguments import check_alpha
from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Note, warn_old
from spatial_zb.base.printing import Printed
from spatial_zb.base.text import Language, Text

NAN = float("nan")


class Law(Protocol):
    """A law of t statistics that is no Student's t."""

    def tail(self, statistic: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(t > s) of statistics s ≥ 0."""
        ...

    def radii(self, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """What a standard normal value is multiplied by to have this law (draws,)."""
        ...

    def quantile(self, share: float) -> float:
        """s with P(t > s) = share < 0.5."""
        ...


#: Degrees of freedom of Student's t: of all estimates, or an array of each's, infinity the normal law; None all normal.
Degrees = NDArray[np.float64] | float | Law | None
TABLE_COLUMNS = pd.Index(["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"])
NOTHING = Text("", "")


class Former:
    """A result that was a bare frame, series or dict in the last release, and answers like it for one release more.

    ``result["p_value"]``, ``result.loc[...]`` and the like are passed on to :meth:`former`, with a
    ``DeprecationWarning`` that names ``tidy()``.
    """

    def former(self) -> Any:
        """What the function gave in the last release; None where it gave this kind of result already."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> Any:
        return self._passed_on(f"[{key!r}]")[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._passed_on(" as a sequence"))

    if not TYPE_CHECKING:  # a type checker sees the attributes that stay

        def __getattr__(self, name: str) -> Any:
            old = None if name.startswith("_") else self.former()
            if not hasattr(old, name):
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
            return getattr(self._passed_on(f".{name}"), name)

    def _passed_on(self, how: str) -> Any:
        old, kind = self.former(), type(self).__name__
        if old is None:
            raise TypeError(f"{kind} is read by its tidy(), not {how.strip()}.")
        warn_old(
            f"This result is a {kind} now, no bare {type(old).__name__}: read its tidy() in place of the result{how}."
        )
        return old


@dataclass(frozen=True, slots=True)
class Row:
    """One test; ``p_value`` is NaN where the number is not a test or could not be computed.

    Attributes
    ----------
    test
        Its name in English, by which :meth:`TestTable.row` finds it.
    of
        The variable, period or model that it is of, where there are several rows of one test.
    p_bootstrap
        Share of samples drawn under the null whose statistic is as far out; NaN without a bootstrap.
    more
        Further columns of the table.
    """

    test: str
    statistic: float
    df: float
    p_value: float
    note: Text = NOTHING
    of: str = ""
    p_bootstrap: float = NAN
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def p(self) -> float:
        """The p-value to read: the bootstrap's where there is one."""
        return self.p_bootstrap if np.isfinite(self.p_bootstrap) else self.p_value

    def named(self, labels: Mapping[str, Text], words: Mapping[str, Text]) -> Text:
        """The test's name in ``words``, with its variable in those of ``labels``, a spatial lag as W × them."""
        name, of = words.get(self.test, Text.of(self.test)), Text.of(self.of) if self.of else NOTHING
        if self.of == "pooled":
            of = Text("pooled", "（混合）")
        elif self.of in labels:
            of = labels[self.of]
        elif self.of.removeprefix("W_") in labels:
            label = labels[self.of.removeprefix("W_")]
            of = Text(f"W × {label.en}", f"W × {label.zh}")
        return Text(f"{name.en} {of.en}".strip(), f"{name.zh} {of.zh}".strip())


#: How a table is put in sentences: the table, the language ("both": one after the other), words for variables.
Reading = Callable[["TestTable", Literal["en", "zh", "both"], Mapping[str, Text] | None], str]


@dataclass(frozen=True, eq=False, repr=False)
class TestTable(Former, Printed):
    """Tests, in the order in which they are read.

    Attributes
    ----------
    facts
        What was tested, by name: the row of ``glance()``.
    words
        Names of the tests in both languages, where they differ from the English one.
    replicates
        Of the bootstrap behind ``p_bootstrap``; 0 without one.
    reading
        Puts the table in sentences, for :meth:`recommend`.
    notes
        What a reader of the table should know, as it was warned of.
    old
        What the function gave in the last release, where that was something else.

    >>> found = TestTable((Row("Wald", 4.2, 1, 0.04),), {"y": "industry"})
    >>> found.row("Wald").p_value
    0.04
    """

    __test__: ClassVar[bool] = False  # not a test case, whatever a test runner thinks of its name

    rows: tuple[Row, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, Text] = field(default_factory=dict)
    replicates: int = 0
    reading: Reading | None = None
    notes: tuple[Note, ...] = ()
    old: pd.DataFrame | pd.Series | None = None

    def tidy(self, language: Language = "en", labels: Mapping[str, Text] | None = None) -> pd.DataFrame:
        """Columns test, statistic, df, p_value, note, then what a test has beside; after a bootstrap p_bootstrap.

        Names and notes are in one language; ``labels`` gives words for variables.
        """
        records = [
            {
                "test": row.named(labels or {}, self.words).pick(language),
                "statistic": row.statistic,
                "df": row.df,
                "p_value": row.p_value,
                **({"p_bootstrap": row.p_bootstrap} if self.replicates else {}),
                "note": row.note.pick(language),
                **row.more,
            }
            for row in self.rows
        ]
        return pd.DataFrame(
            records, columns=None if records else ["test", "statistic", "df", "p_value", "note"]
        )

    def glance(self) -> pd.DataFrame:
        """What was tested, in one row."""
        return pd.DataFrame([{**self.facts, "tests": len(self.rows)}])

    def row(self, test: str, of: str | None = None) -> Row | None:
        """The first row of a test, or that ``of`` one variable, period or model; None when the table does not have it."""
        return next((row for row in self.rows if row.test == test and of in (None, row.of)), None)

    def recommend(
        self, language: Literal["en", "zh", "both"] = "en", labels: Mapping[str, Text] | None = None
    ) -> str:
        """The chain in sentences: what each step says, with its statistic, and the model it points to.

        ``labels``: words for variables and for W by their names.

        Raises
        ------
        SpecificationError
            The table is not of a test chain; another language.
        """
        if self.reading is None:
            raise SpecificationError(
                "Only the test chain of zb.diagnose points to a model; read tidy() here.",
                "只有zb.diagnose的检验链会指向某个模型；此处请用tidy()。",
            )
        return self.reading(self, language, labels)

    def former(self) -> pd.DataFrame | pd.Series | None:
        """The frame or series of the last release; None of the test chain, which was a table of tests already."""
        return self.old

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False, repr=False)
class ResultTable(Former, Printed):
    """Numbers in rows and columns, which the function that gives them describes.

    Attributes
    ----------
    frame
        The numbers.
    facts
        What they are of, by name: the row of ``glance()``.
    """

    frame: pd.DataFrame
    facts: Mapping[str, Any] = field(default_factory=dict)

    def tidy(self) -> pd.DataFrame:
        """The numbers; a copy, which may be changed."""
        return self.frame.copy()

    def glance(self) -> pd.DataFrame:
        """What the numbers are of, in one row."""
        return pd.DataFrame([dict(self.facts)])

    def former(self) -> pd.DataFrame:
        """The frame that the last release gave."""
        return self.frame

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, eq=False, repr=False)
class ConfidenceSet(Former, Printed):
    """All values of one quantity that a test does not reject: an interval, several, the whole line, or none.

    Attributes
    ----------
    term, estimate
        The coefficient or effect, and its estimate.
    pieces
        Ends of each interval in ascending order; none where every value is rejected.
    bounds
        Ends of what is admissible: a piece that reaches one is open there, the data do not bound it.
    level, critical
        Confidence level, and the critical value of the test that is inverted.
    facts
        What else it is of, by name: part of ``glance()``.
    guaranteed
        Pieces of the set by projection, which keeps its level whatever the data, where ``pieces`` are those of a shorter
        one; None where there is one set.

    >>> found = ConfidenceSet("rho", 0.3, ((-1.0, 0.1), (0.2, 0.6)), (-1.0, 1.0), 0.95, 3.84)
    >>> found.conf_high, found.is_open, 0.15 in found, found.bounded
    (0.6, (True, False), False, False)
    >>> found.shape, found.words()
    ('pieces', 'up to 0.100, or between 0.200 and 0.600')
    """

    term: str
    estimate: float
    pieces: tuple[tuple[float, float], ...]
    bounds: tuple[float, float]
    level: float
    critical: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    guaranteed: tuple[tuple[float, float], ...] | None = None

    @property
    def conf_low(self) -> float:
        """The lowest value that is not rejected; NaN of an empty set."""
        return self.pieces[0][0] if self.pieces else NAN

    @property
    def conf_high(self) -> float:
        """The highest value that is not rejected; NaN of an empty set."""
        return self.pieces[-1][1] if self.pieces else NAN

    @property
    def is_open(self) -> tuple[bool, bool]:
        """Whether the lowest and the highest admissible value are not rejected."""
        return self.conf_low <= self.bounds[0], self.conf_high >= self.bounds[1]

    @property
    def bounded(self) -> bool:
        """Whether the data bound it on both sides; an empty set is bounded."""
        return not any(self.is_open)

    @property
    def shape(self) -> Literal["empty", "interval", "whole", "ray", "gap", "pieces"]:
        """One interval, every admissible value (``whole``), one side (``ray``), all but a ``gap``, or several ``pieces``."""
        ends = sum(self.is_open)
        if len(self.pieces) < 2:
            return ("interval", "ray", "whole")[ends] if self.pieces else "empty"
        return "gap" if len(self.pieces) == ends == 2 else "pieces"

    @property
    def sign(self) -> int:
        """1 or −1 where all values that are not rejected have this sign; 0 where the sign is not known."""
        return int(self.conf_low > 0) - int(self.conf_high < 0)

    @property
    def projection(self) -> ConfidenceSet:
        """The guaranteed set as one of its own; itself where there is one set."""
        return self if self.guaranteed is None else replace(self, pieces=self.guaranteed, guaranteed=None)

    def words(self, language: Language = "en", digits: int = 3) -> str:
        """The set in words: ``between a and b``, ``every value``, ``every value but those between a and b``, …"""
        if self.shape == "empty":
            return Text("none: the data reject every value", "空集：数据拒绝任何取值").pick(language)
        if self.shape == "whole":
            return Text("every value", "任何取值").pick(language)
        shown = [[f"{end:.{digits}f}" for end in piece] for piece in self.pieces]
        if self.shape == "gap":
            low, high = shown[0][1], shown[1][0]
            gap = Text(
                f"every value but those between {low} and {high}", f"除{low}与{high}之间以外的任何取值"
            )
            return gap.pick(language)
        parts = [Text(f"between {low} and {high}", f"{low}至{high}之间") for low, high in shown]
        if self.is_open[0]:
            parts[0] = Text(f"up to {shown[0][1]}", f"不大于{shown[0][1]}")
        if self.is_open[1]:
            parts[-1] = Text(f"from {shown[-1][0]} upwards", f"不小于{shown[-1][0]}")
        return Text(", or ".join(part.en for part in parts), "，或".join(part.zh for part in parts)).pick(
            language
        )

    def __contains__(self, value: float) -> bool:
        return any(low <= value <= high for low, high in self.pieces)

    def tidy(self) -> pd.DataFrame:
        """One row for each interval: term, estimate, conf_low, conf_high, open_low, open_high; blank limits if empty.

        With two sets a column ``set`` says whether a row is of the shorter one (``plug-in``) or the guaranteed one
        (``projection``).
        """
        kinds = {"": self.pieces}
        if self.guaranteed is not None:
            kinds = {"plug-in": self.pieces, "projection": self.guaranteed}
        rows = [
            (self.term, kind, self.estimate, low, high, low <= self.bounds[0], high >= self.bounds[1])
            for kind, pieces in kinds.items()
            for low, high in pieces or ((NAN, NAN),)
        ]
        columns = ["term", "set", "estimate", "conf_low", "conf_high", "open_low", "open_high"]
        frame = pd.DataFrame(rows, columns=columns)
        return frame if self.guaranteed is not None else frame.drop(columns="set")

    def glance(self) -> pd.DataFrame:
        """Confidence level, critical value, number of intervals, whether it is bounded, and what it is of."""
        own = {
            "level": self.level,
            "critical": self.critical,
            "pieces": len(self.pieces),
            "bounded": self.bounded,
        }
        return pd.DataFrame([own | dict(self.facts)])

    def former(self) -> pd.Series:
        """The Series of the last release, which knew two intervals at most."""
        gap = (self.pieces[0][1], self.pieces[1][0]) if len(self.pieces) > 1 else (NAN, NAN)
        ends = {"conf_low": self.conf_low, "conf_high": self.conf_high}
        opened = dict(zip(("open_low", "open_high"), self.is_open, strict=True))
        more = {"gap_low": gap[0], "gap_high": gap[1], "critical": self.critical}
        return pd.Series({"estimate": self.estimate} | ends | opened | more, name=self.term, dtype=object)


def coefficient_table(
    estimate: pd.Series, std_error: pd.Series, alpha: float = 0.05, df: Degrees = None
) -> pd.DataFrame:
    """Statistic, two-sided p-value and limits from estimates and standard errors; NaN stays NaN.

    With ``df`` by estimate they are a column of their own, after the errors that they belong to.
    """
    numbers = coefficient_columns(estimate.to_numpy(float), std_error.to_numpy(float), alpha, df)
    frame = pd.DataFrame(numbers, index=estimate.index, columns=TABLE_COLUMNS)
    return with_degrees(frame, df)


def with_degrees(frame: pd.DataFrame, df: Degrees) -> pd.DataFrame:
    """The frame with a column ``df`` beside ``std_error``, where each row has degrees of freedom of its own."""
    if isinstance(df, np.ndarray):
        frame.insert(frame.columns.get_loc("std_error") + 1, "df", df.ravel())
    return frame


def coefficient_columns(
    estimate: NDArray[np.float64], std_error: NDArray[np.float64], alpha: float, df: Degrees = None
) -> NDArray[np.float64]:
    """The numbers of :func:`coefficient_table` (p, 6), from arrays (p,); normal, or Student's t with df.

    >>> coefficient_columns(np.array([2.0, 2.0]), np.ones(2), 0.05, np.array([5.0, np.inf]))[:, 3].round(3)
    array([0.102, 0.046])
    """
    check_alpha(alpha)
    if isinstance(df, np.ndarray):
        std_error = np.where(np.isnan(df.ravel()), np.nan, std_error)  # with none known no error is claimed
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = estimate / std_error
    half = quantile(alpha / 2, df) * std_error
    return np.column_stack(
        [estimate, std_error, statistic, 2 * tail(np.abs(statistic), df), estimate - half, estimate + half]
    )


def tail(statistic: NDArray[np.float64], df: Degrees) -> NDArray[np.float64]:
    """P(t > s) of statistics s ≥ 0, (p,), under degrees of freedom or a law of their own."""
    normal = special.ndtr(-statistic)
    if df is None:
        return normal
    if not isinstance(df, np.ndarray | float | int):
        return df.tail(statistic)
    degrees = np.broadcast_to(np.ravel(df), statistic.shape)
    return np.where(np.isinf(degrees), normal, special.stdtr(degrees, -statistic))


def quantile(share: float, df: Degrees) -> NDArray[np.float64] | float:
    """s with P(t > s) = ``share``: one, or one for each estimate."""
    normal = -special.ndtri(share)
    if df is None:
        return float(normal)
    if not isinstance(df, np.ndarray | float | int):
        return df.quantile(share)
    degrees = np.ravel(df)
    return np.where(np.isinf(degrees), normal, -special.stdtrit(degrees, share))
