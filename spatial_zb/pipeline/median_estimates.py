"""Median-unbiased ρ and λ of the models of a study, where it asks for resampling."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from spatial_zb.models.fit import Fit
from spatial_zb.pipeline.job import Job
from spatial_zb.score_inversion import MedianUnbiased, has_median_unbiased, median_unbiased
from spatial_zb.text import Text

__all__ = ["median_estimates", "median_frame", "median_note"]

_SIGNS = {"rho": "ρ", "lam": "λ", "phi": "φ"}


def median_estimates(job: Job, fit: Fit, *key: str) -> MedianUnbiased | None:
    """Of a fit, from as many draws as the study asks for; None where it asks for none or the model has no such estimate."""
    number = job.study.general.bootstrap
    if not number or not has_median_unbiased(fit):
        return None
    return median_unbiased(
        fit,
        number,
        rng=job.seed("median", *key),
        progress=lambda done, total, left: job.tick(f"{done}/{total}, {left:.0f} s"),
    )


def median_frame(found: Sequence[tuple[MedianUnbiased, dict[str, str]]]) -> pd.DataFrame:
    """Coefficients (``effect`` empty) and effects of all columns, with what each column is of."""
    parts = []
    for result, fact in found:
        parts += [result.tidy().assign(effect="", **fact), result.effects().assign(**fact)]
    return pd.concat(parts, ignore_index=True)


def median_note(heading: Text, result: MedianUnbiased) -> Text:
    """The estimates and their limits in words, below a table; limits alone where there are no estimates."""
    level = f"{100 * (1 - result.alpha):g}"
    draws = Text(
        f"{level} % intervals that hold in small samples, from {result.replicates:,} draws of the law of the score.",
        f"{level}%区间在小样本下成立，由得分分布的{result.replicates:,}次抽样得到。",
    )
    en, zh = [], []
    for term, found in result.solutions.items():
        value = f"{_SIGNS[term]} = {found.estimate:.3f} " if result.told_apart else f"{_SIGNS[term]} "
        limits = f"[{found.low:.3f}, {found.high:.3f}]"
        end = result.told_apart and found.at_bound
        en.append(f"{value}{'(the end of the admissible interval) ' if end else ''}{limits}")
        zh.append(f"{value}{'（容许区间的端点） ' if end else ''}{limits}")
    if not result.told_apart:
        return Text(
            f"{heading.en}: {', '.join(en)}, {draws.en} W and the sample do not tell ρ from λ: no estimate of one is free "
            "of the other, read the intervals.",
            f"{heading.zh}：{'，'.join(zh)}；{draws.zh}该W与样本无法区分ρ与λ，二者的点估计互相牵连，请只看区间。",
        )
    return Text(
        f"{heading.en}: median-unbiased {', '.join(en)}; {draws.en}",
        f"{heading.zh}：中位数无偏估计{'，'.join(zh)}；{draws.zh}",
    )
