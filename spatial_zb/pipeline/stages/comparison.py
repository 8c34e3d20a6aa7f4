"""Stage compare: the grid of one term, models and weights side by side, and the robustness battery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spatial_zb.base.errors import SpatialZbError, SpecificationError, listed
from spatial_zb.base.notes import warn
from spatial_zb.base.text import Text
from spatial_zb.compare.battery import Changes, Robustness, robustness
from spatial_zb.compare.bayes import ModelProbabilities, Prior, model_probabilities
from spatial_zb.compare.crosscheck import crosscheck
from spatial_zb.compare.family import LAGS, compare_fits
from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.explore.local import local_moran
from spatial_zb.hypotheses import TESTS
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.models.spec import Estimation
from spatial_zb.pipeline.job import (
    Job,
    figure_note,
    left_out_words,
    map_look,
    present,
    sample_notes,
    shown_regions,
    unit_names,
)
from spatial_zb.pipeline.stages.comparison_grid import Base, grid_and_curve
from spatial_zb.pipeline.stages.models import static_spec
from spatial_zb.pipeline.words import warn_undone
from spatial_zb.report import figures, maps
from spatial_zb.report.drawing.frame import Look
from spatial_zb.report.tables.table import TableLook
from spatial_zb.weights.matrix import Weights

if TYPE_CHECKING:
    from spatial_zb.compare.differences import Crosscheck

MODELS_TITLE = Text("models and weights side by side", "不同模型与空间权重的比较")
TESTS_TITLE = Text("tests between weights matrices", "空间权重矩阵的非嵌套检验")
WEIGHTS_TITLE = Text("robustness by weights matrix", "更换空间权重矩阵的稳健性检验")
PROBABILITIES_TITLE = Text("posterior probabilities of models and weights", "模型与空间权重的后验概率")
SENSITIVITY_TITLE = Text("posterior probabilities under other priors", "后验概率对先验的敏感性")


def models_side_by_side(base: Base) -> Text | None:
    """Tables of the base model by family and by W, and of their probabilities; what these say in words."""
    from spatial_zb.report.reading import probability_reading
    from spatial_zb.report.tables.layouts.comparison import criteria_table, nonnested_table

    job, asked = base.job, base.asked
    fits = _fits(base, asked.models or (base.spec.family,))
    left_out = _left_out(base, [fit for fit in fits.values() if not fit.converged])
    _by_weights(base)
    found = _probabilities(base)
    usable = {name: fit for name, fit in fits.items() if fit.converged and np.isfinite(fit.log_likelihood)}
    if len(usable) > 1:
        comparison = compare_fits(usable)
        job.tidy("compare_models", comparison.glance())
        job.tidy("compare_nested", comparison.tidy())
        own = {fit.weights.label: fit for fit in usable.values() if fit.spec.family == base.spec.family}
        posterior = None if found is None else found.tidy()
        job.table(
            lambda look: criteria_table(_without_w(comparison.glance()), probabilities=posterior, look=look),
            TableLook(title=base.titled(MODELS_TITLE), notes=[*left_out, *base.notes()], words=base.labels),
        )
        if len(own) > 1:
            tests = compare_fits(own, nonnested=["j", "vuong"], covariance="cluster").nonnested
            job.tidy("compare_tests", tests)
            job.table(
                lambda look: nonnested_table(tests, look=look),
                TableLook(title=base.titled(TESTS_TITLE), notes=base.notes(), words=base.labels),
            )
    if found is None:
        return None
    return probability_reading(found.tidy(), found.sensitivity, base.labels)


def _fits(base: Base, families: Sequence[str]) -> dict[str, Fit]:
    """The base model in every family under every W; one that cannot be estimated is left out with a warning."""
    out: dict[str, Fit] = {}
    for family in families:
        lag_y, lag_x, lag_error = LAGS[family]
        lagged = (base.spec.lag_x or base.spec.x) if lag_x else ()
        spec = replace(base.spec, lag_y=lag_y, lag_x=lagged, lag_error=lag_error)
        without = not (lag_y or lag_x or lag_error)
        for name, W in list(base.weights.items())[: 1 if without else None]:
            try:
                fit = fit_durbin(spec, base.panel, W, **base.model.fit_options)
            except SpatialZbError as error:
                warn_undone(Text(f"Comparison, {family} with {name}", f"比较中的{family}（{name}）"), error)
                continue
            out[f"{family} · {name}"] = fit
    return out


def _left_out(base: Base, failed: Sequence[Fit]) -> list[Text]:
    """Which models are not in the table because they did not converge."""
    if not failed:
        return []
    names = [(fit.spec.family, base.labels[fit.weights.label]) for fit in failed]
    return [
        Text(
            f"Not converged and left out: {'; '.join(f'{family}, {W.en}' for family, W in names)}.",
            f"未收敛、未列入：{'；'.join(f'{family}，{W.zh}' for family, W in names)}。",
        )
    ]


def _without_w(rows: pd.DataFrame) -> pd.DataFrame:
    """Models without W must not name one."""
    return rows.assign(weights=rows["weights"].where(rows["model"] != "OLS", ""))


def _by_weights(base: Base) -> None:
    """The base model under every W, as papers print it."""
    from spatial_zb.report.tables.layouts.comparison import by_weights_table

    job = base.job
    columns = []
    for fit in _fits(base, (base.spec.family,)).values():
        coefficients = fit.tidy()
        spatial = coefficients[coefficients["term"].isin(["rho", "lam"])].assign(effect="")
        frame = pd.concat([spatial_effects(fit).tidy(), spatial], ignore_index=True)
        columns.append((base.labels[fit.weights.label], frame, fit.glance().iloc[0].to_dict()))
    if not columns:
        return
    first = [name for name in base.spec.x if base.asked.term in (name, f"W_{name}")] or list(base.spec.x[:1])
    job.tidy(
        "compare_weights",
        pd.concat([f.assign(weights=facts["weights"]) for _, f, facts in columns], ignore_index=True),
    )
    job.table(
        lambda look: by_weights_table(
            columns, first, others=[name for name in base.spec.x if name not in first], look=look
        ),
        TableLook(title=base.titled(WEIGHTS_TITLE), notes=base.notes(), words=base.labels),
    )


def _probabilities(base: Base) -> ModelProbabilities | None:
    from spatial_zb.report.tables.layouts.comparison import probabilities_table, sensitivity_table

    job, asked = base.job, base.asked.probabilities
    if asked is None:
        return None
    try:
        if base.spec.fixed_effects == "random" or base.spec.dynamic or base.spec.regimes:
            raise SpecificationError(
                "they are of models without random effects, lags in time and regimes, and the base model has some.",
                "仅适用于不含随机效应、时间滞后与分区制的模型，而基准模型含有其一。",
            )
        found = model_probabilities(
            base.panel,
            base.spec.y,
            base.spec.x,
            base.weights,
            models=asked.models,
            fixed_effects=base.spec.transform,
            prior=Prior(g=asked.g, shape=asked.shape),
            sensitivity=True,
        )
    except SpatialZbError as error:
        warn_undone(Text("No model probabilities", "未计算模型后验概率"), error)
        return None
    job.tidy("compare_probabilities", found.tidy())
    job.tidy("compare_sensitivity", found.sensitivity)
    for layout, frame, title in (
        (probabilities_table, found.tidy(), PROBABILITIES_TITLE),
        (sensitivity_table, found.sensitivity, SENSITIVITY_TITLE),
    ):
        job.table(
            partial(layout, frame),
            TableLook(title=base.titled(title), notes=base.notes(), words=base.labels),
        )
    drawn = found.tidy().query("weights != ''")
    title = job.prepared.panel.label(base.spec.y)
    job.figure(
        "compare_probabilities",
        partial(figures.probabilities, drawn),
        Look(title=title, note=_with_ols(figure_note(job, base.sample), found), words=base.labels),
        shown=base.titled(PROBABILITIES_TITLE),
    )
    return found


def _with_ols(source: Text | str, found: ModelProbabilities) -> Text:
    """The source below the figure, and before it the probability of the model that has no W and so no row there."""
    share = found.by("model").get("OLS")
    said = Text.of(source)
    if share is None:
        return said
    number = f"{100 * share:.1f}" if share >= 0.0005 else "<0.1"
    return Text(f"OLS, which has no weights: {number}. {said.en}", f"OLS无空间权重：{number}。{said.zh}")


BATTERY_TITLE = Text("robustness", "稳健性检验")
INFLUENCE_TITLE = Text("leaving out one unit at a time", "逐一剔除地区")


def robustness_battery(base: Base) -> Text | None:
    """Estimate the battery, print and draw it; what it says in words."""
    from spatial_zb.report.reading import battery_reading
    from spatial_zb.report.tables.layouts.comparison import influence_table
    from spatial_zb.report.tables.layouts.tests import robustness_table

    job, asked = base.job, base.asked
    if asked.robustness is None:
        return None
    try:
        found = _robust(base)
    except SpatialZbError as error:
        warn_undone(Text("No robustness battery", "未作稳健性检验"), error)
        return None
    job.tidy("compare_robustness", found.tidy())
    note = Text(
        f"Estimated: {base.what.en}. Without some units, one that loses all neighbours is linked anew by the rule of "
        "the study.",
        f"表中为{base.what.zh}。剔除部分地区后，失去全部邻居的地区按本研究规则重新建立联系。",
    )
    job.table(
        lambda look: robustness_table(found.tidy(look.style.language), look=look),
        TableLook(title=base.titled(BATTERY_TITLE), notes=[note, *base.notes()], words=base.labels),
    )
    if found.influence is not None:
        job.tidy("compare_influence", found.influence)
        job.table(
            lambda look: influence_table(found.influence, look=look),
            TableLook(title=base.titled(INFLUENCE_TITLE), notes=[note, *base.notes()], words=base.labels),
        )
        _draw_influence(base, found)
    return battery_reading(found.glance().iloc[0], _capital(base.what), unit_names(job.prepared))


def _robust(base: Base) -> Robustness:
    asked, settings, job = base.asked, present(base.asked.robustness), base.job
    own = base.weights[base.own_weights]

    def rebuild(units: Sequence[str]) -> Weights:
        """Rows and columns of W, or W built anew where a unit has lost all its neighbours."""
        kept = own.subset(units)
        if not len(kept.islands):
            return kept
        polygons = job.prepared.polygons(base.sample).loc[list(units)]
        return job.prepared.built(base.own_weights, polygons)

    return robustness(
        base.spec,
        base.panel,
        own,
        asked.term,
        base.effect,
        changes=Changes(
            weights={name: W for name, W in base.weights.items() if name != base.own_weights},
            lag_x=settings.lag_x,
            drop=settings.drop,
            y=(*asked.y, *settings.y),
            x={
                name: (*asked.x.get(name, ()), *settings.x.get(name, ()))
                for name in {**asked.x, **settings.x}
            },
            winsorise=settings.winsorise,
            periods={name: _years(base.panel, span) for name, span in settings.periods.items()},
            covariances=settings.covariances,
            estimators=settings.estimators,
            leave_one_out=settings.leave_one_out,
            rebuild=rebuild if isinstance(own, Weights) else None,
        ),
        estimator=Estimation(base.model.estimator, base.model.covariance),
        workers=job.saying(Text("robustness", "稳健性检验")),
    )


def _years(panel: Panel, span: tuple[int, int]) -> list[int]:
    return [period for period in panel.periods if span[0] <= period <= span[1]]


def _draw_influence(base: Base, found: Robustness) -> None:
    job = base.job
    unknown = found.influence is None or not found.influence["change"].notna().any()
    if unknown or not job.study.mapped:
        return
    (sample,) = sample_notes(job, base.sample)
    shown, gone = shown_regions(job, base.sample), left_out_words(job, base.sample)
    note = Text(
        f"Estimated: {base.what.en}. Named: those whose absence moves it most. {sample.en} {gone.en}".rstrip(),
        f"估计对象：{base.what.zh}。标注名称的是剔除后变化最大的地区。{sample.zh}{gone.zh}",
    )
    job.figure(
        "compare_influence",
        partial(maps.influence, found.influence, regions=shown),
        map_look(job, shown, title=base.titled(INFLUENCE_TITLE), note=note),
        preset="journal_single",
    )


def _capital(text: Text) -> Text:
    return Text(text.en[:1].upper() + text.en[1:], text.zh)


def compare(job: Job) -> list[Text]:
    """The comparison of a study: grid and curve, models and weights, probabilities, robustness.

    A part that cannot be computed is left out with a warning that says why.
    """
    asked = job.study.compare
    if asked is None:
        return []
    base = Base(job, asked, job.study.models[asked.model], job.study.samples_of(asked)[0])
    if base.spec.regimes:
        place = job.study.place("compare.model")
        warn(
            f"{place.en}: {asked.model!r} has regimes, and with them two estimates of every term: nothing was compared.",
            f"{place.zh}：{asked.model!r}分区制，每个变量有两个估计值，未作比较。",
        )
        return []
    readings = [grid_and_curve(base), models_side_by_side(base), robustness_battery(base)]
    said = [reading for reading in readings if reading is not None]
    if said:
        title = Text("Comparisons and robustness in words", "比较与稳健性解读")
        job.prose("compare_reading", title, said)
    return []


def compare_programs(job: Job) -> list[Text]:
    """Models, LM tests, systems, Moran's I and W beside spreg, esda and libpysal, where the study asks for it."""
    from spatial_zb.report.tables.layouts.tests import crosscheck_table

    if not job.study.output.crosscheck:
        return []
    found: list[tuple[str, Crosscheck]] = []
    labels = job.prepared.labels | TESTS | unit_names(job.prepared)
    for key, title, choices, do in _beside(job):
        job.tick(title.pick(job.study.spoken))
        try:
            one_found = do()
        except SpatialZbError as error:
            warn_undone(
                Text(f"Not beside another program: {title.en}", f"未与其他程序对照：{title.zh}"), error
            )
            continue
        found.append((key, one_found))
        look = TableLook(title=title, key=f"crosscheck_{key}", words=labels)
        job.table(partial(crosscheck_table, one_found), look, choices)
    if not found:
        return []
    job.tidy("crosscheck", pd.concat([c.tidy().assign(of=key, program=c.program) for key, c in found]))
    glance = pd.concat([c.glance() for _, c in found])
    n, agree, bare = (int(glance[name].sum()) for name in ("numbers", "agree", "unexplained"))
    programs = listed(dict.fromkeys(f"{c.program} {c.version}" for _, c in found))
    return [
        Text(
            f"Beside {programs}: of {n:,} numbers {agree:,} agree up to rounding, {n - agree - bare:,} differ for a known "
            f"reason and {bare} for none that is known.",
            f"与{programs}对照：{n:,}个数中{agree:,}个除舍入外一致，{n - agree - bare:,}个因已知原因而不同，"
            f"{bare}个原因不明。",
        )
    ]


Comparison = tuple[str, Text, dict[str, Text], "Callable[[], Crosscheck]"]


def _beside(job: Job) -> Iterator[Comparison]:
    """What is computed by another program too: its key, title, choices, and how."""
    study, prepared = job.study, job.prepared
    main = study.main_sample
    for one in job.made.fits:
        words = dict.fromkeys([one.title, *one.choices.values()])
        title = Text(" · ".join(word.en for word in words), " · ".join(word.zh for word in words))
        yield "_".join(one.key), title, dict(one.choices), partial(crosscheck, one.fit)
    for model in study.models.values() if "tests" in job.made.stages else ():
        if (main,) == study.samples_of(model):
            W = study.weights_of(model)[0]
            title = Text(f"LM tests: {model.title.en}", f"LM检验：{model.title.zh}")
            spec = static_spec(model, model.fixed_effects[-1])
            own = prepared.sample(main), prepared.weights(W, main)
            yield f"lm_{model.name}", title, {}, partial(crosscheck, spec, *own)
    for (sample, variable, name), table in job.made.moran.items():
        label, W_label = prepared.labels.get(variable, Text.of(variable)), study.weights[name].label
        title = Text(f"Moran's I: {label.en}, {W_label.en}", f"莫兰指数：{label.zh}，{W_label.zh}")
        moran = partial(crosscheck, table, prepared.sample(sample), prepared.weights(name, sample))
        yield f"moran_{sample}_{variable}_{name}", title, {}, moran
    if study.maps is not None and study.maps.clusters:
        for variable, name in product(study.maps.variables, study.maps.clusters):
            yield _local(job, variable, name)
    for name in study.weights:
        label = study.weights[name].label
        title = Text(f"Weights matrix: {label.en}", f"空间权重矩阵：{label.zh}")
        yield f"weights_{name}", title, {}, partial(crosscheck, prepared.weights(name, main))


def _local(job: Job, variable: str, name: str) -> Comparison:
    """Local Moran's I of the last year of a map of clusters."""
    panel, W = job.prepared.sample(job.study.main_sample), job.prepared.weights(name, job.study.main_sample)
    label, W_label = job.prepared.labels.get(variable, Text.of(variable)), job.study.weights[name].label
    title = Text(f"Local Moran's I: {label.en}, {W_label.en}", f"局部莫兰指数：{label.zh}，{W_label.zh}")

    def do() -> Crosscheck:
        draws, seed = job.study.general.permutations, job.seed("crosscheck", variable)
        table = local_moran(panel, variable, W, period=panel.periods[-1], permutations=draws, rng=seed)
        return crosscheck(table, panel, W)

    return f"local_{variable}_{name}", title, {}, do
