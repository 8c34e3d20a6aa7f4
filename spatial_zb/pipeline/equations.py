"""Stages tests and models: the test chain, the spatial Durbin models and their effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from spatial_zb.dynamic_effects import effects_path
from spatial_zb.effects import Effects, spatial_effects
from spatial_zb.errors import ConvergenceError
from spatial_zb.hypotheses import diagnose
from spatial_zb.hypotheses.sections import by_section
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.dynamic import stability_test
from spatial_zb.models.fit import Fit
from spatial_zb.models.regimes import regime_labels, regime_tests
from spatial_zb.models.spec import DurbinSpec
from spatial_zb.pipeline.job import Job, figure_note, sample_notes, span_words, weights_note
from spatial_zb.pipeline.made import Estimated
from spatial_zb.pipeline.median_estimates import median_estimates, median_frame, median_note
from spatial_zb.pipeline.notes import naming_sample, saying_where, warn_undone
from spatial_zb.pipeline.words import EFFECT_WORDS, weights_words
from spatial_zb.regime_effects import regime_spillovers
from spatial_zb.score_inversion import MedianUnbiased
from spatial_zb.simplification import can_be_simplified, simplification_tests
from spatial_zb.study import Model, Study
from spatial_zb.text import Text

__all__ = ["diagnose_models", "estimate", "spec_of"]

#: Words of the tests whether an SDM may be simplified.
_SIMPLER = {
    test: Text(test.replace(" to ", " → "), f"{test.split()[0]} 检验：SDM→{test.split()[-1]}")
    for test in ("LR SDM to SAR", "Wald SDM to SAR", "LR SDM to SEM", "Wald SDM to SEM")
}


def diagnose_models(job: Job) -> list[Text]:
    """The test chain of every model of the main sample, and what it points to, in words."""
    from spatial_zb.report import layouts

    study, prepared = job.study, job.prepared
    for model in study.models.values():
        if study.samples_of(model) != (study.main_sample,):
            continue
        W = study.weights_of(model)[0]
        spec = _static(model, model.fixed_effects[-1])
        weights = prepared.weights(W, study.main_sample)
        with saying_where(study.place(f"models.{model.name}")):
            chain = diagnose(
                spec,
                prepared.sample(study.main_sample),
                weights,
                bootstrap=study.general.bootstrap,
                rng=job.seed("tests", model.name),
                progress=lambda done, total, left: job.tick(f"{done}/{total}, {left:.0f} s"),
            )
        label = prepared.labels | weights_words(study)
        notes = [
            Text(f"Dependent variable: {label[model.y].en}.", f"被解释变量：{label[model.y].zh}。"),
            weights_note(job, W),
            *([STATIC] if model.time_lag or model.lag_time_lag or model.regimes else []),
            *sample_notes(job, *job.study.samples_of(model)),
            *prepared.sources,
        ]
        job.table(
            lambda style, chain=chain, model=model, notes=notes, label=label: layouts.chain_table(
                by_section(chain, style.language, label),
                title=Text(f"{model.title.en}: specification tests", f"{model.title.zh}：设定检验"),
                key=f"tests_{model.name}",
                replicates=study.general.bootstrap,
                notes=notes,
                style=style,
            ),
            {"model": model.title},
        )
        job.tidy(f"tests_{model.name}", chain.tidy())
        job.prose(
            f"tests_{model.name}_reading",
            model.title,
            [Text(chain.recommend("en"), chain.recommend("zh"))],
            {"model": model.title},
        )
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
    long: Effects | None
    long_simulated: Effects | None
    median: MedianUnbiased | None

    @cached_property
    def simplifications(self) -> pd.DataFrame:
        """Tests against SAR and SEM by name; once for all tables that print the column, since they refit."""
        return simplification_tests(self.fit).set_index("test")


#: Said below the tests of a model that has more than they test.
STATIC = Text("Tests of the static model with one regime.", "检验对象为不含时间滞后、不分区制的静态模型。")
#: Periods of the path of effects after a change.
PATH_PERIODS = 10


def estimate(job: Job) -> list[Text]:
    """Every model of the study: estimates, effects with delta and simulated errors, and their figure."""
    reading: list[Text] = []
    for model in job.study.models.values():
        columns = _fit_all(job, model)
        _write_model(job, model, columns)
        _draw_effects(job, model, columns)
        own = [c for c in columns if c.sample == job.study.main_sample]
        if own:
            first = [c for c in own if c.weights == own[0].weights]
            reading.append(_model_reading(job, model, first[-1]))
    return reading


def _fit_all(job: Job, model: Model) -> list[_Column]:
    study, prepared = job.study, job.prepared
    columns = []
    for sample in study.samples_of(model):
        for W in study.weights_of(model):
            for effects in model.fixed_effects:
                spec = spec_of(model, effects)
                weights = prepared.weights(W, sample)
                with saying_where(study.place(f"models.{model.name}")), naming_sample(study, sample):
                    fit = fit_durbin(spec, prepared.sample(sample), weights, **model.fit_options)
                seed = job.seed("effects", model.name, sample, W, effects)
                heading = _heading(study, model, sample, W, effects)
                delta, simulated = spatial_effects(fit), _simulated(fit, study.general.draws, seed)
                long = _long_run(fit, study.general.draws, seed)
                median = median_estimates(job, fit, model.name, sample, W, effects)
                columns.append(_Column(sample, W, effects, heading, fit, delta, simulated, *long, median))
                choices = _choices(study, model, [columns[-1]]) | {"fixed_effects": EFFECT_WORDS[effects]}
                job.made.fits.append(Estimated(job.stage, model.title, choices, fit, delta))
                job.tick(f"{model.name} · {sample} · {effects}")
    return columns


def _long_run(fit: Fit, draws: int, seed: np.random.SeedSequence) -> tuple[Effects | None, Effects | None]:
    """Effects of the long run, with delta and simulated errors; none without a lag in time or without stability."""
    if not fit.spec.dynamic or fit.convergence["radius"] >= 1:  # the fit has warned of it
        return None, None
    delta = spatial_effects(fit, horizon="long")
    return delta, _simulated(fit, draws, seed, "long")


def _simulated(
    fit: Fit, draws: int, seed: np.random.SeedSequence, horizon: Literal["short", "long"] = "short"
) -> Effects | None:
    """Effects with simulated errors; none where there is no solution, and with a warning where there is no covariance."""
    if not fit.converged:  # the fit has warned of it
        return None
    try:
        return spatial_effects(fit, "simulate", draws=draws, rng=seed, horizon=horizon)
    except ConvergenceError as error:
        warn_undone(Text("No simulated errors", "未给出模拟标准误"), error)
        return None


def _static(model: Model, effects: str) -> DurbinSpec:
    return DurbinSpec(model.y, model.x, model.lag_y, model.lag_x, model.lag_error, effects)


def spec_of(model: Model, effects: str) -> DurbinSpec:
    """The specification of a model of the study with one kind of effects."""
    more = {"time_lag": model.time_lag, "lag_time_lag": model.lag_time_lag, "regimes": model.regimes}
    return replace(_static(model, effects), **more)


def _kind(spec: DurbinSpec) -> Text:
    """The family in words: dynamic SDM, two-regime SDM."""
    from spatial_zb.report.words import MODELS

    return MODELS.get(spec.title, Text.of(spec.title))


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


def _write_model(job: Job, model: Model, columns: Sequence[_Column]) -> None:
    """The tables of a model with all its columns; the report also shows one sample and W at a time."""
    family = columns[0].fit.spec.family
    _lay_out(job, model, columns, _choices(job.study, model, columns))
    pairs = dict.fromkeys((c.sample, c.weights) for c in columns)
    for pair in pairs if len(pairs) > 1 else ():
        own = [c for c in columns if (c.sample, c.weights) == pair]
        _lay_out(job, model, own, _choices(job.study, model, own), report_only=True)
    facts = [{"sample": c.sample, "weights": c.weights, "fixed_effects": c.effects} for c in columns]
    job.tidy(
        f"{family.lower()}_{model.name}",
        pd.concat([c.fit.tidy().assign(**f) for c, f in zip(columns, facts, strict=True)], ignore_index=True),
    )
    job.tidy(
        f"fit_{model.name}",
        pd.concat([c.fit.glance().assign(sample=c.sample) for c in columns], ignore_index=True),
    )
    dynamic = columns[0].fit.spec.dynamic
    both = [
        result.tidy().assign(method=result.method, **({"horizon": horizon} if dynamic else {}), **fact)
        for c, fact in zip(columns, facts, strict=True)
        for horizon, results in (("short", (c.delta, c.simulated)), ("long", (c.long, c.long_simulated)))
        for result in results
        if result is not None
    ]
    job.tidy(f"effects_{model.name}", pd.concat(both, ignore_index=True))
    medians = [(c.median, f) for c, f in zip(columns, facts, strict=True) if c.median is not None]
    if medians:
        job.tidy(f"median_unbiased_{model.name}", median_frame(medians))
    if dynamic:
        _write_dynamics(job, model, columns, facts)
    if model.regimes:
        tests = [regime_tests(c.fit).assign(**f) for c, f in zip(columns, facts, strict=True)]
        job.tidy(f"regimes_{model.name}", pd.concat(tests, ignore_index=True))
        between = [
            regime_spillovers(c.fit, x).assign(term=x, **f)
            for c, f in zip(columns, facts, strict=True)
            for x in model.x
        ]
        job.tidy(f"regime_spillovers_{model.name}", pd.concat(between, ignore_index=True))


def _write_dynamics(
    job: Job, model: Model, columns: Sequence[_Column], facts: Sequence[dict[str, str]]
) -> None:
    """The paths of effects after a lasting change and after one of one period, and the tests of stability."""
    paths = [
        effects_path(c.fit, PATH_PERIODS, change).tidy().assign(change=change, **fact)
        for c, fact in zip(columns, facts, strict=True)
        for change in ("permanent", "one_off")
    ]
    job.tidy(f"effects_path_{model.name}", pd.concat(paths, ignore_index=True))
    tests = [stability_test(c.fit).assign(**fact) for c, fact in zip(columns, facts, strict=True)]
    job.tidy(f"stability_{model.name}", pd.concat(tests, ignore_index=True))


def _dynamics_notes(columns: Sequence[_Column]) -> list[Text]:
    """What a reader of a table of dynamic models needs: initial period, stability."""
    first = columns[0].fit
    if not first.spec.dynamic:
        return []
    corrected = all(c.fit.convergence["corrected"] for c in columns)
    how = Text("bias-corrected", "已作偏差修正") if corrected else Text("not bias-corrected", "未作偏差修正")
    notes = [
        Text(
            f"Dynamic model: the period before {first.panel.periods[0]} is the initial one; {how.en}.",
            f"动态模型：{first.panel.periods[0]}年的前一期为初始期；{how.zh}。",
        )
    ]
    for c in columns:
        found = stability_test(c.fit).iloc[0]
        notes.append(
            Text(
                f"{c.heading.en}: τ + ρ + η = {found['persistence']:.3f} (standard error {found['std_error']:.3f}), largest "
                f"eigenvalue {found['radius']:.3f}{'' if found['stable'] else ': not stable, no long run'}.",
                f"{c.heading.zh}：τ+ρ+η={found['persistence']:.3f}（标准误{found['std_error']:.3f}），最大特征根"
                f"{found['radius']:.3f}{'' if found['stable'] else '，不满足平稳性，无长期效应'}。",
            )
        )
    return notes


def _regime_notes(columns: Sequence[_Column]) -> list[Text]:
    """Wald tests that the regimes are equal."""
    notes = []
    for c in columns if columns[0].fit.spec.regimes else ():
        tests = regime_tests(c.fit).set_index("term")
        rows = {"rho": Text("ρ alone", "仅ρ"), "all": Text("all coefficients", "全部系数")}
        parts = [
            (
                words,
                f"χ²({tests.loc[name, 'df']}) = {tests.loc[name, 'statistic']:.2f}, {_p(tests.loc[name, 'p_value'])}",
            )
            for name, words in rows.items()
            if name in tests.index
        ]
        notes.append(
            Text(
                f"{c.heading.en}: Wald test of equal regimes: "
                + "; ".join(f"{w.en} {found}" for w, found in parts)
                + ".",
                f"{c.heading.zh}：两区制系数相等的Wald检验："
                + "；".join(f"{w.zh} {found}" for w, found in parts)
                + "。",
            )
        )
    return notes


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _regime_words(job: Job, fit: Fit) -> dict[str, Text]:
    """Words of either regime by what stands in the brackets, ``core=1``."""
    labels, name = job.prepared.labels, str(fit.spec.regimes)
    group = labels.get(name, Text.of(name))
    values = fit.convergence["regimes"]
    endings = regime_labels(fit.spec, values)
    return {
        ending.strip("[]"): Text(f"{group.en} = {value:g}", f"{group.zh}={value:g}")
        for ending, value in zip(endings, values, strict=True)
    }


def _words(job: Job, columns: Sequence[_Column]) -> dict[str, Text]:
    """Words for the terms of a model; with regimes, for those of either regime."""
    labels = dict(job.prepared.labels | weights_words(job.study))
    fit = columns[0].fit
    if not fit.spec.regimes:
        return labels
    names = {name: labels.get(name, Text.of(name)) for name in fit.spec.x}
    labels |= {name: Text(f"{w.en} (all units)", f"{w.zh}（全部地区）") for name, w in names.items()}
    names["rho"] = Text("Spatial lag ρ", "空间自回归系数 ρ")
    for regime, where in _regime_words(job, fit).items():
        labels |= {
            f"{name}[{regime}]": Text(f"{w.en} ({where.en})", f"{w.zh}（{where.zh}）")
            for name, w in names.items()
        }
    return labels


def _effect_columns(columns: Sequence[_Column]) -> list[tuple[Text, Effects]]:
    """Effects under their headings: of the short and of the long run where there are lags in time."""
    if not columns[0].fit.spec.dynamic:
        return [(c.heading, c.delta) for c in columns]
    out = []
    for c in columns:
        for result, words in ((c.delta, Text("short run", "短期")), (c.long, Text("long run", "长期"))):
            if result is not None:
                out.append((Text(f"{c.heading.en}, {words.en}", f"{c.heading.zh}，{words.zh}"), result))
    return out


def _choices(study: Study, model: Model, columns: Sequence[_Column]) -> dict[str, Text]:
    """Words that set these columns apart in the report."""
    samples = dict.fromkeys(c.sample for c in columns)
    weights = dict.fromkeys(c.weights for c in columns)
    return {
        "model": model.title,
        "sample": study.samples[next(iter(samples))].label if len(samples) == 1 else ALL_SAMPLES,
        "weights": study.weights[next(iter(weights))].label if len(weights) == 1 else ALL_WEIGHTS,
    }


ALL_SAMPLES = Text("All samples side by side", "全部样本并列")
ALL_WEIGHTS = Text("All matrices side by side", "全部矩阵并列")


def _lay_out(
    job: Job,
    model: Model,
    columns: Sequence[_Column],
    choices: dict[str, Text],
    *,
    report_only: bool = False,
) -> None:
    """The regression table and the effects table of some columns of a model."""
    from spatial_zb.report import layouts

    prepared = job.prepared
    labels = _words(job, columns)
    more = [*_dynamics_notes(columns), *_regime_notes(columns)]
    more += [median_note(c.heading, c.median) for c in columns if c.median is not None]
    notes = [*more, *sample_notes(job, *dict.fromkeys(c.sample for c in columns)), *prepared.sources]
    family, kind = columns[0].fit.spec.family, _kind(columns[0].fit.spec)
    fits = [(c.heading, c.fit) for c in columns]
    tests = _simplifications(columns)
    job.table(
        lambda style: layouts.regression_table(
            fits,
            labels=labels,
            tests=tests,
            dependent=prepared.panel.label(model.y),
            title=Text(f"{model.title.en}: {kind.en}", f"{model.title.zh}：{kind.zh}估计结果"),
            key=f"{family.lower()}_{model.name}",
            notes=notes,
            style=style,
        ),
        choices,
        report_only=report_only,
    )
    effects = _effect_columns(columns)
    job.table(
        lambda style: layouts.effects_table(
            effects,
            labels=labels,
            title=Text(
                f"{model.title.en}: direct, indirect and total effects",
                f"{model.title.zh}：直接、间接与总效应",
            ),
            key=f"effects_{model.name}",
            notes=notes,
            style=style,
        ),
        choices,
        report_only=report_only,
    )


def _simplifications(columns: Sequence[_Column]) -> dict[Text, list[tuple[float, float] | None]]:
    """Rows of the tests against SAR and SEM, for tables whose columns all can be tested."""
    if not all(can_be_simplified(c.fit) for c in columns):
        return {}
    found = [c.simplifications for c in columns]
    return {
        _SIMPLER[test]: [(frame.loc[test, "statistic"], frame.loc[test, "p_value"]) for frame in found]
        for test in _SIMPLER
    }


def _draw_effects(job: Job, model: Model, columns: Sequence[_Column]) -> None:
    """Effects of all columns; of the last one by regime, or over time, where the model has these."""
    if model.regimes:
        _draw_regimes(job, model, columns[-1])
        return
    from spatial_zb.report.figures import effects_plot

    pairs = [(heading, result) for heading, result in _effect_columns(columns) if result.fit.converged]
    if not pairs:
        return
    effects = {str(number): result for number, (_, result) in enumerate(pairs)}
    headings = {str(number): heading for number, (heading, _) in enumerate(pairs)}
    job.figure(
        f"effects_{model.name}",
        lambda style: effects_plot(
            effects,
            labels=job.prepared.labels,
            models=headings,
            title=model.title,
            note=_figure_note(job, model),
            style=style,
        ),
        shown=Text(f"Effects: {model.title.en}", f"效应：{model.title.zh}"),
        choices={"model": model.title},
    )
    if columns[-1].fit.spec.dynamic:
        _draw_path(job, model, columns[-1])


def _figure_note(job: Job, model: Model) -> Text:
    """Samples below the effects of all columns, and W where it is the same in all; else headings name it."""
    names = job.study.weights_of(model)
    said = weights_note(job, names[0]) if len(names) == 1 else None
    return figure_note(job, *job.study.samples_of(model), said=said)


def _draw_regimes(job: Job, model: Model, column: _Column) -> None:
    from spatial_zb.report.figures import regime_plot

    job.figure(
        f"effects_{model.name}",
        lambda style: regime_plot(
            column.delta,
            labels=job.prepared.labels,
            regimes=_regime_words(job, column.fit),
            title=_titled(model, column),
            note=figure_note(job, column.sample, said=weights_note(job, column.weights)),
            style=style,
        ),
        shown=Text(f"Effects by regime: {model.title.en}", f"分区制效应：{model.title.zh}"),
        choices={"model": model.title},
    )


def _draw_path(job: Job, model: Model, column: _Column) -> None:
    from spatial_zb.report.figures_effects import effects_path_figure

    path = effects_path(column.fit, PATH_PERIODS).tidy()
    job.figure(
        f"effects_path_{model.name}",
        lambda style: effects_path_figure(
            path,
            terms=list(model.x),
            long_run=None if column.long is None else column.long.tidy(),
            labels=job.prepared.labels,
            title=_titled(model, column),
            note=figure_note(job, column.sample, said=weights_note(job, column.weights)),
            style=style,
        ),
        shown=Text(f"Effects over time: {model.title.en}", f"效应随时间的变化：{model.title.zh}"),
        choices={"model": model.title},
    )


def _titled(model: Model, column: _Column) -> Text:
    return Text(f"{model.title.en}: {column.heading.en}", f"{model.title.zh}：{column.heading.zh}")


def _model_reading(job: Job, model: Model, column: _Column) -> Text:
    from spatial_zb.report.reading import effect_reading

    study = job.study
    sample, effects = study.samples[column.sample].label, EFFECT_WORDS[column.effects]
    n, years = len(job.prepared.samples[column.sample]), span_words(job.prepared.panel.periods)
    kind, W = _kind(column.fit.spec), Text("", "")
    if len(study.weights_of(model)) > 1:
        label = study.weights[column.weights].label
        W = Text(f", {label.en}", f"，{label.zh}")
    where = Text(
        f"{model.title.en} ({sample.en}, {n} units, {years.en}; {kind.en}, {effects.en.lower()}{W.en})",
        f"{model.title.zh}（{sample.zh}{n}个地区，{years.zh}；{kind.zh}，{effects.zh}{W.zh}）",
    )
    return effect_reading(
        column.delta.tidy(), model.x[0], job.prepared.panel.label(model.y), job.prepared.labels, where
    )
