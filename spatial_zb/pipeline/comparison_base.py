"""What all parts of a comparison share: its section of the study, the base model, its samples, weights and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from spatial_zb.compare.family import SpecFamily, spec_family
from spatial_zb.data.panel import Panel
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.pipeline.job import Job, sample_notes, unit_names
from spatial_zb.pipeline.model_columns import spec_of
from spatial_zb.pipeline.words import EFFECT_WORDS, weights_words
from spatial_zb.study import Compare, Model
from spatial_zb.text import Text
from spatial_zb.weights.matrix import Weights

__all__ = ["Base", "short_words"]

#: A set of controls of at most so many is named by its variables.
NAMED_CONTROLS = 2


@dataclass(frozen=True, eq=False)
class Base:
    """What all parts of a comparison share: its section, the base model and its main sample."""

    job: Job
    asked: Compare
    model: Model
    sample: str

    @property
    def effect(self) -> str | None:
        return None if self.asked.effect == "coefficient" else self.asked.effect

    @cached_property
    def spec(self) -> DurbinSpec:
        return spec_of(self.model, self.model.fixed_effects[-1])

    @cached_property
    def family(self) -> SpecFamily:
        """The specifications of the grid; regressors of the base that are in no set of controls are always there."""
        asked, spec = self.asked, self.spec
        varied = {name for names in asked.controls.values() for name in names}
        kept = [name for name in spec.x if name not in varied]
        lagged = [name for name in spec.lag_x if name in kept]
        return spec_family(
            replace(spec, x=kept, lag_x=lagged),
            models=asked.models or None,
            controls=asked.controls or None,
            y=(spec.y, *asked.y) if asked.y else None,
            x_swaps=asked.x or None,
            fixed_effects=asked.fixed_effects or None,
        )

    @cached_property
    def main(self) -> dict[str, str]:
        """The choices of the base model among those of the grid."""
        spec, asked = self.spec, self.asked
        own = {
            "model": spec.family,
            "weights": self.own_weights,
            "sample": self.sample,
            "y": spec.y,
            "x": next(iter(asked.x), ""),
            "fixed_effects": spec.fixed_effects,
            "estimator": self.model.estimator,
            "covariance": self.model.covariance,
        }
        kept = set(spec.x) - {name for names in asked.controls.values() for name in names}
        same = [name for name, names in asked.controls.items() if kept | set(names) == set(spec.x)]
        return own | ({"controls": same[0]} if same else {})

    @property
    def own_weights(self) -> str:
        """The W of the base: the first of its model."""
        return self.job.study.weights_of(self.model)[0]

    @cached_property
    def weights(self) -> dict[str, Weights]:
        """Every W of the comparison on the main sample, that of the base first."""
        names = dict.fromkeys((self.own_weights, *self.job.study.weights_of(self.asked)))
        return {name: self.job.prepared.weights(name, self.sample) for name in names}

    @property
    def panel(self) -> Panel:
        return self.job.prepared.sample(self.sample)

    @cached_property
    def labels(self) -> dict[str, Text]:
        study = self.job.study
        samples = {name: sample.label for name, sample in study.samples.items()}
        controls = {f"controls={name}": self._controls(names) for name, names in self.asked.controls.items()}
        units = unit_names(self.job.prepared)
        battery = _battery_words(self.asked, units)
        return samples | units | weights_words(study) | self.job.prepared.labels | controls | battery

    def _controls(self, names: Sequence[str]) -> Text:
        """Words for a set of controls: its variables, or how many they are."""
        if not names:
            return Text("None", "无")
        every = {name for one in self.asked.controls.values() for name in one}
        if set(names) == every:
            return Text(f"All {len(names)}", f"全部{len(names)}个")
        if len(names) > NAMED_CONTROLS:
            return Text(f"{len(names)} of them", f"其中{len(names)}个")
        words = [short_words(self.job.prepared.panel.label(name)) for name in names]
        return Text(", ".join(w.en for w in words), "、".join(w.zh for w in words))

    @property
    def what(self) -> Text:
        from spatial_zb.report.comparison_reading import effect_words

        return effect_words(self.job.prepared.panel.label(self.asked.term), self.asked.effect)

    def titled(self, what: Text) -> Text:
        """The title of a table: the model, and what of it."""
        return Text(f"{self.model.title.en}: {what.en}", f"{self.model.title.zh}：{what.zh}")

    def notes(self, *samples: str) -> list[Text]:
        """Dependent variable, effects and sample below every table."""
        y, effects = self.job.prepared.panel.label(self.spec.y), EFFECT_WORDS[self.spec.fixed_effects]
        return [
            Text(
                f"Dependent variable: {y.en}. {effects.en}.",
                f"被解释变量：{y.zh}。{effects.zh}。",
            ),
            *sample_notes(self.job, *(samples or (self.sample,))),
            *self.job.prepared.sources,
        ]


def _battery_words(asked: Compare, units: Mapping[str, Text]) -> dict[str, Text]:
    """Words for groups of units left out and for sub-periods, by their names in the study file."""
    settings = asked.robustness
    if settings is None:
        return {}
    out = {}
    for name, left in settings.drop.items():
        known = [units.get(unit, Text.of(unit)) for unit in left]
        out[name] = Text(f"Without {', '.join(w.en for w in known)}", f"剔除{'、'.join(w.zh for w in known)}")
    spans = {
        name: Text(f"{first}–{last}", f"{first}—{last}年") for name, (first, last) in settings.periods.items()
    }
    return out | spans


def short_words(label: Text) -> Text:
    """A label without what it says in brackets."""
    return Text(label.en.split(" (")[0], label.zh.split("（")[0])
