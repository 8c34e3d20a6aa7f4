"""Stage tests: the test chain of every model, and what it points to in words."""

from __future__ import annotations

from spatial_zb.hypotheses import diagnose
from spatial_zb.hypotheses.sections import by_section
from spatial_zb.pipeline.job import Job, sample_notes, weights_note
from spatial_zb.pipeline.model_columns import static_spec
from spatial_zb.pipeline.notes import saying_where
from spatial_zb.pipeline.words import weights_words
from spatial_zb.text import Text

__all__ = ["diagnose_models"]


#: Said below the tests of a model that has more than they test.
STATIC = Text("Tests of the static model with one regime.", "检验对象为不含时间滞后、不分区制的静态模型。")


def diagnose_models(job: Job) -> list[Text]:
    """The test chain of every model of the main sample, and what it points to, in words."""
    from spatial_zb.report import layouts

    study, prepared = job.study, job.prepared
    for model in study.models.values():
        if study.samples_of(model) != (study.main_sample,):
            continue
        W = study.weights_of(model)[0]
        spec = static_spec(model, model.fixed_effects[-1])
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
            [Text(chain.recommend("en", label), chain.recommend("zh", label))],
            {"model": model.title},
        )
        job.tick(f"{model.name} · {W}")
    return []
