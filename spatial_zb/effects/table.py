"""The table of effects, whatever the fit: what it holds, what it is called with, its columns from draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.notes import Kind, Note, about, tell
from spatial_zb.base.printing import Printed
from spatial_zb.base.results import TABLE_COLUMNS, coefficient_columns
from spatial_zb.base.text import Text
from spatial_zb.models.fit import Fit
from spatial_zb.models.system.fit import SystemFit

EFFECTS = ("direct", "indirect", "total")
Method = Literal["delta", "simulate"]
Horizon = Literal["short", "long"]
#: Share of draws outside the admissible region from which the normal approximation is doubted.
REJECTED_WARNING = 0.01


#: Why a draw of the parameters has no effects.
WITHOUT = {
    "rho": Text("had ρ outside the admissible region", "的ρ落在容许区域之外"),
    "process": Text("gave a process that is not stable", "不满足平稳性"),
    "system": Text("gave an unstable system", "得到不稳定的方程组"),
}


@Kind
def draws_left_out(rejected: int, draws: int, why: str) -> Text:
    """Draws without effects: of an estimate near the edge, whose errors are not normal."""
    without = WITHOUT[why]
    return Text(
        f"{rejected} of {draws} draws {without.en} and were left out: the normal approximation is poor here",
        f"{draws}次抽样中有{rejected}次{without.zh}，已剔除：此处正态近似较差",
    )


def tell_rejected(fit: Fit | SystemFit, rejected: int, draws: int, why: str) -> tuple[Note, ...]:
    """Warn of draws that were left out, where they are more than a few; the notes told."""
    if rejected <= REJECTED_WARNING * draws:
        return ()
    notes = about(fit.subject, [draws_left_out(rejected, draws, why)])
    tell(notes)
    return notes


@dataclass(frozen=True, eq=False, repr=False)
class Effects(Printed):
    """Average effects of every regressor.

    Attributes
    ----------
    axes
        What the effects are of, in the order of the rows: names by axis (``term`` and ``effect``; in a system
        ``response``, ``source`` and ``effect``), the last one varying fastest.
    columns
        (rows, 6): estimate, std_error, statistic, p_value, conf_low, conf_high.
    detail
        For simulated errors, the number of draws kept and rejected.
    notes
        What a reader of the effects should know, as it was warned of; that on the fit is in ``fit.notes``.
    """

    axes: Mapping[str, tuple[str, ...]]
    columns: NDArray[np.float64]
    method: str
    fit: Fit | SystemFit
    detail: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per term and effect; made when it is first read."""
        keys = list(product(*self.axes.values()))
        frame = pd.DataFrame(self.columns, columns=TABLE_COLUMNS)
        for i, axis in enumerate(self.axes):
            frame.insert(i, axis, [key[i] for key in keys])
        return frame

    def tidy(self) -> pd.DataFrame:
        """Columns term, effect, estimate, std_error, statistic, p_value, conf_low, conf_high."""
        return self.frame.copy()

    def glance(self) -> pd.DataFrame:
        """The fit in one row, and how the errors were computed."""
        return self.fit.glance().assign(method=self.method, **self.detail)


def check_fit(fit: Any, function: str, kinds: Any = Fit) -> None:
    """Refuse anything but a fit, naming the ``function`` that was called.

    Raises
    ------
    SpecificationError
        ``fit`` is not of one of the ``kinds``.
    """
    if not isinstance(fit, kinds):
        more, more_zh = (" or fit_system", "或fit_system") if kinds is not Fit else ("", "")
        found = type(fit).__name__
        raise SpecificationError(
            f"{function} takes a fit of fit_durbin{more}, not {found}.",
            f"{function}的对象是fit_durbin{more_zh}的估计结果，而不是{found}。",
        )


def simulated_columns(
    point: NDArray[np.float64], simulated: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """Columns of :class:`Effects` from draws (draws, …) of effects (…): percentile limits, p by share of signs."""
    kept = len(simulated)
    columns = coefficient_columns(point.ravel(), simulated.std(axis=0, ddof=1).ravel(), alpha)
    tail = np.minimum((simulated <= 0).mean(axis=0), (simulated >= 0).mean(axis=0))
    columns[:, 3] = np.minimum(1.0, 2 * (tail * kept + 1) / (kept + 1)).ravel()
    columns[:, 4:] = np.quantile(simulated, [alpha / 2, 1 - alpha / 2], axis=0).reshape(2, -1).T
    return columns
