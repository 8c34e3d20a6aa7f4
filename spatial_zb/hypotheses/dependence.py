"""What the residuals still hold."""

from __future__ import annotations

from spatial_zb.chain_table import EFFECTS_WORDS, Row
from spatial_zb.core import diagnostics as core
from spatial_zb.core.within import FixedEffects, demean
from spatial_zb.hypotheses.case import Array, Case, varies
from spatial_zb.hypotheses.rows import Step, normal_row
from spatial_zb.models.design import stacked
from spatial_zb.text import Text

__all__ = ["dependence", "moran_parts"]


def dependence(case: Case) -> list[Step]:
    """Pesaran's CD and Moran's I, pooled and by period."""
    steps: list[Step] = [(("CD (Pesaran)",), lambda: _cd(case))] if case.T > 2 else []
    return [*steps, (("Moran of residuals",), lambda: _moran_rows(case))]


def _cd(case: Case) -> list[Row]:
    y, X = (demean(case.panel.array(v), "unit") for v in (case.spec.y, list(case.spec.x)))
    X = X[:, :, varies(case.panel.array(list(case.spec.x)), X)]
    u = core.residuals(stacked(X), stacked(y)).reshape(y.shape)
    en, zh = (
        "correlation of units over time, residuals after unit effects",
        "个体间跨期相关，去除个体效应后的残差",
    )
    if case.period_means:
        en += "; common period shocks count, since after time effects CD has no meaning"
        zh += "；包含共同时期冲击，因为去除时间效应后 CD 无意义"
    return [normal_row("CD (Pesaran)", core.pesaran_cd(u), Text(en, zh))]


def moran_parts(case: Case, u: Array) -> list[tuple[str, core.MoranMoments, Text]]:
    """Label, I with its moments, and where, of residuals (…, T, n): pooled, then by period."""
    W = case.weights.matrix
    pooled = core.residual_moran(u, case.basis, W, case.moments, case.effects, case.sample.periods)
    words = EFFECTS_WORDS[case.effects]
    where = Text(f"after {words.en}", f"去除{words.zh}后")
    if case.T == 1:
        return [("", pooled, where)]
    parts = [("pooled", pooled, where)]
    share = case.sample.periods / case.T
    kind: FixedEffects = "time" if case.period_means else "none"
    for t, period in enumerate(case.panel.periods):
        one = u[..., t : t + 1, :], case.basis[t : t + 1]
        moments = core.residual_moran(*one, W, case.moments, kind, 1, share)
        parts.append((str(period), moments, Text("of one period", "单独一期")))
    return parts


def _moran_rows(case: Case) -> list[Row]:
    return [_moran_row(moments, label, where) for label, moments, where in moran_parts(case, case.residuals)]


def _moran_row(m: core.MoranMoments, of: str, where: Text) -> Row:
    note = Text(
        f"I = {m.I:.4f}, expected {m.expected:.4f}; least-squares residuals {where.en}; standard deviate, two-sided",
        f"I = {m.I:.4f}，期望 {m.expected:.4f}；最小二乘残差，{where.zh}；标准化值，双侧",
    )
    return normal_row("Moran of residuals", m.z, note, of=of)
