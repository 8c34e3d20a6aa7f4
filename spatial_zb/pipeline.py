"""The road from a study file to its results, one function per stage; all input and output is here."""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

import spatial_zb
from spatial_zb.data.expressions import compile_expression, derive
from spatial_zb.data.missing import fill_missing
from spatial_zb.data.panel import Panel, build_panel
from spatial_zb.data.regions import read_regions, select_regions
from spatial_zb.effects import Effects, spatial_effects
from spatial_zb.errors import (
    AlignmentError,
    DataError,
    SpatialZbError,
    SpatialZbWarning,
    SpecificationError,
    listed,
)
from spatial_zb.explore import MoranTable, moran
from spatial_zb.hypotheses import diagnose
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.simultaneous import fit_system
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.models.system_fit import SystemFit
from spatial_zb.models.system_spec import Equation, SystemSpec
from spatial_zb.report import folder as output
from spatial_zb.report.manifest import input_record, output_record, versions
from spatial_zb.study import Model, Study, System
from spatial_zb.text import LANGUAGES, Language, Text
from spatial_zb.weights import Weights, contiguity, inverse_distance, knn

__all__ = ["STAGES", "Outcome", "Prepared", "prepare", "run"]

Stage = Literal["data", "moran", "tests", "models", "systems", "maps"]
STAGES: tuple[Stage, ...] = ("data", "moran", "tests", "models", "systems", "maps")

#: Words for the stages, shown while they run.
STAGE_WORDS = {
    "prepare": "Reading polygons and data",
    "data": "Describing the sample",
    "moran": "Moran's I",
    "tests": "Specification tests",
    "models": "Spatial Durbin models",
    "systems": "Simultaneous systems",
    "maps": "Maps and figures",
}

EFFECT_WORDS = {
    "none": Text("No effects", "无固定效应"),
    "unit": Text("Unit effects", "个体固定"),
    "time": Text("Time effects", "时间固定"),
    "two_way": Text("Two-way effects", "双向固定"),
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study with its data read and checked: what every stage starts from.

    ``panel`` holds the union of all samples, with raw and derived variables; ``filled`` the cells that were
    blank in print and how each was filled.
    """

    study: Study
    regions: Any
    panel: Panel
    samples: Mapping[str, tuple[str, ...]]
    filled: pd.DataFrame
    flags: pd.DataFrame
    _weights: dict[tuple[str, str], Weights] = field(default_factory=dict, repr=False)

    def sample(self, name: str) -> Panel:
        """The panel of one sample."""
        return self.panel.select(units=self.samples[name])

    def polygons(self, sample: str):
        """The polygons of one sample."""
        return select_regions(self.regions, self.samples[sample])

    def weights(self, name: str, sample: str) -> Weights:
        """Weights of one sample, built from its own polygons, once."""
        key = name, sample
        if key not in self._weights:
            self._weights[key] = build_weights(self.study, name, self.polygons(sample))
        return self._weights[key]

    @cached_property
    def labels(self) -> dict[str, Text]:
        """Words for every variable and its spatial lag."""
        return dict(self.panel.labels)

    @property
    def sources(self) -> tuple[Text, ...]:
        """Source lines for the notes of tables and the foot of figures."""
        data = self.study.data.source
        limits = [source_note(data)] if data is not None else []
        if len(self.filled):
            limits.append(
                Text(
                    f"{len(self.filled)} blank cells were filled by stated rules (table “missing”).",
                    f"{len(self.filled)}个空缺数据按说明的规则补齐（见“missing”表）。",
                )
            )
        return tuple(limits)


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    folder: Path
    files: tuple[Path, ...]
    reading: tuple[Text, ...]
    notes: tuple[str, ...]
    seconds: float


# --- preparing ---------------------------------------------------------------------------------------------


def prepare(study: Study) -> Prepared:
    """Read polygons and tables, match them by id, fill and derive variables.

    Raises
    ------
    SpatialZbError
        Whatever the readers, the gate or an expression refuse, with the names concerned.
    """
    regions = read_regions(study.file(study.regions.file), id=study.regions.id)
    samples = {name: _members(study, name, regions) for name in study.samples}
    units = [i for i in regions.index if any(i in members for members in samples.values())]
    table = _estimation_table(study, units)
    used = _columns_used(study, table)
    blanked = _blank_suspects(study, table)
    filled_table, filled = fill_missing(
        blanked, study.rules(), unit=study.data.unit, period=study.data.period, columns=used
    )
    units = [i for i in units if i in set(filled_table[study.data.unit])]
    panel = build_panel(filled_table, study.data.unit, study.data.period, units, columns=used)
    samples = {name: tuple(i for i in members if i in set(units)) for name, members in samples.items()}
    flags = _flags(study, table)
    return Prepared(study, regions, _with_derived(study, panel), samples, filled, flags)


def build_weights(study: Study, name: str, polygons: Any) -> Weights:
    """Build and normalise one of the study's weights matrices on the given polygons."""
    recipe = study.weights[name]
    options = recipe.model_dump(exclude={"name", "label", "kind", "normalisation", "rule"})
    if recipe.kind == "contiguity":
        built = contiguity(polygons, recipe.rule, label=name, **options)
    elif recipe.kind == "knn":
        built = knn(polygons, label=name, **options)
    else:
        built = inverse_distance(polygons, label=name, **options)
    return built.standardise(recipe.normalisation)


def _members(study: Study, name: str, regions: Any) -> tuple[str, ...]:
    """Unit ids of a sample, in the order of the polygons."""
    sample = study.samples[name]
    place = study.place(f"samples.{name}")
    keep = np.ones(len(regions), dtype=bool)
    if sample.units is not None:
        unknown = [u for u in sample.units if u not in regions.index]
        if unknown:
            raise AlignmentError(f"{place} names unit(s) that have no polygon: {listed(unknown)}.")
        keep &= regions.index.isin(sample.units)
    for column, wanted in (sample.where or {}).items():
        if column not in regions:
            raise SpecificationError(
                f"{place}: the polygons have no column {column!r}; they have {listed(regions.columns)}."
            )
        keep &= regions[column].astype(str).isin([str(w) for w in wanted]).to_numpy()
    if not keep.any():
        raise SpecificationError(f"{place} holds no unit at all.")
    return tuple(regions.index[keep])


def _read_table(path: Path, text_columns: Sequence[str]) -> pd.DataFrame:
    """Read a csv with its id columns as text, so that leading zeros stay."""
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(text_columns, str), encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(
            f"{path.name} cannot be read as a table: {error}. Save it as CSV in UTF-8."
        ) from error


def _estimation_table(study: Study, units: Sequence[str]) -> pd.DataFrame:
    """Rows of the study's units and periods; units without any row are refused here, by name."""
    data = study.data
    table = _read_table(study.file(data.file), [data.unit])
    first, last = data.periods
    table = table[table[data.unit].isin(units) & table[data.period].between(first, last)]
    missing = [u for u in units if u not in set(table[data.unit])]
    if missing:
        raise AlignmentError(
            f"{data.file} has no rows for {len(missing)} unit(s) of the samples: {listed(missing)}. "
            f"Add their rows for {first}–{last}, or take them out of [samples]."
        )
    twice = table[table.duplicated([data.unit, data.period])]
    if len(twice):
        pairs = [f"{u} {p}" for u, p in zip(twice[data.unit], twice[data.period], strict=True)]
        raise DataError(f"{data.file} has more than one row for {listed(pairs)}. Keep one row for each.")
    return table.reset_index(drop=True)


def _columns_used(study: Study, table: pd.DataFrame) -> list[str]:
    """Columns of the data file that a variable or a model needs, in the order of the file."""
    named = {n for v in study.variables.values() for n in compile_expression(v.expression).names}
    named |= {n for m in study.models.values() for n in (m.y, *m.x)}
    for part in (study.moran, study.maps):
        named |= set(part.variables) if part else set()
    return [c for c in table.columns if c in named]


def _blank_suspects(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Blank the printed figures that the study file calls suspect, so that its rules treat them as missing."""
    table = table.copy()
    for entry in study.suspect:
        here = (table[study.data.unit] == entry.unit) & (table[study.data.period] == entry.period)
        if not here.any():
            continue
        old = table.loc[here, entry.column].iloc[0]
        table.loc[here, entry.column] = np.nan
        warnings.warn(
            f"{entry.column} of {entry.unit} in {entry.period}, printed as {old:g}, is treated as missing: "
            f"{entry.reason.en}.",
            SpatialZbWarning,
            stacklevel=2,
        )
    return table


def _flags(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    data = study.data
    if data.flag is None or data.flag not in table:
        return pd.DataFrame(columns=["unit", "period", "flag"])
    found = table.loc[table[data.flag].notna(), [data.unit, data.period, data.flag]]
    return found.set_axis(["unit", "period", "flag"], axis=1)


def _with_derived(study: Study, panel: Panel) -> Panel:
    reference = None
    if study.data.reference is not None:
        totals = _read_table(study.file(study.data.reference), []).set_index(study.data.period)
        absent = [p for p in panel.periods if p not in totals.index]
        if absent:
            raise DataError(
                f"{study.data.reference} has no row for {listed(absent)}; every period needs its totals."
            )
        totals = totals.loc[list(panel.periods)].select_dtypes("number")
        reference = {c: totals[c].to_numpy(float) for c in totals}
    derived = derive(
        {name: v.expression for name, v in study.variables.items()},
        {c: panel.array(c) for c in panel.columns},
        units=list(panel.units),
        periods=list(panel.periods),
        reference=reference,
        constants={name: c.values for name, c in study.constants.items()},
        place=lambda name: study.place(f"variables.{name}.expression"),
    )
    return panel.with_columns(derived, {name: v.label for name, v in study.variables.items()})


# --- stages ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Job:
    """A prepared study and the place its artefacts go to."""

    prepared: Prepared
    place: Path
    tick: Callable[[str], None]

    @property
    def study(self) -> Study:
        return self.prepared.study

    @property
    def languages(self) -> tuple[Language, ...]:
        chosen = self.study.general.language
        return LANGUAGES if chosen == "both" else (chosen,)

    @property
    def source(self) -> Text | str:
        """The source of the data, as the note of a figure."""
        source = self.study.data.source
        return source_note(source) if source else ""

    def where(self, kind: str, language: Language) -> Path:
        """``tables`` or ``figures``; a folder of its own for each language when there are two."""
        return self.place / kind / language if len(self.languages) > 1 else self.place / kind

    def table(self, build: Callable[[Any], Any]) -> None:
        """Write one table, in every format and language."""
        from spatial_zb.report.tables import TableStyle, write_table

        for language in self.languages:
            style = TableStyle(language=language)
            write_table(build(style), self.where("tables", language), self.study.output.tables, style)

    def tidy(self, name: str, frame: pd.DataFrame) -> None:
        """Write a full-precision frame for further work."""
        from spatial_zb.report.files import write_atomic

        target = self.place / "tidy"
        target.mkdir(parents=True, exist_ok=True)
        write_atomic(target / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))

    def figure(self, stem: str, draw: Callable[[Any], Any], preset: str = "journal_double") -> None:
        """Draw and save one figure, in every format and language."""
        from spatial_zb.report.style import PRESETS, save_figure

        for language in self.languages:
            style = replace(PRESETS[preset], dpi=self.study.output.dpi, language=language)
            drawing = draw(style)
            save_figure(drawing.figure, self.where("figures", language), stem, self.study.output.figures)
        self.tick(stem)

    def seed(self, *key: str) -> np.random.SeedSequence:
        """A stream of its own for every task, whatever the order of work."""
        words = zlib.crc32("/".join(key).encode())
        return np.random.SeedSequence([self.study.general.seed, words])


def describe(job: _Job) -> list[Text]:
    """Definitions, descriptive statistics, and the cells that were filled."""
    from spatial_zb.report import layouts

    prepared, study = job.prepared, job.study
    panel = prepared.sample(study.main_sample)
    names = _model_variables(study)
    rows = [_definition(study, prepared, name) for name in names]
    job.table(lambda style: layouts.definitions_table(rows, notes=prepared.sources))
    job.table(
        lambda style: layouts.descriptives_table(
            panel, names, labels=prepared.labels, notes=prepared.sources, style=style
        )
    )
    if len(prepared.filled):
        words = prepared.labels | _unit_names(prepared) | RULE_WORDS | _column_words(study)
        reasons = [_sentence(entry.reason) for entry in (*study.suspect, *study.missing)]
        job.table(
            lambda style: layouts.missing_table(
                prepared.filled, words, notes=[*reasons, *prepared.sources[:1]], style=style
            )
        )
        job.tidy("missing", prepared.filled)
    job.tidy("panel", prepared.panel.frame())
    job.tick("data")
    return []


RULE_WORDS = {
    "interpolate": Text("linear between the nearest years", "相邻年份线性插值"),
    "median_growth": Text("median growth of the others", "其他地区增长率中位数"),
    "drop_units": Text("unit left out", "剔除该地区"),
    "drop_periods": Text("period left out", "剔除该年份"),
}


def autocorrelation(job: _Job) -> list[Text]:
    """Moran's I by period for every variable, weights matrix and sample."""
    from spatial_zb.report import layouts

    study, prepared = job.study, job.prepared
    if study.moran is None:
        return []
    reading: list[Text] = []
    for sample in study.samples_of(study.moran):
        results = {
            variable: {W: _moran(job, sample, variable, W) for W in study.weights_of(study.moran)}
            for variable in study.moran.variables
        }
        laid = {
            prepared.panel.label(v): {
                study.weights[W].label: result.table() for W, result in by_weights.items()
            }
            for v, by_weights in results.items()
        }
        key, title = "moran", None
        if len(study.samples_of(study.moran)) > 1:
            key = f"moran_{sample}"
            label = study.samples[sample].label
            title = Text(f"Moran's I, {label.en}", f"莫兰指数（{label.zh}）")
        job.table(
            lambda style, laid=laid, key=key, title=title: layouts.moran_table(
                laid,
                permutations=study.general.permutations,
                key=key,
                title=title,
                notes=prepared.sources,
                style=style,
            )
        )
        frames = [
            result.table().assign(variable=v, weights=W, sample=sample)
            for v, by_weights in results.items()
            for W, result in by_weights.items()
        ]
        job.tidy(key, pd.concat(frames, ignore_index=True))
        if sample == study.main_sample:
            reading = [_moran_reading(prepared, v, by_weights) for v, by_weights in results.items()]
    return reading


def _moran(job: _Job, sample: str, variable: str, W: str) -> MoranTable:
    result = moran(
        job.prepared.sample(sample),
        variable,
        job.prepared.weights(W, sample),
        permutations=job.study.general.permutations,
        rng=job.seed("moran", sample, variable, W),
    )
    job.tick(f"{variable} · {W}")
    return result


def _moran_reading(prepared: Prepared, variable: str, by_weights: Mapping[str, MoranTable]) -> Text:
    from spatial_zb.report.reading import moran_reading

    name, result = next(iter(by_weights.items()))
    return moran_reading(result.table(), prepared.panel.label(variable), prepared.study.weights[name].label)


def diagnose_models(job: _Job) -> list[Text]:
    """The test chain of every model of the main sample, and what it points to, in words."""
    from spatial_zb.report import layouts
    from spatial_zb.report.files import write_atomic

    study, prepared = job.study, job.prepared
    for model in study.models.values():
        if study.samples_of(model) != (study.main_sample,):
            continue
        W = study.weights_of(model)[0]
        spec = _spec(model, model.fixed_effects[-1])
        chain = diagnose(spec, prepared.sample(study.main_sample), prepared.weights(W, study.main_sample))
        label = prepared.labels | _weights_words(study)
        notes = [
            Text(f"Dependent variable: {label[model.y].en}.", f"被解释变量：{label[model.y].zh}。"),
            Text(f"Weights matrix: {label[W].en}.", f"空间权重矩阵：{label[W].zh}。"),
            *_model_notes(job, *job.study.samples_of(model)),
            *prepared.sources,
        ]
        job.table(
            lambda style, chain=chain, model=model, notes=notes: layouts.chain_table(
                chain.tidy(style.language),
                title=Text(f"{model.title.en}: specification tests", f"{model.title.zh}：设定检验"),
                key=f"tests_{model.name}",
                notes=notes,
                style=style,
            )
        )
        job.tidy(f"tests_{model.name}", chain.tidy())
        for language in job.languages:
            target = job.where("tables", language) / f"tests_{model.name}_reading.txt"
            write_atomic(target, chain.recommend(language) + "\n")
        job.tick(f"{model.name} · {W}")
    return []


@dataclass(frozen=True, eq=False)
class _Column:
    """One estimated column of a model's table."""

    sample: str
    weights: str
    effects: str
    heading: Text
    fit: Fit
    delta: Effects
    simulated: Effects | None


def estimate(job: _Job) -> list[Text]:
    """Every model of the study: estimates, effects with delta and simulated errors, and their figure."""
    reading: list[Text] = []
    for model in job.study.models.values():
        columns = _fit_all(job, model)
        _write_model(job, model, columns)
        _draw_effects(job, model, columns)
        if columns[-1].sample == job.study.main_sample:
            reading.append(_model_reading(job, model, columns[-1]))
    return reading


def _fit_all(job: _Job, model: Model) -> list[_Column]:
    study, prepared = job.study, job.prepared
    columns = []
    for sample in study.samples_of(model):
        for W in study.weights_of(model):
            for effects in model.fixed_effects:
                spec = _spec(model, effects)
                weights = prepared.weights(W, sample)
                fit = fit_durbin(spec, prepared.sample(sample), weights, model.estimator, model.covariance)
                draws, seed = study.general.draws, job.seed("effects", model.name, sample, W, effects)
                simulated = spatial_effects(fit, "simulate", draws=draws, rng=seed) if fit.converged else None
                heading = _heading(study, model, sample, W, effects)
                columns.append(_Column(sample, W, effects, heading, fit, spatial_effects(fit), simulated))
                job.tick(f"{model.name} · {sample} · {effects}")
    return columns


def _spec(model: Model, effects: str) -> DurbinSpec:
    return DurbinSpec(model.y, model.x, model.lag_y, model.lag_x, model.lag_error, effects)


def _heading(study: Study, model: Model, sample: str, W: str, effects: str) -> Text:
    """What sets this column apart from the others of its table."""
    parts = []
    if len(study.samples_of(model)) > 1:
        parts.append(study.samples[sample].label)
    if len(study.weights_of(model)) > 1:
        parts.append(study.weights[W].label)
    if len(model.fixed_effects) > 1 or not parts:
        parts.append(EFFECT_WORDS[effects])
    return Text(", ".join(p.en for p in parts), "，".join(p.zh for p in parts))


def _write_model(job: _Job, model: Model, columns: Sequence[_Column]) -> None:
    from spatial_zb.report import layouts

    prepared = job.prepared
    y = prepared.panel.label(model.y)
    notes = [*_model_notes(job, *job.study.samples_of(model)), *prepared.sources]
    family = columns[0].fit.spec.family
    fits = [(c.heading, c.fit) for c in columns]
    job.table(
        lambda style: layouts.regression_table(
            fits,
            labels=prepared.labels | _weights_words(job.study),
            dependent=y,
            title=Text(f"{model.title.en}: {family}", f"{model.title.zh}：{family}估计结果"),
            key=f"{family.lower()}_{model.name}",
            notes=notes,
            style=style,
        )
    )
    effects = [(c.heading, c.delta) for c in columns]
    job.table(
        lambda style: layouts.effects_table(
            effects,
            labels=prepared.labels | _weights_words(job.study),
            title=Text(
                f"{model.title.en}: direct, indirect and total effects",
                f"{model.title.zh}：直接、间接与总效应",
            ),
            key=f"effects_{model.name}",
            notes=notes,
            style=style,
        )
    )
    facts = [{"sample": c.sample, "weights": c.weights, "fixed_effects": c.effects} for c in columns]
    job.tidy(
        f"{family.lower()}_{model.name}",
        pd.concat([c.fit.tidy().assign(**f) for c, f in zip(columns, facts, strict=True)], ignore_index=True),
    )
    job.tidy(
        f"fit_{model.name}",
        pd.concat([c.fit.glance().assign(sample=c.sample) for c in columns], ignore_index=True),
    )
    both = [
        result.tidy().assign(method=result.method, **fact)
        for c, fact in zip(columns, facts, strict=True)
        for result in (c.delta, c.simulated)
        if result is not None
    ]
    job.tidy(f"effects_{model.name}", pd.concat(both, ignore_index=True))


def _model_notes(job: _Job, *samples: str) -> list[Text]:
    """Which units the columns rest on: the sample sizes a reader needs to weigh small samples."""
    names = [(job.study.samples[s].label, len(job.prepared.samples[s])) for s in samples]
    first, last = job.prepared.panel.periods[0], job.prepared.panel.periods[-1]
    return [
        Text(
            "Sample: " + "; ".join(f"{label.en}, {n} units" for label, n in names) + f"; {first}–{last}.",
            "样本：" + "；".join(f"{label.zh}{n}个地区" for label, n in names) + f"；{first}—{last}年。",
        )
    ]


def _weights_words(study: Study) -> dict[str, Text]:
    return {name: W.label for name, W in study.weights.items()}


def _draw_effects(job: _Job, model: Model, columns: Sequence[_Column]) -> None:
    from spatial_zb.report.figures import effects_plot

    effects = {str(number): c.delta for number, c in enumerate(columns)}
    headings = {str(number): c.heading for number, c in enumerate(columns)}
    job.figure(
        f"effects_{model.name}",
        lambda style: effects_plot(
            effects,
            labels=job.prepared.labels,
            models=headings,
            title=model.title,
            note=job.source,
            style=style,
        ),
    )


def _model_reading(job: _Job, model: Model, column: _Column) -> Text:
    from spatial_zb.report.reading import effect_reading

    study = job.study
    sample, effects = study.samples[column.sample].label, EFFECT_WORDS[column.effects]
    n, first, last = (
        len(job.prepared.samples[column.sample]),
        *job.prepared.panel.periods[:: len(job.prepared.panel.periods) - 1],
    )
    where = Text(
        f"{model.title.en} ({sample.en}, {n} units, {first}–{last}; {column.fit.spec.family}, {effects.en.lower()})",
        f"{model.title.zh}（{sample.zh}{n}个地区，{first}—{last}年；{column.fit.spec.family}，{effects.zh}）",
    )
    return effect_reading(
        column.delta.tidy(), model.x[0], job.prepared.panel.label(model.y), job.prepared.labels, where
    )


@dataclass(frozen=True, eq=False)
class _SystemColumn:
    """One estimated system: a sample, a weights matrix and a method."""

    facts: dict[str, str]
    heading: Text
    fit: SystemFit
    effects: Effects | None


METHOD_WORDS = {
    "2sls": Text("2SLS", "2SLS"),
    "3sls": Text("3SLS", "3SLS"),
    "gs2sls": Text("GS2SLS", "GS2SLS"),
    "gs3sls": Text("GS3SLS", "GS3SLS"),
    "fiml": Text("FIML", "FIML"),
}


def estimate_systems(job: _Job) -> list[Text]:
    """Every system of the study: estimates, identification, mutual effects and their figure.

    A method that cannot estimate a system on a sample is left out with a warning that says why; the study
    fails only when none can.
    """
    for system in job.study.systems.values():
        columns = _fit_systems(job, system)
        _write_system(job, system, columns)
        _draw_system(job, system, columns)
    return []


def _fit_systems(job: _Job, system: System) -> list[_SystemColumn]:
    study, prepared = job.study, job.prepared
    options = {name: e.model_dump() for name, e in system.equations.items()}
    spec = SystemSpec(
        {name: Equation(**o) for name, o in options.items()}, fixed_effects=system.fixed_effects
    )
    columns: list[_SystemColumn] = []
    failure: SpatialZbError | None = None
    for sample, W, method in product(study.samples_of(system), study.weights_of(system), system.methods):
        facts = {"sample": sample, "weights": W, "method": method}
        covariance = None if method == "fiml" else system.covariance
        try:
            fit = fit_system(
                spec, prepared.sample(sample), prepared.weights(W, sample), method, covariance=covariance
            )
            effects = spatial_effects(fit) if fit.stability().stable else None
        except SpatialZbError as error:
            failure = error
            warnings.warn(
                f"System {system.name}, {', '.join(facts.values())}: {error}", SpatialZbWarning, stacklevel=2
            )
            continue
        columns.append(_SystemColumn(facts, _system_heading(study, system, **facts), fit, effects))
        job.tick(f"{system.name} · {sample} · {W} · {method}")
    if not columns and failure is not None:
        raise failure
    return columns


def _system_heading(study: Study, system: System, sample: str, weights: str, method: str) -> Text:
    parts = []
    if len(study.samples_of(system)) > 1:
        parts.append(study.samples[sample].label)
    if len(study.weights_of(system)) > 1:
        parts.append(study.weights[weights].label)
    if len(system.methods) > 1 or not parts:
        parts.append(METHOD_WORDS[method])
    return Text(", ".join(p.en for p in parts), "，".join(p.zh for p in parts))


def _write_system(job: _Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    from spatial_zb.report import layouts

    study, prepared = job.study, job.prepared
    labels = prepared.labels | _weights_words(study)
    labels |= {name: prepared.panel.label(e.y) for name, e in system.equations.items()}
    for sample, W in product(study.samples_of(system), study.weights_of(system)):
        own = [c for c in columns if (c.facts["sample"], c.facts["weights"]) == (sample, W)]
        if not own:
            continue
        key = "_".join([system.name, sample, W])
        where = study.samples[sample].label, study.weights[W].label
        title = Text(
            f"{system.title.en}: {where[0].en}, {where[1].en}",
            f"{system.title.zh}：{where[0].zh}，{where[1].zh}",
        )
        notes = [*_model_notes(job, sample), *prepared.sources]
        fits = [(METHOD_WORDS[c.facts["method"]], c.fit) for c in own]
        job.table(
            lambda style, fits=fits, key=key, title=title, notes=notes: layouts.regression_table(
                fits, labels=labels, title=title, key=f"system_{key}", notes=notes, style=style
            )
        )
        stable = [(METHOD_WORDS[c.facts["method"]], c.effects) for c in own if c.effects is not None]
        if stable:
            job.table(
                lambda style, stable=stable, key=key, title=title, notes=notes: layouts.effects_table(
                    stable,
                    labels=labels | _shock_words(system, prepared),
                    title=title,
                    key=f"system_effects_{key}",
                    notes=notes,
                    style=style,
                )
            )
    _tidy_system(job, system, columns)


def _tidy_system(job: _Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    """Full-precision frames: estimates, effects, feedback, identification, one file for each."""
    from spatial_zb.system_effects import feedback_decomposition

    stable = [c for c in columns if c.effects is not None]
    frames = {
        "": [(c, c.fit.tidy()) for c in columns],
        "_identification": [(c, c.fit.identification()) for c in columns],
        "_effects": [(c, c.effects.tidy()) for c in stable],
        "_feedback": [(c, feedback_decomposition(c.fit)) for c in stable],
    }
    for ending, parts in frames.items():
        if parts:
            job.tidy(
                f"system_{system.name}{ending}",
                pd.concat([f.assign(**c.facts) for c, f in parts], ignore_index=True),
            )


def _shock_words(system: System, prepared: Prepared) -> dict[str, Text]:
    """Words for a structural shock of each equation."""
    labels = {name: prepared.panel.label(e.y) for name, e in system.equations.items()}
    return {f"shock:{name}": Text(f"Shock to {w.en}", f"{w.zh}的冲击") for name, w in labels.items()}


def _draw_system(job: _Job, system: System, columns: Sequence[_SystemColumn]) -> None:
    """One figure for each sample and W: what a shock in one equation does to the others, by method."""
    from spatial_zb.report.figures import effects_plot

    study = job.study
    names = {name: _short(job.prepared.panel.label(e.y)) for name, e in system.equations.items()}
    arrows = {
        f"{a} → {b}": Text(f"{x.en} → {y.en}", f"{x.zh} → {y.zh}")
        for (a, x), (b, y) in product(names.items(), repeat=2)
    }
    for sample, W in product(study.samples_of(system), study.weights_of(system)):
        own = [c for c in columns if (c.facts["sample"], c.facts["weights"]) == (sample, W) and c.effects]
        frames = {c.facts["method"]: _mutual(c.effects.tidy()) for c in own}
        if not frames:
            continue
        where = study.samples[sample].label, study.weights[W].label
        title = Text(
            f"{system.title.en}: {where[0].en}, {where[1].en}",
            f"{system.title.zh}：{where[0].zh}，{where[1].zh}",
        )
        job.figure(
            f"system_{system.name}_{sample}_{W}",
            lambda style, frames=frames, title=title: effects_plot(
                frames, labels=arrows, models=METHOD_WORDS, title=title, note=job.source, style=style
            ),
        )


def _mutual(effects: pd.DataFrame) -> pd.DataFrame:
    """Effects of a shock in one equation on another, with the term "source → response"."""
    shocks = effects[effects["source"].str.startswith("shock:")]
    source = shocks["source"].str.removeprefix("shock:")
    return shocks.assign(term=source + " → " + shocks["response"])[source != shocks["response"]]


def _short(label: Text) -> Text:
    """A label without what it says in brackets."""
    return Text(label.en.split(" (")[0], label.zh.split("（")[0])


def draw_maps(job: _Job) -> list[Text]:
    """Choropleths with common classes, Moran scatterplots of the ends of the sample, and the link maps."""
    from spatial_zb.report.maps import choropleth_panels

    study, prepared = job.study, job.prepared
    if study.maps is None:
        return []
    sample = study.main_sample
    panel, polygons = prepared.sample(sample), prepared.polygons(sample)
    chosen = list(study.maps.periods)
    for variable in study.maps.variables:
        values = panel.select(periods=chosen).array(variable)
        frame = pd.DataFrame(values.T, index=panel.units, columns=chosen)
        label = panel.label(variable)
        job.figure(
            f"map_{variable}",
            lambda style, frame=frame, label=label: choropleth_panels(
                polygons,
                frame,
                scheme=study.maps.scheme,
                k=study.maps.classes,
                text=_map_text(study, legend=label),
                labels=study.maps.labels,
                crs=study.regions.projected_crs,
                style=style,
            ),
        )
        _draw_scatter(job, panel, variable)
    for name in study.weights:
        _draw_links(job, name, sample, polygons)
    return []


def _draw_scatter(job: _Job, panel: Panel, variable: str) -> None:
    from spatial_zb.report.figures import moran_scatter_panels

    W = next(iter(job.study.weights))
    ends = [panel.periods[0], panel.periods[-1]]
    values = pd.DataFrame(panel.select(periods=ends).array(variable).T, index=panel.units, columns=ends)
    names = _unit_names(job.prepared)
    job.figure(
        f"moran_scatter_{variable}",
        lambda style: moran_scatter_panels(
            values,
            job.prepared.weights(W, job.study.main_sample),
            label=panel.label(variable),
            names={i: name.pick(style.language) for i, name in names.items()} or None,
            note=job.source,
            style=style,
        ),
    )


def _draw_links(job: _Job, name: str, sample: str, polygons: Any) -> None:
    from spatial_zb.report.maps import weights_map

    W = job.prepared.weights(name, sample)
    if W.matrix.nnz > MOST_LINKS:
        return  # a web of all pairs shows nothing
    job.figure(
        f"weights_{name}",
        lambda style: weights_map(
            polygons,
            W,
            text=_map_text(job.study, data=False, title=job.study.weights[name].label),
            crs=job.study.regions.projected_crs,
            style=style,
        ),
        preset="journal_single",
    )


#: A link map with more links than this is a black page.
MOST_LINKS = 1000


def _map_text(study: Study, data: bool = True, **words: Text):
    from spatial_zb.report.sheet import MapText

    source = _join_sources(study.data.source if data else None, study.regions.source)
    return MapText(source=source or "", review_number=study.regions.review_number, **words)


def _join_sources(data: Text | None, polygons: Text | None) -> Text | None:
    if data is None or polygons is None:
        return data or polygons
    return Text(f"{data.en}; polygons: {polygons.en}.", f"{data.zh}；底图：{polygons.zh}。")


def _sentence(text: Text) -> Text:
    return Text(text.en.rstrip(".") + ".", text.zh.rstrip("。") + "。")


def source_note(source: Text) -> Text:
    """The source as the closing line of a table or figure."""
    return Text(f"Source: {source.en}.", f"资料来源：{source.zh}。")


# --- words -------------------------------------------------------------------------------------------------


def _model_variables(study: Study) -> list[str]:
    """Variables of all models, then those only mapped or tested, each once."""
    names = [name for model in study.models.values() for name in (model.y, *model.x)]
    for part in (study.moran, study.maps):
        names += part.variables if part else ()
    return list(dict.fromkeys(names))


def _definition(study: Study, prepared: Prepared, name: str) -> dict[str, Text | str]:
    variable = study.variables.get(name)
    return {
        "name": name,
        "label": prepared.panel.label(name),
        "definition": variable.expression if variable else name,
    }


def _unit_names(prepared: Prepared) -> dict[str, Text]:
    regions = prepared.regions
    if not {"name_en", "name_zh"} <= set(regions.columns):
        return {}
    return {
        i: Text(en, zh)
        for i, en, zh in zip(regions.index, regions["name_en"], regions["name_zh"], strict=True)
    }


def _column_words(study: Study) -> dict[str, Text]:
    """Words of the codebook for the columns of the data file, where the study names one."""
    if study.data.codebook is None:
        return {}
    book = _read_table(study.file(study.data.codebook), [])
    table = Path(study.data.file).stem
    rows = book[(book["table"] == table) & book["label_en"].notna() & book["label_zh"].notna()]
    return {
        n: Text(en, zh) for n, en, zh in zip(rows["name"], rows["label_en"], rows["label_zh"], strict=True)
    }


# --- running -----------------------------------------------------------------------------------------------

_WORK: dict[Stage, Callable[[_Job], list[Text]]] = {
    "data": describe,
    "moran": autocorrelation,
    "tests": diagnose_models,
    "models": estimate,
    "systems": estimate_systems,
    "maps": draw_maps,
}


def run(
    study: Study,
    stages: Sequence[Stage] = STAGES,
    *,
    out: Path | None = None,
    progress: Callable[[str, str], None] = lambda stage, step: None,
) -> Outcome:
    """Run stages of a study and write their results to ``out`` (default ``results/<study>``).

    Everything is built beside the results and moved there at the end: an error or an interruption leaves
    earlier results as they were. Results of stages that are not run stay.

    Raises
    ------
    SpatialZbError
        What a stage refuses, or an output folder that cannot be used.
    """
    begun = time.perf_counter()
    target = (out or study.results).resolve()
    with output.locked(target), output.staging(target) as place, _collected() as notes:
        inputs = input_record({"study": study.path, **study.files()}, study.root)
        timings: dict[str, float] = {}
        with _timed(timings, "prepare"):
            progress(STAGE_WORDS["prepare"], "")
            prepared = prepare(study)
        reading: list[Text] = []
        stage_of: dict[str, str] = {}
        for stage in stages:
            with _timed(timings, stage):
                job = _Job(prepared, place, lambda step, stage=stage: progress(STAGE_WORDS[stage], step))
                reading += _WORK[stage](job)
            stage_of |= {p: stage for p in _files_in(place) if p not in stage_of}
        if input_record({"study": study.path, **study.files()}, study.root) != inputs:
            warnings.warn(
                "An input file changed while the study was running.", SpatialZbWarning, stacklevel=2
            )
        reading = _three_lines(reading)
        manifest, stale = _manifest(study, target, place, stages, stage_of, inputs, timings, notes, reading)
        files = output.publish(place, target, manifest, stale)
    return Outcome(
        target,
        (*files, target / output.MANIFEST),
        tuple(reading),
        tuple(_messages(notes)),
        time.perf_counter() - begun,
    )


def _three_lines(reading: list[Text]) -> list[Text]:
    """The findings of the models first; Moran's I fills up to three lines; the caveat always closes."""
    return [*sorted(reading, key=lambda line: "Moran" in line.en or "spatially correlated" in line.en)[:3]]


def _manifest(
    study: Study,
    target: Path,
    place: Path,
    stages: Sequence[Stage],
    stage_of: Mapping[str, str],
    inputs: list[dict[str, Any]],
    timings: Mapping[str, float],
    notes: list[warnings.WarningMessage],
    reading: list[Text],
) -> tuple[dict[str, Any], list[str]]:
    """The manifest of this run, and the files of earlier runs of the same stages that it does not make."""
    old = output.read_manifest(target)
    earlier = old.get("outputs", [])
    made = output_record(place, stage_of)
    new = {record["path"] for record in made}
    kept = [r for r in earlier if r["stage"] not in stages and r["path"] not in new]
    stale = [r["path"] for r in earlier if r["stage"] in stages and r["path"] not in new]
    same = old.get("inputs") == inputs
    manifest = {
        "study": study.name,
        "versions": versions(spatial_zb.__version__),
        "seed": study.general.seed,
        "inputs": inputs,
        "settings": study.settings(),
        "stages": list(stages),
        "seconds": {name: round(value, 3) for name, value in timings.items()},
        "notes": _messages(notes),
        "reading": [{"en": line.en, "zh": line.zh} for line in reading],
        "outputs": made + [{**r, "from_other_inputs": not same} for r in kept],
    }
    return manifest, stale


def _files_in(place: Path) -> Iterable[str]:
    return (p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())


@contextmanager
def _collected() -> Iterator[list[warnings.WarningMessage]]:
    """Gather this package's warnings for the log and the manifest; the rest stay with their owners."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        yield caught


def _messages(notes: Sequence[warnings.WarningMessage]) -> list[str]:
    return list(dict.fromkeys(str(n.message) for n in notes if issubclass(n.category, SpatialZbWarning)))


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - begun
