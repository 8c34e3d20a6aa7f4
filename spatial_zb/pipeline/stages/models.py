"""Stage tests, what the stage models draws (columns of its tables, figures of its models), and the power of models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from spatial_zb import simulate
from spatial_zb.base.errors import SpatialZbWarning, SpecificationError, listed, listed_zh
from spatial_zb.base.execute import Execution
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.base.threads import give_back_memory
from spatial_zb.effects.dynamic import effects_path
from spatial_zb.effects.table import Effects
from spatial_zb.hypotheses import diagnose
from spatial_zb.hypotheses.nested import can_be_simplified, regime_tests, simplification_tests
from spatial_zb.hypotheses.sizes import by_section
from spatial_zb.inference.median import MedianUnbiased
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import regime_labels
from spatial_zb.models.spec import CLUSTERED, DurbinSpec
from spatial_zb.models.spec import Effects as ModelEffects
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.fit import SystemFit
from spatial_zb.pipeline.job import Job, figure_note, sample_notes, weights_note
from spatial_zb.pipeline.stages.systems import system_spec
from spatial_zb.pipeline.words import effect_words, saying_where, short_words, weights_words
from spatial_zb.report import figures
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.tables.table import TableLook
from spatial_zb.study import Model, Study, System

if TYPE_CHECKING:
    from spatial_zb.pipeline.prepare import Prepared
    from spatial_zb.report.tables.table import Table
    from spatial_zb.simulate.planning import PowerStudy


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

    @property
    def kind(self) -> Text:
        """What tells it apart where sample and W do not: its effects, of one period its model."""
        panel = self.fit.panel
        return kind_of(self.fit.spec) if len(panel.periods) == 1 else effect_words(self.effects, panel.labels)

    @cached_property
    def simplifications(self) -> TestTable:
        """Tests against SAR and SEM; once for all tables that print the column, since they refit."""
        return simplification_tests(self.fit)


def kind_of(spec: DurbinSpec) -> Text:
    """The family in words: dynamic SDM, regime SDM."""
    from spatial_zb.report.words import MODELS

    return MODELS.get(spec.title, Text.of(spec.title))


def choices_of(study: Study, title: Text, columns: Sequence[Column]) -> dict[str, Text]:
    """Words that set these columns apart in the report, under a title for their model."""
    samples = dict.fromkeys(c.sample for c in columns)
    weights = dict.fromkeys(c.weights for c in columns)
    return {
        "model": title,
        "sample": study.samples[next(iter(samples))].label if len(samples) == 1 else ALL_SAMPLES,
        "weights": study.weights[next(iter(weights))].label if len(weights) == 1 else ALL_WEIGHTS,
    }


ALL_SAMPLES = Text("All samples side by side", "全部样本并列")
ALL_WEIGHTS = Text("All matrices side by side", "全部矩阵并列")


def static_spec(model: Model, effects: ModelEffects) -> DurbinSpec:
    """The specification without lags in time and without regimes."""
    return DurbinSpec(model.y, model.x, model.lag_y, model.lag_x, model.lag_error, effects)


def spec_of(model: Model, effects: ModelEffects) -> DurbinSpec:
    """The specification of a model of the study with one kind of effects."""
    return replace(
        static_spec(model, effects),
        time_lag=model.time_lag,
        lag_time_lag=model.lag_time_lag,
        regimes=model.regimes,
        common=model.common,
    )


def fit_model(prepared: Prepared, model: Model, effects: ModelEffects, sample: str, weights: str) -> Fit:
    """A model of the study on a sample under one W, with one kind of effects."""
    own = (None if name is None else prepared.weights(name, sample) for name in (model.W_x, model.W_error))
    W_x, W_error = own
    spec, panel, W = spec_of(model, effects), prepared.sample(sample), prepared.weights(weights, sample)
    return fit_durbin(spec, panel, W, **prepared.fit_options(model, sample), W_x=W_x, W_error=W_error)


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


#: Periods of the path of effects after a change.
PATH_PERIODS = 10


def draw_effects(job: Job, model: Model, columns: Sequence[Column]) -> None:
    """Effects of all columns; of the last one by regime, or over time, where the model has these."""
    if model.regimes:
        if columns[-1].delta.reason is None:
            _draw_regimes(job, model, columns[-1])
        return
    everything = effect_columns(columns)
    pairs = [(heading, result) for heading, result in everything if result.reason is None]
    lost = [heading for heading, result in everything if result.reason is not None]
    if not pairs:
        return
    effects = {str(number): result for number, (_, result) in enumerate(pairs)}
    headings = {str(number): heading for number, (heading, _) in enumerate(pairs)}
    job.figure(
        f"effects_{model.name}",
        partial(figures.effects, effects, models=headings),
        Look(
            title=model.title,
            note=_figure_note(job, model, [heading for heading, _ in pairs], lost),
            words=job.prepared.labels,
        ),
        shown=Text(f"Effects: {model.title.en}", f"效应：{model.title.zh}"),
        choices={"model": model.title},
    )
    if columns[-1].fit.spec.dynamic and columns[-1].delta.reason is None:
        _draw_path(job, model, columns[-1])


def _figure_note(job: Job, model: Model, drawn: Sequence[Text], lost: Sequence[Text]) -> Text:
    """Samples below the effects of all columns, and W where it is the same in all; else headings name it.

    Columns without effects are named, and the only one left, which has no legend.
    """
    names = job.study.weights_of(model)
    said = weights_note(job, names[0]) if len(names) == 1 else None
    if lost:
        kept = [*drawn] if len(drawn) == 1 else []
        parts = [
            *([Text(f"Drawn: {kept[0].en}.", f"图示：{kept[0].zh}。")] if kept else []),
            Text(
                f"Not computed (see the table), not drawn: {'; '.join(heading.en for heading in lost)}.",
                f"未计算（见表），未绘出：{'；'.join(heading.zh for heading in lost)}。",
            ),
            *([said] if said else []),
        ]
        said = Text(" ".join(part.en for part in parts), "".join(part.zh for part in parts))
    return figure_note(job, *job.study.samples_of(model), said=said)


def _draw_regimes(job: Job, model: Model, column: Column) -> None:
    job.figure(
        f"effects_{model.name}",
        partial(figures.regimes, column.delta, names=regime_words(job, column.fit)),
        _look(job, model, column),
        shown=Text(f"Effects by regime: {model.title.en}", f"分区制效应：{model.title.zh}"),
        choices={"model": model.title},
    )


def _draw_path(job: Job, model: Model, column: Column) -> None:
    path = effects_path(column.fit, PATH_PERIODS).tidy()
    job.figure(
        f"effects_path_{model.name}",
        partial(
            figures.effects_path,
            path,
            terms=list(model.x),
            long_run=None if column.long is None or column.long.reason is not None else column.long.tidy(),
        ),
        _look(job, model, column),
        shown=Text(f"Effects over time: {model.title.en}", f"效应随时间的变化：{model.title.zh}"),
        choices={"model": model.title},
    )


def _look(job: Job, model: Model, column: Column) -> Look:
    """The words around a figure of one column."""
    note = figure_note(job, column.sample, said=weights_note(job, column.weights))
    return Look(title=titled(model, column), note=note, words=job.prepared.labels)


def regime_words(job: Job, fit: Fit) -> dict[str, Text]:
    """Words of each regime by what stands in the brackets, ``core=1``: those of the variable, or its label and value."""
    labels, name = job.prepared.labels, str(fit.spec.regimes)
    group = labels.get(name, Text.of(name))
    known = job.study.variables[name].values if name in job.study.variables else {}
    values = fit.convergence.regimes
    endings = regime_labels(fit.spec, values)
    return {
        ending.strip("[]"): known.get(f"{value:g}", Text(f"{group.en} = {value:g}", f"{group.zh}={value:g}"))
        for ending, value in zip(endings, values, strict=True)
    }


def regime_notes(columns: Sequence[Column]) -> list[Text]:
    """Wald tests that the regimes are equal: ρ, the first variable at home and next door, and all together."""
    notes = []
    for c in columns if columns[0].fit.spec.regimes else ():
        if not c.fit.converged:
            continue
        tests = {row.of: row for row in regime_tests(c.fit).rows}
        first = c.fit.spec.x[0]
        word = short_words(c.fit.panel.label(first))
        rows = {
            "rho": Text("ρ alone", "仅ρ"),
            first: Text(f"{word.en} alone", f"仅{word.zh}"),
            f"W_{first}": Text(f"W × {word.en} alone", f"仅W × {word.zh}"),
            "all": Text("all coefficients", "全部系数"),
        }
        parts = [(words, _wald(tests[name], c.fit)) for name, words in rows.items() if name in tests]
        notes.append(
            Text(
                f"{c.heading.en}: Wald test of equal regimes: "
                + "; ".join(f"{w.en} {found}" for w, found in parts)
                + ".",
                f"{c.heading.zh}：各区制系数相等的Wald检验："
                + "；".join(f"{w.zh} {found}" for w, found in parts)
                + "。",
            )
        )
    return notes


def _wald(row: Row, fit: Fit) -> str:
    """A Wald test as its p-value was found: Hotelling's F by units where errors are clustered."""
    q, n, value = int(row.df), len(fit.panel.units), row.statistic
    if fit.covariance not in CLUSTERED or n <= q:
        return f"χ²({q}) = {value:.2f}, {_p(row.p_value)}"
    return f"F({q}, {n - q}) = {(n - q) / (q * (n - 1)) * value:.2f}, {_p(row.p_value)}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


#: Words of the tests whether an SDM may be simplified.
_SIMPLER = {
    test: Text(test.replace(" to ", " → "), f"{test.split()[0]} 检验：SDM→{test.split()[-1]}")
    for test in ("LR SDM to SAR", "Wald SDM to SAR", "LR SDM to SEM", "Wald SDM to SEM")
}


def term_words(job: Job, columns: Sequence[Column]) -> dict[str, Text]:
    """Words for the terms of a model; with regimes, for those of each regime."""
    labels = dict(job.prepared.labels | weights_words(job.study))
    fit = columns[0].fit
    if not fit.spec.regimes:
        return labels
    names = {name: labels.get(name, Text.of(name)) for name in fit.spec.x}
    labels |= {name: Text(f"{w.en} (all units)", f"{w.zh}（全部地区）") for name, w in names.items()}
    names["rho"] = Text("Spatial lag ρ", "空间自回归系数 ρ")
    for regime, where in regime_words(job, fit).items():
        labels |= {
            f"{name}[{regime}]": Text(f"{w.en} ({where.en})", f"{w.zh}（{where.zh}）")
            for name, w in names.items()
        }
    return labels


def simplifications(columns: Sequence[Column]) -> dict[Text, list[tuple[float, float] | None]]:
    """Rows of the tests against SAR and SEM, for tables whose columns all can be tested."""
    if not all(can_be_simplified(c.fit) for c in columns):
        return {}
    found = [c.simplifications for c in columns]
    rows = {test: [table.row(test) for table in found] for test in _SIMPLER}
    return {_SIMPLER[test]: [(row.statistic, row.p_value) for row in rows[test] if row] for test in _SIMPLER}


#: Said below the tests of a model that has more than they test.
STATIC = Text("Tests of the static model with one regime.", "检验对象为不含时间滞后、不分区制的静态模型。")


def _chain_table(job: Job, chain: TestTable, labels: Mapping[str, Text], look: TableLook) -> Table:
    from spatial_zb.report.tables import layouts

    sections = by_section(chain, "zh" if look.style.language == "zh" else "en", labels)
    return layouts.chain_table(sections, replicates=job.study.general.bootstrap, look=look)


def diagnose_models(job: Job) -> list[Text]:
    """The test chain of every model of the main sample, and what it points to, in words."""

    study, prepared = job.study, job.prepared
    for model in study.models.values():
        if study.samples_of(model) != (study.main_sample,):
            continue
        W = study.weights_of(model)[0]
        spec = static_spec(model, model.fixed_effects[-1])
        weights = prepared.weights(W, study.main_sample)
        own = [
            None if name is None else prepared.weights(name, study.main_sample)
            for name in (model.W_x, model.W_error)
        ]
        with saying_where(study.place(f"models.{model.name}")):
            chain = diagnose(
                spec,
                prepared.sample(study.main_sample),
                weights,
                W_x=own[0],
                W_error=own[1],
                replicates=study.general.bootstrap,
                rng=job.seed("tests", model.name),
                workers=Execution(
                    progress=lambda done, total, left: job.tick(f"{done}/{total}, {left:.0f} s")
                ),
            )
        label = prepared.labels | weights_words(study)
        notes = [
            Text(f"Dependent variable: {label[model.y].en}.", f"被解释变量：{label[model.y].zh}。"),
            weights_note(job, W),
            *([STATIC] if model.time_lag or model.lag_time_lag or model.regimes else []),
            *sample_notes(job, *job.study.samples_of(model)),
            *(Text(f"{note.text.en}.", f"{note.text.zh}。") for note in chain.notes),
            *prepared.sources,
        ]
        job.table(
            partial(_chain_table, job, chain, label),
            TableLook(
                title=Text(f"{model.title.en}: specification tests", f"{model.title.zh}：设定检验"),
                key=f"tests_{model.name}",
                notes=notes,
            ),
            {"model": model.title},
        )
        job.tidy(f"tests_{model.name}", chain.tidy())
        job.prose(
            f"tests_{model.name}_reading",
            model.title,
            [Text(chain.recommend("en", label), chain.recommend("zh", label))],
            {"model": model.title},
        )
        job.tick(f"{model.name} · {W}")
        give_back_memory()
    return []


def planned_power(
    prepared: Prepared,
    name: str,
    given: Mapping[str, float],
    factors: Sequence[float] = (1.0,),
    *,
    periods: Sequence[int] = (),
    replicates: int = 500,
    rng: int | None = None,
    workers: int | Execution = 1,
) -> PowerStudy:
    """What a model or system of the study could find in samples like its own.

    It is estimated on its first sample and weights; panels are drawn with the estimates as the truth, but for the values
    ``given`` by name (``"equation.term"`` in a system), all coefficients times each of ``factors``. The regressors are
    the study's own, or drawn ones where other numbers of ``periods`` are asked for; ``rng`` is the study's seed without one.

    Raises
    ------
    SpecificationError
        The study has no such model, or the model no such parameter.
    """
    study = prepared.study
    known: dict[str, Model | System] = {**study.models, **study.systems}
    if name not in known:
        raise SpecificationError(
            f"The study has no model {name!r}; it has {listed(known)}.",
            f"研究中没有模型{name!r}；已有{listed_zh(known)}。",
        )
    fit = _estimated(prepared, known[name])
    is_system = isinstance(fit, SystemFit)
    truth: dict[Any, float] = fit.params.to_dict()
    for term, value in given.items():
        key = tuple(term.split(".", 1)) if is_system else term
        if key not in truth:
            terms = [part if isinstance(part, str) else ".".join(part) for part in truth]
            raise SpecificationError(
                f"The model has no parameter {term!r}; it has {listed(terms, 40)}.",
                f"模型没有参数{term!r}；已有{listed_zh(terms, 40)}。",
            )
        truth[key] = value
    panel, sigma = None if periods else fit.panel, fit.sigma if is_system else None
    cases = {
        f"× {factor:g}": simulate.Truth(_scaled(truth, factor), regressors=panel, sigma=sigma)
        for factor in factors
    }
    return simulate.power(
        fit.spec,
        fit.weights,
        list(periods) or len(fit.panel.periods),
        cases,
        replicates=replicates,
        plan=simulate.Plan(estimator=fit.method if is_system else fit.estimator, covariance=fit.covariance),
        rng=study.general.seed if rng is None else rng,
        workers=workers,
    )


def _estimated(prepared: Prepared, model: Model | System) -> Any:
    """The model on its first sample and weights, with the last of its effects or the first of its methods."""
    sample, weights = prepared.study.samples_of(model)[0], prepared.study.weights_of(model)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialZbWarning)
        panel, W = prepared.sample(sample), prepared.weights(weights, sample)
        if isinstance(model, System):
            return fit_system(system_spec(model), panel, W, model.methods[0])
        return fit_model(prepared, model, model.fixed_effects[-1], sample, weights)


def _scaled(truth: Mapping[Any, float], factor: float) -> dict[Any, float]:
    """All coefficients times a factor; variances stay."""
    return {key: value if key in ("sigma2", "phi") else factor * value for key, value in truth.items()}
