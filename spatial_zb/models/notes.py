"""What a reader of a fit should know, said in one warning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from spatial_zb.base.errors import SpatialZbWarning, listed, listed_zh
from spatial_zb.base.text import Text

UNITS, PERIODS = Text("units", "地区"), Text("periods", "时期")

NOT_POSITIVE = Text(
    "the information matrix is not positive definite: no standard error is claimed",
    "信息矩阵非正定，不给出标准误",
)
NO_SOLUTION = Text(
    "the moments without the bias of many instruments have no solution near the textbook estimate, which is shown instead "
    "(bias_correction)",
    "扣除多工具变量偏误后的矩条件在教科书估计值附近无解，故仍报告后者（bias_correction）",
)
EXCHANGEABLE = Text(
    "ρ and λ cannot be told apart: without regressors whose spatial lags are new the likelihood is the same with the two "
    "exchanged; the one larger in absolute value is called ρ. Add regressors, or take a model with one spatial lag",
    "ρ与λ无法区分：没有能带来新空间滞后的解释变量时，两者互换似然不变；此处把绝对值较大者称为ρ。请加入解释变量，或用只含一种空间滞后的模型",
)
GNS_WEAK = Text(
    "GNS is weakly identified: prefer SDM, SDEM or SAC unless theory asks for all three lags",
    "GNS识别性弱：除非理论要求三种空间滞后并存，宜用SDM、SDEM或SAC",
)


@dataclass(frozen=True, slots=True)
class FitWords:
    """What a warning is about: ``SDM of 'y' by GMM under 'queen' (sample: Delta)``.

    ``how`` is with random effects, by GMM, or nothing; ``sample`` is set where a study has several.
    """

    subject: Text
    weights: str
    how: Text | None = None
    sample: Text | None = None

    @property
    def en(self) -> str:
        """All in English."""
        how = "" if self.how is None else f" {self.how.en}"
        sample = "" if self.sample is None else f" (sample: {self.sample.en})"
        return f"{self.subject.en}{how} under {self.weights!r}{sample}"

    @property
    def zh(self) -> str:
        """All in Chinese."""
        how = "" if self.how is None else f"{self.how.zh}，"
        sample = "" if self.sample is None else f"，样本：{self.sample.zh}"
        return f"{self.subject.zh}（{how}{self.weights!r}{sample}）"


def fit_words(kind: str, y: str, weights: str, how: Text | None = None) -> FitWords:
    """What a warning about one equation is about."""
    return FitWords(Text(f"{kind} of {y!r}", f"{y!r}的{kind}"), weights, how)


def system_words(names: Sequence[str]) -> Text:
    """What a warning about a system of equations is about."""
    return Text(f"System of {listed(names)}", f"{listed_zh(names)}的方程组")


class NotesWarning(SpatialZbWarning):
    """A warning that keeps what it is about and its notes apart, so that fits that say the same can be told together.

    ``about`` and ``notes`` (without their full stops) are kept where it is pickled.
    """

    about: Text | FitWords
    notes: tuple[Text, ...]

    @classmethod
    def of(cls, about: Text | FitWords, notes: Sequence[Text]) -> NotesWarning:
        """All notes about one fit, in one message."""
        en = ". Also, ".join(note.en for note in notes)
        zh = "；".join(note.zh for note in notes)
        made = cls(f"{about.en}: {en}.", f"{about.zh}：{zh}。")
        made.about, made.notes = about, tuple(notes)
        return made


def few_clusters(number: int, what: Text, covariance: str) -> Text:
    """Errors that average over few clusters or few periods."""
    return Text(
        f'with {number} {what.en} the standard errors of covariance="{covariance}" are too small: compare with the '
        "bootstrap",
        f'只有{number}个{what.zh}，covariance="{covariance}"的标准误偏小，请与自助法比较',
    )


def wide_kernel(overlap: float, what: Text, covariance: str) -> Text:
    """Sums over pairs of units or periods that are so many that scores, which sum to zero, partly cancel."""
    short = 1 - (1 - overlap) ** 0.5
    return Text(
        f'the kernel of covariance="{covariance}" covers {overlap:.0%} of all pairs of {what.en}, which alone makes its '
        f"standard errors about {short:.0%} too small: use a smaller bandwidth",
        f'covariance="{covariance}"的核覆盖{what.zh}两两配对的{overlap:.0%}，仅此一项便使标准误偏小约{short:.0%}：'
        "请用较小的bandwidth",
    )


def many_peaks(number: int, shown: str) -> Text:
    """A likelihood with several maxima of nearly the same height."""
    return Text(
        f"the likelihood has {number} peaks of nearly the same height ({shown})",
        f"似然函数有{number}个高度相近的峰（{shown}）",
    )


def warn_together(about: Text | FitWords, notes: Sequence[Text], stacklevel: int) -> None:
    """Warn once of all notes, without their full stops; say nothing where there are none.

    ``about``: what they are about, ``Text("SDM of 'y'", "'y'的SDM")``. ``stacklevel`` counts from the caller.
    """
    if notes:
        warnings.warn(NotesWarning.of(about, notes), stacklevel=stacklevel + 1)
