"""A test chain in sentences: each step, the statistic behind it, the model it points to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeGuard

import numpy as np

from spatial_zb.base.errors import not_one_of
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Text
from spatial_zb.hypotheses.case import TESTS, effects_words
from spatial_zb.models.notes import ROBUST_SCORE

#: Level at which a sentence says "significant".
LEVEL = 0.05
#: Variance inflation from which a warning is due.
HIGH_INFLATION = 10.0
#: Up to this many units silence of a test is hardly news.
FEW_UNITS = 30
LANGUAGES = ("en", "zh", "both")


@dataclass(frozen=True, slots=True)
class Decision:
    """The family the chain points to, why, and whether its steps agree."""

    family: str
    reason: Text
    firm: bool


def recommend(
    table: TestTable, language: Literal["en", "zh", "both"] = "en", labels: Mapping[str, Text] | None = None
) -> str:
    """Say what the chain found, step by step, and end with the model it points to.

    Parameters
    ----------
    table
        Of :func:`spatial_zb.hypotheses.diagnose`.
    language
        ``"en"``, ``"zh"``, or ``"both"``: English, an empty line, Chinese.
    labels
        Words for variables and for W by their names, which serve where there are none.

    Raises
    ------
    SpecificationError
        Another language.
    """
    if language not in LANGUAGES:
        raise not_one_of("language", language, LANGUAGES)
    if language == "both":
        return f"{recommend(table, 'en', labels)}\n\n{recommend(table, 'zh', labels)}"
    labels = labels or {}
    steps = [
        _collinearity(table, labels),
        _effects(table),
        _random(table),
        _spatial(table),
        _simpler(table),
        _errors(table),
        _left(table),
    ]
    said = [step for step in steps if step is not None]
    lines = [_head(table, labels).pick(language)]
    lines += [f"{i}. {step.pick(language)}" for i, step in enumerate(said, start=1)]
    return "\n".join([*lines, _conclusion(table).pick(language)])


def decide(table: TestTable) -> Decision:
    """Choose among OLS, SAR, SEM and SDM as Elhorst (2014, Spatial Econometrics, §2.7) does, and say how firmly.

    No LM test and no Durbin term significant: no spatial lag. Else SDM, unless one of its two simplifications is
    not rejected and the robust LM tests do not point the other way; where steps disagree, the general model.
    """
    if not any(_rejects(table, t) for t in ("LM lag", "LM error", "F Durbin terms, OLS to SLX")):
        return Decision("OLS", Text("no test finds spatial dependence", "没有检验发现空间依赖"), firm=False)
    lag, error = (_rejects(table, f"LM {kind}, robust") for kind in ("lag", "error"))
    to_sar, to_sem = _stands(table, "SAR"), _stands(table, "SEM")
    if to_sar is None and to_sem is None:
        return _by_lm_alone(lag, error)
    if not to_sar and not to_sem:
        both = to_sar is not None and to_sem is not None and not _rejects(table, "LM error from SDM")
        reason = Text("its simplifications are rejected", "其简化形式均被拒绝")
        return Decision("SDM", reason, firm=both)
    if to_sar and to_sem:
        return _neither_rejected(lag, error)
    family, against = ("SAR", error and not lag) if to_sar else ("SEM", lag and not error)
    if against:
        reason = Text(
            f"{family} is not rejected, but the robust LM tests point the other way: keep the general model",
            f"{family} 未被拒绝，但稳健 LM 检验指向相反方向：保留一般模型",
        )
        return Decision("SDM", reason, firm=False)
    clear = lag if family == "SAR" else error
    reason = Text(f"SDM is not better than {family}", f"SDM 并不优于 {family}")
    return Decision(family, reason, firm=clear)


def _by_lm_alone(lag: bool, error: bool) -> Decision:
    unsaid = Text(
        "only the LM tests can be read, the simplifications of SDM could not be tested",
        "只能依据 LM 检验，SDM 的简化形式无法检验",
    )
    if lag != error:
        return Decision("SAR" if lag else "SEM", unsaid, firm=False)
    return Decision("SDM", unsaid, firm=False)


def _neither_rejected(lag: bool, error: bool) -> Decision:
    if lag != error:
        family = "SAR" if lag else "SEM"
        reason = Text(
            f"neither simplification of SDM is rejected, and the robust LM tests point to {family}",
            f"SDM 的两种简化均未被拒绝，稳健 LM 检验指向 {family}",
        )
        return Decision(family, reason, firm=False)
    reason = Text(
        "neither simplification is rejected and the robust LM tests do not tell lag from error: keep the general model",
        "两种简化均未被拒绝，稳健 LM 检验也无法区分滞后与误差：保留一般模型",
    )
    return Decision("SDM", reason, firm=False)


# --- reading rows


def _available(row: Row | None) -> TypeGuard[Row]:
    return row is not None and bool(np.isfinite(row.p_value))


def _rejects(table: TestTable, test: str) -> bool:
    row = table.row(test)
    return _available(row) and bool(row.p < LEVEL)


def _stands(table: TestTable, family: str) -> bool | None:
    """Whether SDM may be simplified: by LR, by Wald where there is no LR; None when neither exists."""
    for kind in ("LR", "Wald"):
        row = table.row(f"{kind} SDM to {family}")
        if _available(row):
            return bool(row.p >= LEVEL)
    return None


def _p(row: Row) -> str:
    return "p < 0.001" if row.p < 0.001 else f"p = {row.p:.3f}"


def _quote(table: TestTable, test: str) -> Text:
    """``LM lag 9.36, p = 0.002`` in both languages."""
    row, name = table.row(test), TESTS[test]
    if not _available(row):
        return Text(f"{name.en} not available", f"{name.zh}无法计算")
    return Text(f"{name.en} {row.statistic:.2f}, {_p(row)}", f"{name.zh} {row.statistic:.2f}，{_p(row)}")


def _verdict(table: TestTable, test: str) -> Text:
    if not _available(table.row(test)):
        return Text("no answer", "无结论")
    return Text("significant", "显著") if _rejects(table, test) else Text("not significant", "不显著")


def _quoted(table: TestTable, test: str) -> Text:
    quote, verdict = _quote(table, test), _verdict(table, test)
    return Text(f"{quote.en} ({verdict.en})", f"{quote.zh}（{verdict.zh}）")


def _join(parts: list[Text]) -> Text:
    return Text("; ".join(p.en for p in parts), "；".join(p.zh for p in parts))


# --- the steps


def _named(name: str, labels: Mapping[str, Text]) -> Text:
    """Words for a variable, its spatial lag, or W."""
    lagged = name.removeprefix("W_")
    if name not in labels and lagged in labels:
        return Text(f"W × {labels[lagged].en}", f"W × {labels[lagged].zh}")
    return labels.get(name, Text.of(name))


def _head(table: TestTable, labels: Mapping[str, Text]) -> Text:
    words, n, T = (
        effects_words(table.facts["fixed_effects"]),
        table.facts["n_units"],
        table.facts["n_periods"],
    )
    y, W = _named(table.facts["y"], labels), _named(table.facts["weights"], labels)
    how = Text("", "")
    if table.replicates:
        how = Text(f", p-values from {table.replicates} draws", f"，p 值来自 {table.replicates} 次自助抽样")
    if T == 1:
        return Text(
            f"Tests of {y.en}: W = {W.en}, {n} units, level 5 %{how.en}.",
            f"{y.zh} 的检验：W = {W.zh}，{n} 个单元，显著性水平 5 %{how.zh}。",
        )
    return Text(
        f"Tests of {y.en}: {words.en}, W = {W.en}, {n} units × {T} periods, level 5 %{how.en}.",
        f"{y.zh} 的检验：{words.zh}，W = {W.zh}，{n} 个单元 × {T} 期，显著性水平 5 %{how.zh}。",
    )


def _collinearity(table: TestTable, labels: Mapping[str, Text]) -> Text | None:
    rows = [r for r in table.rows if r.test == "VIF" and np.isfinite(r.statistic)]
    if not rows:
        return None
    worst = max(rows, key=lambda r: r.statistic)
    name, value = _named(worst.of, labels), f"VIF = {worst.statistic:.1f}"
    found = Text(f"{name.en}, {value}", f"{name.zh}，{value}")
    if worst.statistic >= HIGH_INFLATION:
        return Text(
            f"Collinearity is high ({found.en}): single coefficients are poorly determined, whatever the tests say.",
            f"共线性严重（{found.zh}）：无论检验结果如何，单个系数都难以准确估计。",
        )
    return Text(
        f"Collinearity is not a concern (highest: {found.en}).", f"共线性不严重（最大：{found.zh}）。"
    )


def _effects(table: TestTable) -> Text | None:
    if table.row("F unit effects") is None:
        return None
    unit, time = (_rejects(table, f"F {kind} effects") for kind in ("unit", "time"))
    quotes = _join([_quoted(table, f"F {kind} effects") for kind in ("unit", "time")])
    wanted = {
        (True, True): ("two_way", Text("two-way effects", "双向固定效应")),
        (True, False): ("unit", Text("unit effects", "个体固定效应")),
        (False, True): ("time", Text("time effects", "时间固定效应")),
        (False, False): ("none", Text("no fixed effects", "不加固定效应")),
    }[unit, time]
    same = wanted[0] == table.facts["fixed_effects"]
    here = Text("as specified", "与设定一致") if same else Text("unlike the specification", "与设定不同")
    return Text(
        f"Effects: {quotes.en}. They point to {wanted[1].en}, {here.en}.",
        f"效应：{quotes.zh}。结果指向{wanted[1].zh}，{here.zh}。",
    )


def _random(table: TestTable) -> Text | None:
    spatial = table.row("Mundlak, spatial") is not None and _available(table.row("Mundlak, spatial"))
    names = ("Hausman, spatial", "Mundlak, spatial") if spatial else ("Hausman", "Mundlak")
    if table.row(names[1]) is None:
        return None
    quotes = [_quoted(table, names[1])]
    if _available(table.row(names[0])):
        quotes.insert(0, _quoted(table, names[0]))
    else:
        name = TESTS[names[0]]
        quotes.insert(0, Text(f"{name.en} undefined", f"{name.zh}无定义"))
    if not _available(table.row(names[1])):
        end = Text("Fixed effects are the safe choice", "固定效应较为稳妥")
    elif _rejects(table, names[1]):  # never undefined, unlike Hausman's beside it
        end = Text(
            "Unit effects go with the regressors: fixed effects, not random ones",
            "个体效应与自变量相关：应取固定效应而非随机效应",
        )
    else:
        end = Text(
            "No sign that random effects would be biased, which is not a proof; fixed effects stay valid",
            "没有迹象表明随机效应有偏，但这并非证明；固定效应依然有效",
        )
    joined = _join(quotes)
    return Text(
        f"Fixed or random effects: {joined.en}. {end.en}.", f"固定还是随机效应：{joined.zh}。{end.zh}。"
    )


def _spatial(table: TestTable) -> Text:
    names = ("LM lag", "LM error", "LM lag, robust", "LM error, robust")
    quotes = _join([_quoted(table, name) for name in names])
    lag, error, robust_lag, robust_error = (_rejects(table, name) for name in names)
    if not lag and not error:
        end = Text("No sign of a spatial lag or a spatial error", "没有空间滞后或空间误差的迹象")
    elif robust_lag and not robust_error:
        end = Text("They point to a spatial lag of y", "指向被解释变量的空间滞后")
    elif robust_error and not robust_lag:
        end = Text("They point to a spatial error", "指向空间误差")
    else:
        end = Text(
            "There is spatial dependence; these tests do not tell a lag from an error",
            "存在空间依赖；这些检验不能区分滞后与误差",
        )
    sign = _negative(table) if lag or error else Text("", "")
    return Text(
        f"Spatial dependence: {quotes.en}. {end.en}.{sign.en}", f"空间依赖：{quotes.zh}。{end.zh}。{sign.zh}"
    )


def _negative(table: TestTable) -> Text:
    """LM statistics have no sign: say so where neighbours differ."""
    row = table.row("Moran of residuals")
    if not _available(row) or row.statistic > 0:
        return Text("", "")
    return Text(
        f" Residuals of neighbours are unlike, not alike (Moran, z = {row.statistic:.2f}): the dependence is negative.",
        f"相邻单元的残差相异而非相似（Moran，z = {row.statistic:.2f}）：空间依赖为负。",
    )


def _simpler(table: TestTable) -> Text:
    pairs = [_one_simplification(table, family) for family in ("SAR", "SEM")]
    return Text(
        f"Can the spatial Durbin model be simplified? {pairs[0].en} {pairs[1].en}",
        f"空间杜宾模型能否简化？{pairs[0].zh}{pairs[1].zh}",
    )


def _one_simplification(table: TestTable, family: str) -> Text:
    stands = _stands(table, family)
    names = [f"{kind} SDM to {family}" for kind in ("LR", "Wald")]
    there = [name for name in names if _available(table.row(name))]
    quotes = _join([_quote(table, name) for name in there])
    if stands is None:
        return Text(f"To {family}: could not be tested.", f"简化为 {family}：无法检验。")
    answer = Text("not rejected", "未被拒绝") if stands else Text("rejected", "被拒绝")
    split = len({_rejects(table, name) for name in there}) > 1
    doubt = Text(", the two tests disagree", "，两个检验不一致") if split else Text("", "")
    return Text(
        f"To {family}: {answer.en} ({quotes.en}{doubt.en}).",
        f"简化为 {family}：{answer.zh}（{quotes.zh}{doubt.zh}）。",
    )


def _errors(table: TestTable) -> Text | None:
    """Correlation over time and variances: what they do to errors and estimates, and the remedy."""
    if not any(_available(table.row(name)) for name in ("Serial correlation (LM*)", "Koenker-Bassett")):
        return None
    names = [
        name
        for name in ("Serial correlation (LM*)", "Variances and place in W", "Koenker-Bassett")
        if _available(table.row(name))
    ]
    parts = [_join([_quoted(table, name) for name in names])]
    if _rejects(table, "Serial correlation (LM*)"):
        parts.append(
            Text(
                'Errors of a unit are correlated over time: standard errors by covariance="cluster"',
                '同一单元的误差跨期相关：标准误用covariance="cluster"',
            )
        )
    if _rejects(table, "Variances and place in W"):
        shaped = table.facts.get("estimator") == "adjusted_score"
        parts.append(
            Text(
                "Variances go with the place in W, which moves ρ by the adjusted score: compare it with "
                f"{ROBUST_SCORE} of the units that are always there",
                f"方差随在 W 中的位置而变，会移动调整得分的 ρ：请与各期齐全地区的{ROBUST_SCORE}比较",
            )
            if shaped
            else Text(
                f"Variances go with the place in W, and ρ by maximum likelihood with them: {ROBUST_SCORE}",
                f"方差随在 W 中的位置而变，极大似然的 ρ 因而有偏：用{ROBUST_SCORE}",
            )
        )
    if _rejects(table, "Koenker-Bassett"):
        parts.append(
            Text(
                'Variances go with the regressors: standard errors by covariance="sandwich"',
                '方差随自变量而变：标准误用covariance="sandwich"',
            )
        )
    return Text(
        f"Errors: {'. '.join(part.en for part in parts)}.", f"误差：{'。'.join(part.zh for part in parts)}。"
    )


def _left(table: TestTable) -> Text | None:
    wanted = ("LM error from SDM", "CD (Pesaran)", "Cross-section dependence")
    names = [n for n in wanted if _available(table.row(n))]
    if not names:
        return None
    quotes = _join([_quoted(table, name) for name in names])
    end = Text("", "")
    if _rejects(table, "LM error from SDM"):
        end = Text(
            " Spatial dependence is left after SDM: look for an omitted variable or another W.",
            "SDM 之后仍有空间依赖：检查遗漏变量或更换 W。",
        )
    if _rejects(table, "CD (Pesaran)"):
        shocks = Text(
            " Units share shocks: add time effects.",
            "单元间有共同冲击：应加入时间效应。",
        )
        end = Text(end.en + shocks.en, end.zh + shocks.zh)
    if _rejects(table, "Cross-section dependence"):
        factor = Text(
            " Units move together beyond time effects and W: common shocks that reach them unequally.",
            "在时间效应与 W 之外单元仍相互关联：共同冲击对各单元影响不同。",
        )
        end = Text(end.en + factor.en, end.zh + factor.zh)
    return Text(f"What is left: {quotes.en}.{end.en}", f"残差中还剩什么：{quotes.zh}。{end.zh}")


def _conclusion(table: TestTable) -> Text:
    found = decide(table)
    model = {
        "OLS": Text("the model without spatial lags", "不含空间滞后的模型"),
        "SAR": Text("the spatial lag model (SAR)", "空间滞后模型（SAR）"),
        "SEM": Text("the spatial error model (SEM)", "空间误差模型（SEM）"),
        "SDM": Text("the spatial Durbin model (SDM)", "空间杜宾模型（SDM）"),
    }[found.family]
    how = Text("", "") if found.firm else Text(", with caution", "，但须谨慎")
    en = f"The chain points to {model.en}{how.en}: {found.reason.en}."
    zh = f"检验链指向{model.zh}{how.zh}：{found.reason.zh}。"
    n = table.facts["n_units"]
    if n <= FEW_UNITS:
        en += f" With {n} units a test that is not significant says little: it may have missed a real effect."
        zh += f"只有 {n} 个单元，不显著的检验说明不了什么：可能漏掉真实的效应。"
    return Text(
        f"{en} Tests weigh a model against the data; theory and the meaning of W come first.",
        f"{zh}检验只衡量模型与数据的吻合；理论与 W 的含义在先。",
    )
