"""Numbers of two programs side by side: the record of them, and why they differ."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Kind, Note
from spatial_zb.base.printing import Printed
from spatial_zb.base.text import Language, Text

#: Numbers that differ by less than this share of a standard error, or of themselves, differ by rounding: both programs
#: stop their searches for ρ and λ near 1e-7 of its value.
ROUNDING = 1e-3
#: More columns than these are no dummies any more.
MOST_DUMMIES = 1200
#: Of the permutations of esda, so that a comparison gives the same numbers again.
SEED = 20190101


@dataclass(frozen=True, slots=True)
class Line:
    """One number by both programs; ``reasons`` say why they differ, none where it is by rounding alone."""

    term: str
    quantity: str
    ours: float
    theirs: float
    reasons: tuple[Note, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Crosscheck(Printed):
    """The numbers of two programs side by side.

    Attributes
    ----------
    what
        What was compared, in words.
    program, version, call
        The other program, and what of it was called.
    lines
        One :class:`Line` for each number.
    """

    what: Text
    program: str
    version: str
    call: str
    lines: tuple[Line, ...]

    def tidy(self, language: Language = "en") -> pd.DataFrame:
        """One row per number: ``term, quantity, ours, theirs, difference, reason``; the reason is blank for rounding."""
        rows = [
            {
                "term": line.term,
                "quantity": line.quantity,
                "ours": line.ours,
                "theirs": line.theirs,
                "difference": line.ours - line.theirs,
                "reason": "; ".join(note.text.pick(language) for note in line.reasons),
            }
            for line in self.lines
        ]
        return pd.DataFrame(rows)

    def glance(self) -> pd.DataFrame:
        """One row: the other program, how many numbers agree, differ for a known reason, and for none."""
        known = [bool(line.reasons) for line in self.lines]
        bare = [any(note.kind is unexplained for note in line.reasons) for line in self.lines]
        return pd.DataFrame(
            [
                {
                    "program": f"{self.program} {self.version}",
                    "call": self.call,
                    "numbers": len(self.lines),
                    "agree": known.count(False),
                    "explained": known.count(True) - bare.count(True),
                    "unexplained": bare.count(True),
                }
            ]
        )

    @property
    def reasons(self) -> tuple[Note, ...]:
        """Every reason, once."""
        return tuple(dict.fromkeys(note for line in self.lines for note in line.reasons))


# Reasons --------------------------------------------------------------------------------------------------


@Kind
def transformation(effects: str) -> Text:
    """Fixed effects taken out by the transform, or estimated as dummies."""
    return Text(
        "ours takes fixed effects out by the Lee–Yu transform, spreg leaves their degrees of freedom in "
        '(estimator="direct" gives its numbers)',
        '本程序以Lee–Yu变换消去固定效应，spreg未扣除其自由度（estimator="direct"给出相同数值）',
    )


@Kind
def other_covariance(ours: str, theirs: str) -> Text:
    """Another covariance of the same estimate."""
    return Text(
        f'standard errors of spreg are by covariance="{theirs}", ours by "{ours}"',
        f'spreg的标准误相当于covariance="{theirs}"，本程序为"{ours}"',
    )


@Kind
def many_instruments() -> Text:
    """Moments less the bias of many instruments."""
    return Text(
        "our moments are less the bias of many instruments (bias_correction=False gives the textbook estimator)",
        "本程序的矩条件扣除了多工具变量的偏差（bias_correction=False给出教科书估计量）",
    )


@Kind
def other_moments(covariance: str) -> Text:
    """λ by other moments."""
    return Text(
        'spreg\'s moments of λ allow for unequal variances, as ours by covariance="robust" do; those by '
        f'"{covariance}" do not',
        f'spreg的λ矩条件容许异方差，与本程序covariance="robust"相同；"{covariance}"则假定同方差',
    )


@Kind
def other_estimator(theirs: str) -> Text:
    """Another estimator altogether."""
    return Text(
        f"spreg has no maximum likelihood of this model; {theirs} estimates the same coefficients by moments",
        f"spreg没有该模型的极大似然估计；{theirs}为矩估计，以另一方法估计同一组系数",
    )


@Kind
def degrees_of_freedom(ours: int, theirs: int) -> Text:
    """σ² over other numbers of observations."""
    return Text(
        f"our σ² is over {ours} degrees of freedom, spreg's over {theirs}",
        f"本程序的σ²除以{ours}个自由度，spreg除以{theirs}",
    )


@Kind
def pseudo_p(permutations: int) -> Text:
    """Pseudo p-values of one or two sides."""
    return Text(
        f"esda's pseudo p-value is one-sided and ours two-sided, and both are of random permutations (esda: {permutations})",
        f"esda的伪p值为单侧，本程序为双侧，且都来自随机置换（esda：{permutations}次）",
    )


@Kind
def islands(count: int) -> Text:
    """Units without neighbours."""
    return Text(
        f"{count} unit(s) without neighbours count in esda and not here",
        f"{count}个没有邻居的地区计入esda，而不计入本程序",
    )


@Kind
def dummies_kept(effects: str) -> Text:
    """LM tests after a transform, or of residuals beside dummies."""
    return Text(
        "ours are of data without their fixed effects (N and the traces of W are those of the deviations), spreg's of "
        "dummies, which count as if they were no estimates",
        "本程序的LM检验基于消去固定效应后的数据（N与W的迹按离差计算），spreg基于虚拟变量，未计其估计所耗自由度",
    )


@Kind
def islands_are_components(count: int) -> Text:
    """Units without neighbours as components."""
    return Text(
        f"libpysal counts each of the {count} unit(s) without neighbours as a component",
        f"libpysal将{count}个没有邻居的地区各计为一个连通分支",
    )


@Kind
def density() -> Text:
    """The share of links, of all pairs or of all cells."""
    return Text(
        "ours is the share of the n(n − 1) pairs of units, libpysal's of all n² cells",
        "本程序为占n(n − 1)个地区对的比例，libpysal为占全部n²个元素的比例",
    )


@Kind
def unexplained() -> Text:
    """A difference that is not understood."""
    return Text(
        "no reason is known: please report it",
        "原因不明：请反馈",
    )


def lacks(what: Text, program: str = "spreg") -> SpecificationError:
    return SpecificationError(
        f"{program} has no {what.en}, so there is nothing to compare with.",
        f"{program}没有{what.zh}，无从比较。",
    )


def program(name: str) -> Any:
    """The other program, or how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SpecificationError(
            f"crosscheck needs {name}, which is not installed: pip install 'spatial-zb[crosscheck]'.",
            f"crosscheck需要{name}，而它尚未安装：pip install 'spatial-zb[crosscheck]'。",
        ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The other program prints, warns, and draws from the random numbers of NumPy that all share, which stay as they are."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.set_state(np.random.RandomState(SEED).get_state())  # noqa: NPY002 - what esda draws from
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def pysal(matrix: Any) -> Any:
    """The same W, in the order of its rows, as a new object that may be altered."""
    from libpysal.weights import WSP

    return WSP(sparse.csr_matrix(matrix)).to_W(silence_warnings=True)


def lines_of(
    terms: Sequence[str],
    quantity: str,
    numbers: Sequence[NDArray],
    scale: NDArray,
    reasons: tuple[Note, ...],
) -> list[Line]:
    """Lines of ``numbers``: ours, ours under the conventions of the other program, and theirs."""
    lines = []
    for term, ours, twin, theirs, size in zip(terms, *numbers, scale, strict=True):
        if abs(ours - theirs) <= ROUNDING * size:
            why: tuple[Note, ...] = ()
        elif reasons and (abs(twin - theirs) <= ROUNDING * size or reasons[0].kind is other_estimator):
            why = reasons
        else:
            why = (unexplained(),)
        lines.append(Line(str(term), quantity, float(ours), float(theirs), why))
    return lines


def dummies(T: int, n: int, effects: str) -> NDArray:
    """Columns (T·n, m) of the fixed effects less one, beside an intercept."""
    unit, time = np.tile(np.eye(n)[:, 1:], (T, 1)), np.repeat(np.eye(T)[:, 1:], n, axis=0)
    blocks = {"none": [], "unit": [unit], "time": [time], "two_way": [unit, time]}[effects]
    if sum(block.shape[1] for block in blocks) > MOST_DUMMIES:
        raise SpecificationError(
            f"spreg would need more than {MOST_DUMMIES} dummies for these effects. Compare a part of the units.",
            f"spreg须为这些效应设{MOST_DUMMIES}个以上的虚拟变量。请只比较部分地区。",
        )
    return np.hstack([np.zeros((T * n, 0)), *blocks])
