"""What to estimate, in the words of the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from spatial_zb.core.within import FixedEffects
from spatial_zb.errors import SpecificationError, listed

__all__ = ["DurbinSpec", "Estimator"]

Estimator = Literal["lee_yu", "direct"]

#: Name of each family by (lag of y, lag of x, lag of the error).
FAMILIES = {
    (False, False, False): "OLS",
    (False, True, False): "SLX",
    (True, False, False): "SAR",
    (True, True, False): "SDM",
    (False, False, True): "SEM",
    (False, True, True): "SDEM",
    (True, False, True): "SAC",
    (True, True, True): "GNS",
}


@dataclass(frozen=True)
class DurbinSpec:
    """y_t = ρWy_t + X_t β + W X_t θ + effects + u_t, u_t = λWu_t + ε_t, and its restrictions.

    Parameters
    ----------
    y
        Name of the dependent variable.
    x
        Names of the regressors.
    lag_y
        Whether the spatial lag of y enters (ρ).
    lag_x
        Regressors whose spatial lags enter (θ): ``"all"``, or a list, which may be empty.
    lag_error
        Whether the errors are spatially autoregressive (λ).
    fixed_effects
        ``"none"`` (an intercept is added), ``"unit"``, ``"time"`` or ``"two_way"``.

    Raises
    ------
    SpecificationError
        y among x, a repeated name, a lagged name that is not in x, an unknown kind of effects.
    """

    y: str
    x: Sequence[str]
    lag_y: bool = True
    lag_x: Literal["all"] | Sequence[str] = "all"
    lag_error: bool = False
    fixed_effects: FixedEffects = "two_way"

    def __post_init__(self) -> None:
        if isinstance(self.x, str):
            raise SpecificationError(f"x must be a list of names, such as [{self.x!r}], not one text.")
        x = tuple(self.x)
        if isinstance(self.lag_x, str) and self.lag_x != "all":
            raise SpecificationError(f'lag_x must be "all" or a list of names, not {self.lag_x!r}.')
        lagged = x if self.lag_x == "all" else tuple(self.lag_x)
        _refuse_repeats(x, "x")
        _refuse_repeats(lagged, "lag_x")
        if self.y in x:
            raise SpecificationError(f"{self.y!r} cannot explain itself: it is both y and among x.")
        strangers = [name for name in lagged if name not in x]
        if strangers:
            raise SpecificationError(
                f"lag_x names {listed(strangers)}, not among x ({listed(x)}). Add to x or drop."
            )
        if self.fixed_effects not in get_args(FixedEffects):
            raise SpecificationError(
                f"fixed_effects must be one of {listed(get_args(FixedEffects))}, not {self.fixed_effects!r}."
            )
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "lag_x", lagged)

    @property
    def family(self) -> str:
        """OLS, SLX, SAR, SEM, SDM, SDEM, SAC or GNS."""
        return FAMILIES[bool(self.lag_y), bool(self.lag_x), bool(self.lag_error)]

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the coefficients of (X, WX), the intercept first where there is one."""
        first = ("(Intercept)",) if self.fixed_effects == "none" else ()
        return (*first, *self.x, *(f"W_{name}" for name in self.lag_x))

    @property
    def spatial_terms(self) -> tuple[str, ...]:
        """Which of ``rho`` and ``lam`` are estimated."""
        return ("rho",) * bool(self.lag_y) + ("lam",) * bool(self.lag_error)


def _refuse_repeats(names: tuple[str, ...], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecificationError(f"{what} names {listed(twice)} more than once.")
