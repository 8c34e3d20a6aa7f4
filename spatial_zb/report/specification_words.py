"""Words of a specification curve: its axis, the choices and their values, and what the note counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spatial_zb.report.page import Page, Words
from spatial_zb.report.words import COVARIANCES, EFFECTS, ESTIMATORS, PARAMETERS, WORDS
from spatial_zb.text import Text

__all__ = ["CHOICE_WORDS", "MAIN", "MEDIAN", "NOT_SIGNIFICANT", "CurveWords"]

#: Words for the columns of choices and for their usual values.
CHOICE_WORDS: dict[str, Text] = {
    "spec": Text("Specification", "模型设定"),
    "model": WORDS["model"],
    "weights": Text("Weights", "空间权重"),
    "sample": Text("Sample", "样本"),
    "estimator": WORDS["estimator"],
    "covariance": Text("Standard errors", "标准误"),
    "fixed_effects": Text("Fixed effects", "固定效应"),
    "controls": Text("Controls", "控制变量"),
    "periods": Text("Periods", "时期"),
    "outliers": Text("Outliers", "异常值处理"),
    "y": WORDS["dependent"],
    "measure": Text("Measure", "测度指标"),
}
VALUE_WORDS: dict[str, dict[str, Text]] = {
    "estimator": ESTIMATORS,
    "covariance": COVARIANCES,
    "fixed_effects": {
        "none": Text("None", "无"),
        "unit": Text("Unit", "地区"),
        "time": Text("Time", "时间"),
        "two_way": Text("Two-way", "双向"),
        "random": WORDS["random"],
    },
}
#: Most characters of a name; what the sheet has no room for is cut there.
LIMIT = 60
YES_NO = {"True": WORDS["yes"], "False": WORDS["no"]}

SORTED = Text("Specifications, sorted by estimate (n = {:,})", "按估计值排序的设定（n = {:,}）")
SIGNIFICANT = Text("Significant at {:g} %", "在{:g}%水平上显著")
NOT_SIGNIFICANT = Text("Not significant", "不显著")
MEDIAN = Text("Median", "中位数")
MAIN = Text("Main specification", "基准设定")
BARS = Text("Bars: {:g} % confidence intervals.", "竖线为{:g}%置信区间。")
COUNTS = Text(
    "Of {:,} estimates {:,} are positive; {:,} are significant at {:g} %, {:,} of them positive.",
    "共{:,}个估计值，其中{:,}个为正；{:,}个在{:g}%水平上显著，其中{:,}个为正。",
)
BARE = Text("Without interval: {:,}.", "无置信区间：{:,}个。")
BEYOND = Text(
    "Beyond the axis (triangles): {:,}, from {} to {}.", "超出坐标范围（三角形）：{:,}个，介于{}与{}之间。"
)


@dataclass(frozen=True, slots=True)
class CurveWords:
    """What is said of the estimates of one term, in the language of the page."""

    page: Page
    term: str
    effect: str | None
    labels: Mapping[str, Words]
    level: float

    @property
    def axis(self) -> str:
        """Words for the estimate."""
        name = Text.of(self.labels.get(self.term) or PARAMETERS.get(self.term, self.term))
        if self.effect is not None:
            kind = EFFECTS.get(self.effect, Text.of(self.effect))
            name = Text(f"{kind.en} effect of {name.en}", f"{name.zh}的{kind.zh}")
        return self.page.say(name, limit=80)

    @property
    def strong(self) -> str:
        """Words for an estimate that passes the level."""
        return self.page.say(SIGNIFICANT, 100 * self.level)

    def sorted(self, count: int) -> str:
        """Words below the axis of the cells."""
        return self.page.say(SORTED, count)

    def column(self, name: str) -> str:
        """Words for a choice."""
        return self.page.say(self.labels.get(name) or CHOICE_WORDS.get(name, name), limit=LIMIT)

    def value(self, column: str, value: str) -> str:
        """Words for one value of a choice."""
        given = self.labels.get(f"{column}={value}") or self.labels.get(value)
        usual = VALUE_WORDS.get(column, {}).get(value) or YES_NO.get(value)
        return self.page.say(given or usual or value, limit=LIMIT) or "—"

    def below(self, estimate: np.ndarray, strong: np.ndarray, bounded: np.ndarray, beyond: np.ndarray) -> str:
        """The note: counts of estimates, signs, significance, and of those without interval or beyond the axis.

        All arrays are (n,).
        """
        positive, percent = estimate > 0, 100 * self.level
        counts = (len(positive), positive.sum(), strong.sum(), percent, (positive & strong).sum())
        bare = int((~bounded).sum())
        told = [self.page.say(COUNTS, *counts), self.page.say(BARS, 100 - percent)]
        told.append(self.page.say(BARE, bare) if bare else "")
        if beyond.any():
            ends = (f"{v:.3g}".replace("-", "−") for v in (estimate[beyond].min(), estimate[beyond].max()))
            told.append(self.page.say(BEYOND, int(beyond.sum()), *ends))
        return self.page.note(*told)
