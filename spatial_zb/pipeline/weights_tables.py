"""Tables of the weights of a study: what each is like in the main sample, and how far they agree."""

from __future__ import annotations

import pandas as pd

from spatial_zb.pipeline.job import Job, sample_notes
from spatial_zb.pipeline.words import weights_words
from spatial_zb.weights import compare_weights

__all__ = ["write_weights"]


def write_weights(job: Job) -> None:
    """One row per matrix; with two or more, their overlap and correlation, and a warning of those nearly one."""
    from spatial_zb.report.layouts.weights import overlap_table, weights_table

    study = job.study
    matrices = {name: job.prepared.weights(name, study.main_sample) for name in study.weights}
    words, notes = weights_words(study), sample_notes(job, study.main_sample)
    if len(matrices) == 1:
        facts = [{**W.report().summary, "weights": name} for name, W in matrices.items()]
        overview = pd.DataFrame(facts)
    else:
        compared = compare_weights(matrices)
        overview = compared.glance()
        job.table(lambda style: overlap_table(compared.tidy(), words, notes=notes, style=style))
        job.tidy("weights_overlap", compared.tidy())
    job.table(lambda style: weights_table(overview, words, notes=notes, style=style))
    job.tidy("weights", overview)
