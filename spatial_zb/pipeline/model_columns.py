"""The columns of a model's tables: one estimate each, by sample, weights and effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from spatial_zb.effects import Effects
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.score_inversion import MedianUnbiased
from spatial_zb.simplification import simplification_tests
from spatial_zb.study import Model
from spatial_zb.text import Text

__all__ = ["Column", "effect_columns", "spec_of", "static_spec", "titled"]


@dataclass(frozen=True, eq=False)
class Column:
    """One estimated column of a model's table."""

    sample: str
    weights: str
    effects: str
    heading: Text
    fit: Fit
    delta: Effects
    simulated: Effects | None
    long: Effects | None
    long_simulated: Effects | None
    median: MedianUnbiased | None

    @cached_property
    def simplifications(self) -> pd.DataFrame:
        """Tests against SAR and SEM by name; once for all tables that print the column, since they refit."""
        return simplification_tests(self.fit).set_index("test")


def static_spec(model: Model, effects: str) -> DurbinSpec:
    """The specification without lags in time and without regimes."""
    return DurbinSpec(model.y, model.x, model.lag_y, model.lag_x, model.lag_error, effects)


def spec_of(model: Model, effects: str) -> DurbinSpec:
    """The specification of a model of the study with one kind of effects."""
    more = {"time_lag": model.time_lag, "lag_time_lag": model.lag_time_lag, "regimes": model.regimes}
    return replace(static_spec(model, effects), **more)


def effect_columns(columns: Sequence[Column]) -> list[tuple[Text, Effects]]:
    """Effects under their headings: of the short and of the long run where there are lags in time."""
    if not columns[0].fit.spec.dynamic:
        return [(c.heading, c.delta) for c in columns]
    out = []
    for c in columns:
        for result, words in ((c.delta, Text("short run", "短期")), (c.long, Text("long run", "长期"))):
            if result is not None:
                out.append((Text(f"{c.heading.en}, {words.en}", f"{c.heading.zh}，{words.zh}"), result))
    return out


def titled(model: Model, column: Column) -> Text:
    return Text(f"{model.title.en}: {column.heading.en}", f"{model.title.zh}：{column.heading.zh}")
