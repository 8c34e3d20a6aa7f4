"""Quadratic terms and interactions: the test of a U-shape, turning points, marginal effects by a moderator.

With y = … + b x + c x² the slope is b + 2c x. A U needs a falling slope at the low end of the data and a rising one at
the high end: a significant c alone says nothing of where it turns. b and c may be coefficients or the direct, indirect
or total effects of x and x², which are linear in x and in x² alike: the slope is then what one more unit of x does where
every unit has this x.

References: Sasabuchi (1980), Biometrika 67: 429-439; Lind & Mehlum (2010), Oxford Bull. Econ. Statist. 72: 109-118
(U test); Fieller (1954), J. Roy. Statist. Soc. B 16: 175-185; Brambor, Clark & Golder (2006), Polit. Analysis 14: 63-82
(interactions).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from spatial_zb.base.arguments import alpha_of, renamed
from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.printing import Printed
from spatial_zb.base.results import Degrees, coefficient_columns, quantile, tail
from spatial_zb.base.text import Language, Text
from spatial_zb.base.threads import one_thread
from spatial_zb.core import Array
from spatial_zb.effects.static import average_effects_at, effects_gradient
from spatial_zb.effects.table import EFFECTS, Effects
from spatial_zb.models.fit import Fit

Effect = Literal["direct", "indirect", "total"]

#: A product column may differ from the product of its parts by rounding only.
SAME_PRODUCT = 1e-6
#: Shares of the data at which marginal effects are shown unless values are given.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class UShape(Printed):
    """What :func:`u_shape_test` found.

    Attributes
    ----------
    term, label, square, effect
        x, its words, x², and what is tested: ``"coefficient"`` or an effect.
    shape
        ``"U"`` or ``"inverse U"``, by the sign of c.
    data_range, slopes, statistics
        Ends of the data, the slope at each, and the slope over its standard error.
    p_value
        Of the hypothesis that the slope does not change sign inside the data (monotone or of the other shape).
    turning_point, std_error, delta
        −b/2c, its standard error and limits by the delta method.
    fieller, fieller_set
        Fieller's limits, and what they bound: ``"interval"``, ``"outside"`` (the set is everything but what lies between
        them) or ``"everything"`` (c may be zero: any turning point is compatible with the data).
    inside
        Whether the turning point lies inside the data.
    """

    term: str
    label: Text
    square: str
    effect: str
    shape: str
    data_range: tuple[float, float]
    slopes: tuple[float, float]
    statistics: tuple[float, float]
    p_value: float
    turning_point: float
    std_error: float
    delta: tuple[float, float]
    fieller: tuple[float, float]
    fieller_set: str
    inside: bool
    level: float

    def tidy(self) -> pd.DataFrame:
        """The test in one row."""
        row: dict[str, Any] = {
            "term": self.term,
            "square": self.square,
            "effect": self.effect,
            "shape": self.shape,
        }
        for end, k in (("low", 0), ("high", 1)):
            row |= {
                f"x_{end}": self.data_range[k],
                f"slope_{end}": self.slopes[k],
                f"t_{end}": self.statistics[k],
            }
        row |= {"p_value": self.p_value, "turning_point": self.turning_point, "std_error": self.std_error}
        row |= {"conf_low": self.delta[0], "conf_high": self.delta[1]}
        row |= {
            "fieller_low": self.fieller[0],
            "fieller_high": self.fieller[1],
            "fieller_set": self.fieller_set,
        }
        return pd.DataFrame([row | {"inside": self.inside}])

    def glance(self) -> pd.DataFrame:
        """What was tested, in one row."""
        return pd.DataFrame(
            [{"term": self.term, "effect": self.effect, "shape": self.shape, "level": self.level}]
        )

    def reading(self, language: Language = "en") -> str:
        """The test in one or two sentences."""
        return _reading(self).pick(language)


@renamed(alpha="level")
def u_shape_test(
    fit: Fit,
    x: str,
    x_sq: str,
    effect: Effect | None = None,
    *,
    data_range: tuple[float, float] | None = None,
    level: float = 0.95,
) -> UShape:
    """Test whether y first falls and then rises in x (or the reverse) inside the data.

    Parameters
    ----------
    fit
        A fit with x and x² among its terms.
    x, x_sq
        Their names; of coefficients also ``"W_x"``, ``"W_x_sq"``.
    effect
        ``None``: the coefficients. ``"direct"``, ``"indirect"``, ``"total"``: the spatial effects.
    data_range
        Ends between which the slope has to change sign; those of x in the data without it.
    level
        Confidence level of the limits; the test of Sasabuchi gives a p-value.

    Raises
    ------
    SpecificationError
        Terms the fit does not have, an unknown effect, an invalid range.
    DataError
        ``x_sq`` is not the square of ``x``.
    """
    low, high = _range(fit, x, data_range)
    _refuse_other_product(fit, x_sq, (x, x))
    (b, c), V, pair = _pair(fit, x, x_sq, effect)
    slopes, errors = _slopes(b, c, V, np.array([low, high]))
    statistics = slopes / errors
    sign = 1.0 if c > 0 else -1.0
    tails = [
        _tail(value * side, fit.degrees(np.array([1.0, 2 * end]) @ pair))
        for value, side, end in zip(statistics, (-sign, sign), (low, high), strict=True)
    ]
    turning = -b / (2 * c)
    gradient = np.array([-1 / (2 * c), b / (2 * c**2)])
    std_error = float(np.sqrt(gradient @ V @ gradient))
    z = np.ravel(quantile(alpha_of(level) / 2, fit.degrees(gradient @ pair)))[0]
    limits, kind = _fieller(b, c, V, z)
    return UShape(
        term=x,
        label=fit.panel.label(_variable(x)),
        square=x_sq,
        effect=effect or "coefficient",
        shape="U" if c > 0 else "inverse U",
        data_range=(low, high),
        slopes=(float(slopes[0]), float(slopes[1])),
        statistics=(float(statistics[0]), float(statistics[1])),
        p_value=max(tails),
        turning_point=float(turning),
        std_error=std_error,
        delta=(float(turning - z * std_error), float(turning + z * std_error)),
        fieller=limits,
        fieller_set=kind,
        inside=bool(low < turning < high),
        level=level,
    )


@renamed(alpha="level")
@one_thread
def marginal_effects(
    fit: Fit, x: str, by: str, interaction: str, at: Sequence[float] | None = None, *, level: float = 0.95
) -> Effects:
    """What one more unit of x does at given values of another variable: b + c·z, with errors.

    Parameters
    ----------
    fit
        A fit with x and its product with the moderator among its terms.
    x, by, interaction
        Names of x, of the moderator z and of x·z. With ``by`` the same as x, the product is x² and the slope b + 2c·x.
    at
        Values of z; its least, quartiles and greatest in the data without them.
    level
        Confidence level of the limits.

    Returns
    -------
    Effects by ``term``, ``at`` and ``effect``: the coefficient, and the direct, indirect and total effect, each where all
    units have this z.

    Raises
    ------
    SpecificationError
        Terms the fit does not have, no values.
    DataError
        ``interaction`` is not the product.
    """
    _refuse_other_product(fit, interaction, (x, by))
    values = fit.panel.array(by)
    points = np.quantile(values, SHARES) if at is None else np.asarray(at, float).ravel()
    if not len(points) or not np.all(np.isfinite(points)):
        raise SpecificationError(
            f"at must be one or more numbers, not {at!r}.", f"at须为一个或几个数，而不是{at!r}。"
        )
    factor = 2.0 if by == x else 1.0
    estimates, errors, gradients = [], [], []
    weights = np.column_stack([np.ones(len(points)), factor * points])
    for effect in (None, *get_args(Effect)):
        (b, c), V, pair = _pair(fit, x, interaction, effect)
        gradients.append(weights @ pair)
        estimates.append(weights @ [b, c])
        errors.append(np.sqrt(np.einsum("ij,jk,ik->i", weights, V, weights)))
    df = fit.degrees(np.stack(gradients, axis=1))
    columns = coefficient_columns(
        np.column_stack(estimates).ravel(), np.column_stack(errors).ravel(), alpha_of(level), df
    )
    axes: dict[str, tuple[Any, ...]] = {
        "term": (x,),
        "at": tuple(float(p) for p in points),
        "effect": ("coefficient", *EFFECTS),
    }
    return Effects(axes, columns, "delta", fit, {"by": by, "interaction": interaction}, df=df)


def _range(fit: Fit, x: str, given: tuple[float, float] | None) -> tuple[float, float]:
    if given is None:
        values = fit.panel.array(_variable(x))
        return float(np.nanmin(values)), float(np.nanmax(values))
    low, high = (float(end) for end in given)
    if not low < high:
        raise SpecificationError(
            f"data_range must be two numbers, the smaller first, not {given!r}.",
            f"data_range须为两个数，小者在前，而不是{given!r}。",
        )
    return low, high


def _variable(term: str) -> str:
    """The variable behind a coefficient: without ``W_`` and the regime."""
    return re.sub(r"\[[^\]]*\]$", "", term).removeprefix("W_")


def _refuse_other_product(fit: Fit, product: str, parts: tuple[str, str]) -> None:
    """A product in the model that was made of other variables (logged, centred, rescaled) would give other slopes."""
    first, second = (fit.panel.array(_variable(part)) for part in parts)
    expected, found = first * second, fit.panel.array(_variable(product))
    off = np.nan_to_num(np.abs(found - expected))  # units that are absent have no values
    if np.any(off > SAME_PRODUCT * np.nanmax(np.abs(expected))):
        t, i = np.unravel_index(off.argmax(), off.shape)
        names = " × ".join(_variable(part) for part in parts)
        raise DataError(
            f"{_variable(product)!r} is not {names}: {fit.panel.units[i]} in {fit.panel.periods[t]} has {found[t, i]:g}, "
            f"not {expected[t, i]:g}. Multiply the variables as they enter the model, after centring if they are centred.",
            f"{_variable(product)!r}不是{names}：{fit.panel.units[i]}在{fit.panel.periods[t]}为{found[t, i]:g}，"
            f"而不是{expected[t, i]:g}。请由模型中的变量（含中心化的）相乘得到。",
        )


def _pair(fit: Fit, first: str, second: str, effect: str | None) -> tuple[Array, Array, Array]:
    """Two coefficients or effects, (2,), and their covariance (2, 2), and their gradients (2, p)."""
    if effect is None:
        absent = [name for name in (first, second) if name not in fit.params.index]
        if absent:
            raise SpecificationError(
                f"{fit!r} has no term {listed(absent)}; it has {listed(fit.params.index)}.",
                f"{fit!r}没有{listed_zh(absent)}；已有{listed_zh(fit.params.index)}。",
            )
        names = [first, second]
        own = np.eye(len(fit.params))[[fit.params.index.get_loc(name) for name in names]]
        return fit.params[names].to_numpy(), fit.cov.loc[names, names].to_numpy(), own
    if effect not in EFFECTS:
        raise SpecificationError(
            f"effect must be None or one of {listed(EFFECTS)}, not {effect!r}.",
            f"effect须为None或{listed_zh(EFFECTS)}之一，而不是{effect!r}。",
        )
    absent = [name for name in (first, second) if name not in fit.spec.regressors]
    if absent:
        raise SpecificationError(
            f"{listed(absent)} is not among the regressors ({listed(fit.spec.regressors)}).",
            f"{listed_zh(absent)}不在解释变量（{listed_zh(fit.spec.regressors)}）之中。",
        )
    rows, k = [fit.spec.regressors.index(name) for name in (first, second)], EFFECTS.index(effect)
    gradient = effects_gradient(fit)[rows, k]
    used = np.abs(gradient).max(axis=0) > 0  # what effects do not depend on may have no variance
    cov = fit.cov.to_numpy()[np.ix_(used, used)]
    V = gradient[:, used] @ cov @ gradient[:, used].T
    return average_effects_at(fit, fit.params.to_numpy())[rows, k], V, gradient


def _slopes(b: float, c: float, V: Array, at: Array) -> tuple[Array, Array]:
    """b + 2c x and its standard error."""
    return b + 2 * c * at, np.sqrt(V[0, 0] + 4 * at * V[0, 1] + 4 * at**2 * V[1, 1])


def _fieller(b: float, c: float, V: Array, z: float) -> tuple[tuple[float, float], str]:
    """Where (b + 2c x)² ≤ z² Var(b + 2c x): the turning points that are not rejected."""
    square = 4 * (c**2 - z**2 * V[1, 1])
    middle, constant = 4 * (b * c - z**2 * V[0, 1]), b**2 - z**2 * V[0, 0]
    inner = middle**2 - 4 * square * constant
    if square < 0 and inner <= 0:
        return (-np.inf, np.inf), "everything"
    roots = sorted(float(r) for r in (-middle + np.array([-1.0, 1.0]) * np.sqrt(inner)) / (2 * square))
    return (roots[0], roots[1]), "interval" if square > 0 else "outside"


def _tail(statistic: float, df: Degrees) -> float:
    upper = float(tail(np.abs([statistic]), df)[0])
    return upper if statistic >= 0 else 1 - upper


def _reading(found: UShape) -> Text:
    shape = {"U": Text("U-shaped", "U形"), "inverse U": Text("inversely U-shaped", "倒U形")}[found.shape]
    what = {
        "coefficient": Text("coefficients", "系数"),
        "direct": Text("direct effect", "直接效应"),
        "indirect": Text("indirect effect", "间接效应"),
        "total": Text("total effect", "总效应"),
    }[found.effect]
    point, (low, high) = found.turning_point, found.data_range
    x = found.label
    if not found.inside:
        return Text(
            f"By the {what.en}, the turning point of {x.en} ({point:.4g}) lies outside the data ({low:.4g} to {high:.4g}): "
            "the relation is monotone where there are data.",
            f"就{what.zh}而言，{x.zh}的拐点（{point:.4g}）不在样本取值范围（{low:.4g}～{high:.4g}）之内，样本区间内为单调关系。",
        )
    p = "p < 0.001" if found.p_value < 0.001 else f"p = {found.p_value:.3f}"
    limits = _limits(found)
    level = 100 * found.level
    if found.p_value < alpha_of(found.level):
        return Text(
            f"By the {what.en}, the relation is {shape.en} in {x.en} ({p}), with the turning point at {point:.4g} "
            f"({level:g} % Fieller set {limits.en}).",
            f"就{what.zh}而言，与{x.zh}呈显著的{shape.zh}关系（{p}），拐点为{point:.4g}（{level:g}%Fieller置信集{limits.zh}）。",
        )
    return Text(
        f"By the {what.en}, a relation {shape.en} in {x.en} is not established ({p}): the slope does not change sign "
        "significantly inside the data.",
        f"就{what.zh}而言，与{x.zh}的{shape.zh}关系不显著（{p}），样本区间内斜率未发生显著变号。",
    )


def _limits(found: UShape) -> Text:
    a, b = found.fieller
    if found.fieller_set == "everything":
        return Text("unbounded", "无界")
    if found.fieller_set == "outside":
        return Text(f"below {a:.4g} or above {b:.4g}", f"小于{a:.4g}或大于{b:.4g}")
    return Text(f"{a:.4g} to {b:.4g}", f"{a:.4g}～{b:.4g}")
