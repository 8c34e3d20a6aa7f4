"""What the parts of a comparison share, and the grid: specifications, their curve and its joint test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import pandas as pd

from spatial_zb.base.errors import SpatialZbError
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.compare.curve import CurveTest, curve_test
from spatial_zb.compare.family import SpecFamily, spec_family
from spatial_zb.compare.grid import Choices, Grid, specification_grid
from spatial_zb.data.panel import Panel
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.pipeline.job import Job, Verdict, figure_note, sample_notes, unit_names
from spatial_zb.pipeline.stages.models import spec_of
from spatial_zb.pipeline.words import effect_words, short_words, warn_undone, weights_words
from spatial_zb.report import figures
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.tables.table import TableLook
from spatial_zb.study import Compare, Model
from spatial_zb.weights.matrix import Weights

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
            "fixed_effects": str(spec.fixed_effects),
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
        from spatial_zb.report.reading import effect_words

        return effect_words(self.job.prepared.panel.label(self.asked.term), self.asked.effect)

    def titled(self, what: Text) -> Text:
        """The title of a table: the model, and what of it."""
        return Text(f"{self.model.title.en}: {what.en}", f"{self.model.title.zh}：{what.zh}")

    def notes(self, *samples: str) -> list[Text]:
        """Dependent variable, effects and sample below every table."""
        y, effects = (
            self.job.prepared.panel.label(self.spec.y),
            effect_words(self.spec.fixed_effects, self.job.prepared.labels),
        )
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


CURVE_TITLE = Text("joint test of the specification curve", "设定曲线联合检验")


def grid_and_curve(base: Base) -> Text | None:
    """Estimate the grid, draw its curve and test it; what they say in words."""
    from spatial_zb.report.reading import curve_note, curve_reading
    from spatial_zb.report.verdict import curve_verdict
    from spatial_zb.report.words import EFFECTS

    job, asked = base.job, base.asked
    grid = _grid(base)
    job.tidy("compare_grid", grid.tidy())
    job.tidy("compare_grid_effects", grid.effects)
    job.say(Text("grid", "设定网格"), f"{len(grid.cells)}")
    grid = _converged(grid)
    shown = grid.estimates if base.effect is None else grid.effects.query("effect == @base.effect")
    shown = shown[(shown["role"] == asked.term) & shown["estimate"].notna()].assign(term=asked.term)
    shown = shown.drop(columns=["role", "spec"])
    main = {
        name: value
        for name, value in base.main.items()
        if name in shown.columns[: shown.columns.get_loc("term")]
    }
    if shown.empty:
        warn("No cell of the comparison could be estimated.", "各设定均无法估计，没有设定曲线。")
        return None
    test = _tested(base)
    tests = None if test is None else test.tidy()
    failed = len(grid.cells) - len(shown)
    y = job.prepared.panel.label(base.spec.y)
    labels = base.labels | {asked.term: short_words(job.prepared.panel.label(asked.term))}
    job.figure(
        "compare_curve",
        partial(figures.specification_curve, shown, asked.term, base.effect, main=main),
        Look(
            title=y,
            note=figure_note(job, *job.study.samples_of(asked), said=curve_note(failed, tests)),
            words=labels,
        ),
        shown=Text(f"Specification curve: {base.what.en}", f"设定曲线：{base.what.zh}"),
    )
    if test is not None:
        _write_test(base, test)
    shares, effect = grid.shares(asked.term, base.effect), EFFECTS.get(asked.effect)
    of = Text("coefficient", "系数") if effect is None else Text(f"{effect.en.lower()} effect", effect.zh)
    job.made.verdicts.append(Verdict(base.model.name, curve_verdict(shares, tests, of), rank=1))
    return curve_reading(shares, tests, base.what, y, failed)


def _grid(base: Base) -> Grid:
    """The grid of every sample with the W of its own polygons, in one."""
    job, asked = base.job, base.asked
    parts = []
    for sample in job.study.samples_of(asked):
        names = job.study.weights_of(asked)
        parts.append(
            specification_grid(
                job.prepared.sample(sample),
                base.family,
                {name: job.prepared.weights(name, sample) for name in names},
                {sample: {}},
                estimators=asked.estimators or (base.model.estimator,),
                covariances=asked.covariances or (base.model.covariance,),
                workers=job.saying(Text("grid", "设定网格")),
            )
        )
    cells, estimates, effects = (
        pd.concat([getattr(part, kind) for part in parts], ignore_index=True)
        for kind in ("cells", "estimates", "effects")
    )
    return Grid(cells, estimates, effects, parts[0].choices)


def _converged(grid: Grid) -> Grid:
    """The grid without cells that did not converge: they have no estimate to count; their rows stay in ``tidy``."""
    choices = list(grid.choices)
    kept = grid.cells.loc[grid.cells["converged"].eq(True), choices]
    estimates, effects = (frame.merge(kept, on=choices) for frame in (grid.estimates, grid.effects))
    return Grid(grid.cells, estimates, effects, grid.choices)


def _tested(base: Base) -> CurveTest | None:
    """The joint test over the main sample, where the study asks for it and it can be done."""
    job, asked = base.job, base.asked
    if asked.curve is None or asked.term not in base.spec.x:
        return None
    names = job.study.weights_of(asked)
    try:
        return curve_test(
            Choices(
                base.panel,
                base.family,
                {name: job.prepared.weights(name, base.sample) for name in names},
                estimators=asked.estimators or (base.model.estimator,),
                covariances=asked.covariances or (base.model.covariance,),
            ),
            asked.term,
            base.effect,
            replicates=asked.curve.replicates,
            scheme=asked.curve.scheme,
            rng=job.seed("compare", "curve"),
            workers=job.saying(Text("curve test", "曲线检验")),
        )
    except SpatialZbError as error:
        warn_undone(Text("No test of the curve", "未作设定曲线检验"), error)
        return None


def _write_test(base: Base, test: CurveTest) -> None:
    from spatial_zb.report.tables.layouts.tests import curve_table

    job, cells = base.job, int(test.glance()["cells"].item())
    job.tidy("compare_curve_test", test.tidy())
    job.tidy("compare_curve_draws", test.draws)
    job.table(
        lambda look: curve_table(test.tidy(), cells, len(test.draws), look=look),
        TableLook(title=base.titled(CURVE_TITLE), notes=base.notes()),
    )
