"""Stage compare: one term of one model over a grid of choices, models and weights side by side, the robustness battery."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from spatial_zb.compare.bayes import ModelProbabilities, Prior, model_probabilities
from spatial_zb.compare.curve import CurveTest, curve_test
from spatial_zb.compare.family import LAGS
from spatial_zb.compare.grid import Grid, specification_grid
from spatial_zb.compare.nested import compare_fits
from spatial_zb.compare.robustness import Robustness, robustness
from spatial_zb.data.panel import Panel
from spatial_zb.effects import spatial_effects
from spatial_zb.errors import SpatialZbError, SpatialZbWarning, SpecificationError
from spatial_zb.models.durbin import fit_durbin
from spatial_zb.models.fit import Fit
from spatial_zb.pipeline.comparison_base import Base, short_words
from spatial_zb.pipeline.figures import _map_text
from spatial_zb.pipeline.job import Job, figure_note, sample_notes, unit_names
from spatial_zb.pipeline.notes import warn_undone
from spatial_zb.pipeline.weights import build_weights
from spatial_zb.text import Text
from spatial_zb.weights.matrix import Weights

__all__ = ["compare"]


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
        warnings.warn(
            SpatialZbWarning(
                f"{place.en}: {asked.model!r} has regimes, and with them two estimates of every term: nothing was compared.",
                f"{place.zh}：{asked.model!r}分区制，每个变量有两个估计值，未作比较。",
            ),
            stacklevel=2,
        )
        return []
    readings = [_curve(base), _side_by_side(base), _battery(base)]
    said = [reading for reading in readings if reading is not None]
    if said:
        title = Text("Comparisons and robustness in words", "比较与稳健性解读")
        job.prose("compare_reading", title, said)
    return said[:1]


# --- the grid, its curve and the test of it


def _curve(base: Base) -> Text | None:
    from spatial_zb.report.comparison_reading import curve_reading
    from spatial_zb.report.figures_specification import specification_curve

    job, asked = base.job, base.asked
    grid = _grid(base)
    job.tidy("compare_grid", grid.tidy())
    job.tidy("compare_grid_effects", grid.effects)
    job.say(Text("grid", "设定网格"), f"{len(grid.cells)}")
    grid = _converged(grid)
    shown = grid.estimates if base.effect is None else grid.effects
    shown = shown[shown["role"] == asked.term].assign(term=asked.term).drop(columns=["role", "spec"])
    main = {
        name: value
        for name, value in base.main.items()
        if name in shown.columns[: shown.columns.get_loc("term")]
    }
    if shown.empty:
        warnings.warn(
            SpatialZbWarning(
                "No cell of the comparison could be estimated.", "各设定均无法估计，没有设定曲线。"
            ),
            stacklevel=2,
        )
        return None
    y = job.prepared.panel.label(base.spec.y)
    labels = base.labels | {asked.term: short_words(job.prepared.panel.label(asked.term))}
    job.figure(
        "compare_curve",
        lambda style: specification_curve(
            shown,
            asked.term,
            base.effect,
            main=main,
            labels=labels,
            title=y,
            note=figure_note(job, *job.study.samples_of(asked)),
            style=style,
        ),
        shown=Text(f"Specification curve: {base.what.en}", f"设定曲线：{base.what.zh}"),
    )
    test = _tested(base)
    tests = None if test is None else test.tidy()
    failed = int((~grid.cells["converged"].eq(True)).sum())
    return curve_reading(grid.shares(asked.term, base.effect), tests, base.what, y, failed)


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
                workers=job.execution.workers,
                scheduler=job.execution.scheduler,
                store=job.execution.store,
                progress=lambda done, total, left: job.say(Text("grid", "设定网格"), f"{done}/{total}"),
            )
        )
    frames = (
        pd.concat([getattr(part, kind) for part in parts], ignore_index=True)
        for kind in ("cells", "estimates", "effects")
    )
    return Grid(*frames, parts[0].choices)


def _converged(grid: Grid) -> Grid:
    """The grid without cells that did not converge: they have no estimate to count; their rows stay in ``tidy``."""
    choices = list(grid.choices)
    kept = grid.cells.loc[grid.cells["converged"].eq(True), choices]
    estimates, effects = (frame.merge(kept, on=choices) for frame in (grid.estimates, grid.effects))
    return Grid(grid.cells, estimates, effects, grid.choices)


def _tested(base: Base) -> CurveTest | None:
    """The joint test over the main sample, written as a table."""
    from spatial_zb.report.layouts.robustness import curve_table

    job, asked = base.job, base.asked
    if asked.curve is None or asked.term not in base.spec.x:
        return None
    names = job.study.weights_of(asked)
    try:
        test = curve_test(
            base.panel,
            base.family,
            {name: job.prepared.weights(name, base.sample) for name in names},
            term=asked.term,
            effect=base.effect,
            estimators=asked.estimators or (base.model.estimator,),
            covariances=asked.covariances or (base.model.covariance,),
            replicates=asked.curve.replicates,
            scheme=asked.curve.scheme,
            rng=job.seed("compare", "curve"),
            workers=job.execution.workers,
            scheduler=job.execution.scheduler,
            store=job.execution.store,
            progress=lambda done, total, left: job.say(Text("curve test", "曲线检验"), f"{done}/{total}"),
        )
    except SpatialZbError as error:
        warn_undone(Text("No test of the curve", "未作设定曲线检验"), error)
        return None
    cells = int(test.glance()["cells"].item())
    job.tidy("compare_curve_test", test.tidy())
    job.tidy("compare_curve_draws", test.draws)
    job.table(
        lambda style: curve_table(
            test.tidy(),
            cells,
            len(test.draws),
            title=_titled(base, CURVE_TITLE),
            notes=base.notes(),
            style=style,
        )
    )
    return test


# --- models and weights side by side


def _side_by_side(base: Base) -> Text | None:
    from spatial_zb.report.layouts.comparison import criteria_table, nonnested_table

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
            lambda style: criteria_table(
                _without_w(comparison.glance()),
                base.labels,
                probabilities=posterior,
                title=_titled(base, MODELS_TITLE),
                notes=[*left_out, *base.notes()],
                style=style,
            )
        )
        if len(own) > 1:
            tests = compare_fits(own, nonnested=["j", "vuong"], covariance="cluster").nonnested
            job.tidy("compare_tests", tests)
            job.table(
                lambda style: nonnested_table(
                    tests, base.labels, title=_titled(base, TESTS_TITLE), notes=base.notes(), style=style
                )
            )
    return None if found is None else _probable(base, found)


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
    """Models without W name none."""
    return rows.assign(weights=rows["weights"].where(rows["model"] != "OLS", ""))


def _by_weights(base: Base) -> None:
    """The base model under every W, as papers print it."""
    from spatial_zb.report.layouts.comparison import by_weights_table

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
        lambda style: by_weights_table(
            columns,
            first,
            base.labels,
            others=[name for name in base.spec.x if name not in first],
            title=_titled(base, WEIGHTS_TITLE),
            notes=base.notes(),
            style=style,
        )
    )


# --- probabilities


def _probabilities(base: Base) -> ModelProbabilities | None:
    from spatial_zb.report.figures_studies import probability_figure
    from spatial_zb.report.layouts.comparison import probabilities_table, sensitivity_table

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
            fixed_effects=base.spec.fixed_effects,
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
            lambda style, layout=layout, frame=frame, title=title: layout(
                frame, base.labels, title=_titled(base, title), notes=base.notes(), style=style
            )
        )
    drawn = found.tidy().query("weights != ''")
    title = job.prepared.panel.label(base.spec.y)
    job.figure(
        "compare_probabilities",
        lambda style: probability_figure(
            drawn,
            labels=base.labels,
            title=title,
            note=_with_ols(figure_note(job, base.sample), found),
            style=style,
        ),
        shown=_titled(base, PROBABILITIES_TITLE),
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


def _probable(base: Base, found: ModelProbabilities) -> Text:
    from spatial_zb.report.comparison_reading import probability_reading

    return probability_reading(found.tidy(), found.sensitivity, base.labels)


# --- the battery


def _battery(base: Base) -> Text | None:
    from spatial_zb.report.comparison_reading import battery_reading
    from spatial_zb.report.layouts.robustness import influence_table, robustness_table

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
        lambda style: robustness_table(
            found.tidy(style.language),
            base.labels,
            title=_titled(base, BATTERY_TITLE),
            notes=[note, *base.notes()],
            style=style,
        )
    )
    if found.influence is not None:
        job.tidy("compare_influence", found.influence)
        job.table(
            lambda style: influence_table(
                found.influence,
                base.labels,
                title=_titled(base, INFLUENCE_TITLE),
                notes=[note, *base.notes()],
                style=style,
            )
        )
        _draw_influence(base, found)
    return battery_reading(found.glance().iloc[0], _capital(base.what), unit_names(job.prepared))


def _robust(base: Base) -> Robustness:
    asked, settings, job = base.asked, base.asked.robustness, base.job
    own = base.weights[base.own_weights]

    def rebuild(units: Sequence[str]) -> Weights:
        """Rows and columns of W, or W built anew where a unit has lost all its neighbours."""
        kept = own.subset(units)
        if not len(kept.islands):
            return kept
        polygons = job.prepared.polygons(base.sample).loc[list(units)]
        return build_weights(job.study, base.own_weights, polygons, job.prepared.bases)

    return robustness(
        base.spec,
        base.panel,
        own,
        asked.term,
        base.effect,
        weights={name: W for name, W in base.weights.items() if name != base.own_weights},
        lag_x=settings.lag_x,
        drop=settings.drop,
        y=(*asked.y, *settings.y),
        x={name: (*asked.x.get(name, ()), *settings.x.get(name, ())) for name in {**asked.x, **settings.x}},
        winsorise=settings.winsorise,
        periods={name: _years(base.panel, span) for name, span in settings.periods.items()},
        covariances=settings.covariances,
        leave_one_out=settings.leave_one_out,
        rebuild=rebuild,
        estimator=base.model.estimator,
        covariance=base.model.covariance,
        workers=job.execution.workers,
        scheduler=job.execution.scheduler,
        store=job.execution.store,
        progress=lambda done, total, left: job.say(Text("robustness", "稳健性检验"), f"{done}/{total}"),
    )


def _years(panel: Panel, span: tuple[int, int]) -> list[int]:
    return [period for period in panel.periods if span[0] <= period <= span[1]]


def _draw_influence(base: Base, found: Robustness) -> None:
    from spatial_zb.report.maps_effects import influence_map

    job, study = base.job, base.job.study
    if not found.influence["change"].notna().any():
        return
    (sample,) = sample_notes(job, base.sample)
    note = Text(f"Estimated: {base.what.en}. {sample.en}", f"估计对象：{base.what.zh}。{sample.zh}")
    text = _map_text(study, title=_titled(base, INFLUENCE_TITLE), note=note)
    job.figure(
        "compare_influence",
        lambda style: influence_map(
            job.prepared.polygons(base.sample),
            found.influence,
            text=text,
            crs=study.regions.projected_crs,
            style=style,
        ),
        preset="journal_single",
    )


# --- words

MODELS_TITLE = Text("models and weights side by side", "不同模型与空间权重的比较")
TESTS_TITLE = Text("tests between weights matrices", "空间权重矩阵的非嵌套检验")
WEIGHTS_TITLE = Text("robustness by weights matrix", "更换空间权重矩阵的稳健性检验")
PROBABILITIES_TITLE = Text("posterior probabilities of models and weights", "模型与空间权重的后验概率")
SENSITIVITY_TITLE = Text("posterior probabilities under other priors", "后验概率对先验的敏感性")
CURVE_TITLE = Text("joint test of the specification curve", "设定曲线联合检验")
BATTERY_TITLE = Text("robustness", "稳健性检验")
INFLUENCE_TITLE = Text("leaving out one unit at a time", "逐一剔除地区")


def _titled(base: Base, what: Text) -> Text:
    return Text(f"{base.model.title.en}: {what.en}", f"{base.model.title.zh}：{what.zh}")


def _capital(text: Text) -> Text:
    return Text(text.en[:1].upper() + text.en[1:], text.zh)
