"""Results in plain words, hedged by their intervals: effects, systems, Moran's I, comparisons, curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pandas as pd

from spatial_zb.base.text import UNDATED, Text
from spatial_zb.report.verdict import Step, curve_robustness
from spatial_zb.report.words import EFFECTS


def effect_reading(
    effects: pd.DataFrame,
    term: str,
    x: Step,
    y: Step,
    where: Text,
    *,
    why: Text | None = None,
    spatial: pd.DataFrame | None = None,
) -> Text:
    """Say what a change of one regressor goes with at home and in neighbouring units.

    A model without spillovers by construction has none to be tested: what it does find, λ, is said in their place.

    Parameters
    ----------
    effects
        Tidy effects with ``term, effect, estimate, conf_low, conf_high``.
    term
        The regressor.
    x, y
        How far the regressor is moved, and the unit of the response.
    where
        Words for the sample and model.
    why
        Why effects are not computed, where they are not.
    spatial
        Tidy coefficients, of which ``lam`` is read where there are no spillovers.
    """
    rows = effects[effects["term"] == term].set_index("effect")
    home, away = rows.loc["direct"], rows.loc["indirect"]
    if why is not None:
        return Text(f"{where.en}: {why.en}.", f"{where.zh}：{why.zh}。")
    if pd.isna(home["conf_low"]) and pd.isna(away["conf_low"]):
        return Text(
            f"{where.en}: the effects of {x.name.en} on {y.name.en} have no standard errors, so nothing is said of them "
            "(see the notes).",
            f"{where.zh}：{x.name.zh}对{y.name.zh}的效应没有标准误，不作解读（见提示）。",
        )
    shown = _responses(x, y)
    said = Text(
        f"{where.en}: with {x.higher.en}, {y.name.en} differs by {_amount(home, shown)} in the same place "
        f"({_judged(home).en})",
        f"{where.zh}：{x.higher.zh}时，本地{y.name.zh}相应变动{_amount(home, shown)}（{_judged(home).zh}）",
    )
    if away["estimate"] == away["conf_low"] == away["conf_high"] == 0:
        rest = _without_spillovers(spatial)
        return Text(f"{said.en}. {rest.en}", f"{said.zh}。{rest.zh}")
    return Text(
        f"{said.en}, and by {_amount(away, shown)} in all other places together ({_judged(away).en}).",
        f"{said.zh}，其他地区合计变动{_amount(away, shown)}（{_judged(away).zh}）。",
    )


def _responses(x: Step, y: Step) -> Callable[[float], str]:
    """How a coefficient is printed as the response of y to a step of x."""
    return lambda value: (
        _signed(y.change(x.size * value), 1 if y.kind == "percent" else 3)
        + ("%" if y.kind == "percent" else "")
    )


def _without_spillovers(spatial: pd.DataFrame | None) -> Text:
    """Of a model whose other places do not count: that nothing is tested, and what is left unexplained."""
    none = Text(
        "This model has no spillovers of it by construction and says nothing about them; an SDM or SLX estimates them.",
        "该模型按构造不含其溢出效应，故对溢出不作判断；SDM或SLX可加以估计。",
    )
    found = None if spatial is None else spatial[spatial["term"] == "lam"]
    if found is None or found.empty or pd.isna(found["estimate"].iloc[0]):
        return none
    row = found.iloc[0]
    return Text(
        f"{none.en} What it leaves unexplained moves together between neighbours by λ = {_amount(row)} "
        f"({_judged(row).en}).",
        f"{none.zh}未解释部分在相邻地区之间的相关为λ={_amount(row)}（{_judged(row).zh}）。",
    )


#: A J with a smaller p-value rejects exclusions.
REJECTED = 0.05


def system_verdict(
    identification: pd.DataFrame,
    exclusions: pd.DataFrame,
    method: str,
    names: Mapping[str, Text],
    labels: Mapping[str, Text],
) -> Text:
    """Say whether the exogenous variables identify a system, and whether the data reject its exclusions; else nothing.

    Parameters
    ----------
    identification, exclusions
        ``SystemFit.identification()`` and ``exclusion_tests()``.
    method
        A likelihood needs no instruments, and rests on its errors where the exogenous variables say nothing.
    names, labels
        Words for the equations, and for the variables.
    """
    none = identification[identification["unidentified"]]
    some = identification[identification["weak"] & ~identification["unidentified"]]
    parts: list[Text] = []
    if len(none):
        who, how = _equations(none, names), _strengths(none)
        rest = (
            Text(
                "What FIML says of it rests on errors that are independent over space, not on the exogenous variables",
                "FIML的结果取决于误差在空间上独立，而不是外生变量",
            )
            if method == "fiml"
            else Text("Read the numbers as descriptive", "以下数字只宜作描述性解读")
        )
        parts.append(
            Text(
                f"Not identified: the exogenous variables do not tell what acts in the equation of {who.en}{how.en}. "
                f"{rest.en}.",
                f"不可识别：外生变量不能说明{who.zh}方程中的作用{how.zh}。{rest.zh}。",
            )
        )
    if len(some):
        who, how = _equations(some, names), _strengths(some)
        trust = Text("", "")
        if method != "fiml":
            trust = Text("; its intervals are somewhat too short", "，区间略偏窄")
        parts.append(
            Text(
                f"Weakly identified: the equation of {who.en}{how.en}{trust.en}.",
                f"识别性弱：{who.zh}方程{how.zh}{trust.zh}。",
            )
        )
    for row in identification[identification["j_p"] < REJECTED].itertuples():
        own = exclusions[(exclusions["equation"] == row.equation) & (exclusions["p_value"] < REJECTED)]
        most = Text("", "")
        if len(own):
            name = str(own.loc[own["p_value"].idxmin(), "variable"])
            label = labels.get(name, Text.of(name))
            most = Text(f", most clearly that of “{label.en}”", f"，最明显的是“{label.zh}”")
        who = names[str(row.equation)]
        parts.append(
            Text(
                f"The data reject exclusions from the equation of {who.en} (J, {_p(row.j_p)}){most.en}: its interaction "
                "rests on them.",
                f"数据拒绝{who.zh}方程的排除约束（J检验，{_p(row.j_p)}）{most.zh}：其中的相互作用以此为前提。",
            )
        )
    return Text(" ".join(part.en for part in parts), "".join(part.zh for part in parts))


def _equations(rows: pd.DataFrame, names: Mapping[str, Text]) -> Text:
    words = [names[str(name)] for name in rows["equation"]]
    return Text(" and of ".join(word.en for word in words), "与".join(word.zh for word in words))


def _strengths(rows: pd.DataFrame) -> Text:
    f = rows["effective_f"].dropna()
    if not len(f):
        return Text("", "")
    ends = dict.fromkeys((f"{f.min():.1f}", f"{f.max():.1f}"))
    return Text(f" (effective F {' to '.join(ends)})", f"（有效F为{'至'.join(ends)}）")


def system_reading(mutual: pd.DataFrame, steps: Mapping[str, Step], where: Text, verdict: Text) -> Text:
    """Say what a shock in one equation of a system does to the others, at home and elsewhere.

    Parameters
    ----------
    mutual
        Effects of structural shocks on other equations: ``source`` ("shock:<equation>"), ``response``,
        ``effect``, ``estimate``, ``conf_low``, ``conf_high``.
    steps
        How far the variable of each equation is moved, and the unit of its response.
    where
        Words for the sample, W and method.
    verdict
        What stands first: :func:`system_verdict`.
    """
    english, chinese = [f"{where.en}.", verdict.en], [f"{where.zh}。", verdict.zh]
    for (source, response), rows in mutual.groupby(["source", "response"], sort=False):
        x, y = steps[source.removeprefix("shock:")], steps[response]
        rows, shown = rows.set_index("effect"), _responses(x, y)
        home, away = rows.loc["direct"], rows.loc["indirect"]
        english.append(
            f"A shock that makes {x.higher.en} in one place moves {y.name.en} there by {_amount(home, shown)} "
            f"({_judged(home).en}) and in all other places together by {_amount(away, shown)} ({_judged(away).en})."
        )
        chinese.append(
            f"若冲击使某地区{x.higher.zh}，当地{y.name.zh}变动{_amount(home, shown)}（{_judged(home).zh}），其他地区合计变动"
            f"{_amount(away, shown)}（{_judged(away).zh}）。"
        )
    return Text(" ".join(part for part in english if part), "".join(chinese))


def moran_reading(table: pd.DataFrame, variable: Text, weights: Text, level: float = 0.05) -> Text:
    """Say how clustered a variable was, in the first and the last period, by permutation p-values."""
    ends = table.iloc[[0, -1]] if len(table) > 1 else table
    words = [_period_words(row) for _, row in ends.iterrows()]
    english, chinese = "; ".join(w.en for w in words), "；".join(w.zh for w in words)
    if len(table) == 1:
        found = bool(table["p_sim"].iloc[0] < level)
        return Text(
            f"“{variable.en}” is {'' if found else 'not '}spatially correlated at the {level:.0%} level under {weights.en} "
            f"({english}).",
            f"在{weights.zh}权重下，“{variable.zh}”的空间相关在{level:.0%}水平上{'' if found else '不'}显著（{chinese}）。",
        )
    significant = int((table["p_sim"] < level).sum())
    return Text(
        f"“{variable.en}” is spatially correlated at the {level:.0%} level in {significant} of {len(table)} years "
        f"under {weights.en} ({english}).",
        f"在{weights.zh}权重下，“{variable.zh}”在{len(table)}个年份中有{significant}个年份的空间相关在{level:.0%}水平上显著"
        f"（{chinese}）。",
    )


def _period_words(row: pd.Series) -> Text:
    period, value, p = int(row["period"]), _plain(row["I"]), _p(row["p_sim"])
    if period == UNDATED:
        return Text(f"I = {value}, {p}", f"I = {value}，{p}")
    return Text(f"{period}: I = {value}, {p}", f"{period}年I = {value}，{p}")


def _amount(row: pd.Series, shown: Callable[[float], str] | None = None) -> str:
    shown = shown or _signed
    if pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
        return shown(row["estimate"])
    return f"{shown(row['estimate'])} [{shown(row['conf_low'])}, {shown(row['conf_high'])}]"


def _judged(row: pd.Series) -> Text:
    if pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
        return Text("no interval is available", "无法给出置信区间")
    if row["conf_low"] > 0 or row["conf_high"] < 0:
        return Text("95% interval excludes zero", "95%置信区间不含零")
    return Text("not distinguishable from zero at 95%", "在95%水平上与零无显著差异")


def _signed(value: float, digits: int = 3) -> str:
    """With its sign; a number that the decimals would make zero keeps two digits, as a power of ten below 0.0001."""
    if 1e-4 <= abs(value) < 0.5 * 10**-digits:
        digits = 1 - math.floor(math.log10(abs(value)))
    lost = value != 0 and abs(value) < 0.5 * 10**-digits
    return f"{value:{'+.1e' if lost else f'+.{digits}f'}}".replace("-", "−")


def _plain(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


#: Posterior probability from which one model is said to be clearly ahead, and below which nothing is.
CLEAR, UNCLEAR = 0.9, 0.5
#: Changes of this many standard errors are worth a name.
INFLUENTIAL = 1.0


def curve_reading(
    shares: pd.Series,
    tests: pd.DataFrame | None,
    what: Text,
    y: Text,
    failed: int = 0,
    level: float = 0.05,
) -> Text:
    """Say how an estimate fares over all specifications, and whether chance alone could give such a curve.

    Parameters
    ----------
    shares
        ``cells, positive, significant, significant_positive, median, lowest, highest`` of :meth:`Grid.shares`.
    tests
        :meth:`CurveTest.tidy`, where the curve was tested.
    what, y
        Words for what is estimated, and for the dependent variable.
    failed
        Specifications that could not be estimated.
    """
    n = int(shares["cells"])
    positive = round(n * shares["positive"])
    strong, strong_positive = round(n * shares["significant"]), round(n * shares["significant_positive"])
    numbers = [_signed3(shares[name]) for name in ("median", "lowest", "highest")]
    english = (
        f"Over {n} specifications {what.en} on “{y.en}” has the median {numbers[0]} (from {numbers[1]} to {numbers[2]}); "
        f"{positive} are positive, and {strong} are significant at {100 * level:g}% ({strong_positive} of them positive)."
    )
    chinese = (
        f"在{n}个设定中，{what.zh}（对“{y.zh}”）的中位数为{numbers[0]}（{numbers[1]}至{numbers[2]}）；{positive}个为正，"
        f"{strong}个在{100 * level:g}%水平上显著（其中{strong_positive}个为正）。"
    )
    note, verdict = curve_note(failed, tests, level), _verdict(shares, tests, level)
    return Text(f"{verdict.en} {english} {note.en}".strip(), verdict.zh + chinese + note.zh)


def _verdict(shares: pd.Series, tests: pd.DataFrame | None, level: float) -> Text:
    """Whether a result outlives the choice of specification: the joint test, then the share of one sign."""
    return {
        "untested": Text("", ""),
        "not": Text(
            "Not robust: taken together the specifications do not tell an effect from none.",
            "不稳健：各设定合在一起不能区分有无效应。",
        ),
        "partly": Text(
            "Partly robust: taken together the specifications tell an effect from none, but its sign depends on the choice.",
            "部分稳健：各设定合在一起能区分有无效应，但符号取决于设定。",
        ),
        "robust": Text("Robust in sign over the specifications.", "符号稳健：各设定下符号基本一致。"),
    }[curve_robustness(shares, tests, level)]


def curve_note(failed: int, tests: pd.DataFrame | None, level: float = 0.05) -> Text:
    """What stands below a curve too: specifications without an estimate, and the joint test."""
    english, chinese = [], ""
    if failed:
        english.append(f"{failed} more could not be estimated, did not converge, or have no bound.")
        chinese += f"另有{failed}个设定无法估计、未收敛或效应无界。"
    if tests is not None:
        p = tests.set_index("statistic")["p_value"]
        found = max(p["median"], p["significant"]) < level
        english.append(
            f"Taken together such a curve would {'rarely' if found else 'often'} come about without any effect "
            f"(joint test: median p = {p['median']:.3f}, significant estimates p = {p['significant']:.3f})."
        )
        chinese += (
            f"整体来看，若无任何效应，出现这样的曲线{'并不多见' if found else '并不罕见'}"
            f"（联合检验：中位数p = {p['median']:.3f}，显著个数p = {p['significant']:.3f}）。"
        )
    return Text(" ".join(english), chinese)


def probability_reading(
    frame: pd.DataFrame, sensitivity: pd.DataFrame | None, labels: Mapping[str, Text]
) -> Text:
    """Say which model and W the data favour, how clearly, and whether another prior would say otherwise.

    Parameters
    ----------
    frame, sensitivity
        Of :class:`ModelProbabilities`.
    labels
        Words for the weights.
    """
    best = frame.loc[frame["probability"].idxmax()]
    name = _cell(best, labels)
    p = best["probability"]
    clearly = (
        Text("clearly", "明显")
        if p >= CLEAR
        else Text("somewhat", "略")
        if p >= UNCLEAR
        else Text("by a little only", "仅略微")
    )
    english = (
        f"Among {len(frame)} models and weights the data favour {name.en} {clearly.en} (posterior "
        f"probability {p:.2f})."
    )
    chinese = f"在{len(frame)}个模型与权重组合中，数据{clearly.zh}支持{name.zh}（后验概率{p:.2f}）。"
    if sensitivity is None:
        return Text(english, chinese)
    winners = [
        _cell(part.loc[part["probability"].idxmax()], labels)
        for _, part in sensitivity.groupby("prior", sort=False)
    ]
    others = [other for other in dict.fromkeys(winners) if other != name]
    if not others:
        return Text(
            english + f" All {len(winners)} priors tried agree.",
            chinese + f"所试{len(winners)}种先验结论一致。",
        )
    return Text(
        english + f" That depends on the prior: others favour {'; '.join(o.en for o in others)}.",
        chinese + f"该结论依赖先验：其他先验支持{'；'.join(o.zh for o in others)}。",
    )


def battery_reading(glance: pd.Series, what: Text, names: Mapping[str, Text]) -> Text:
    """Say how many variants agree with the base, and which unit matters most.

    Parameters
    ----------
    glance
        The row of :meth:`Robustness.glance`.
    what, names
        Words for what is estimated, and for the units.
    """
    done = int(glance["variants"] - glance["failed"])
    english = (
        f"{what.en} is {_signed3(glance['base'])} in the base model; {int(glance['same_sign'])} of {done} variants have its "
        f"sign, {int(glance['significant'])} of them are significant at 5% (from {_signed3(glance['lowest'])} to "
        f"{_signed3(glance['highest'])})."
    )
    chinese = (
        f"基准模型中{what.zh}为{_signed3(glance['base'])}；{done}项稳健性检验中{int(glance['same_sign'])}项符号相同，其中"
        f"{int(glance['significant'])}项在5%水平上显著（{_signed3(glance['lowest'])}至{_signed3(glance['highest'])}）。"
    )
    if glance["failed"]:
        english += f" {int(glance['failed'])} could not be estimated."
        chinese += f"另有{int(glance['failed'])}项无法估计。"
    unit, change = glance.get("most_influential", ""), glance.get("largest_change_se")
    if unit and pd.notna(change):
        name = names.get(unit, Text.of(str(unit)))
        much = change >= INFLUENTIAL
        english += (
            f" Leaving out {name.en} changes it most, by {change:.2f} standard errors"
            f"{': one unit matters for this result' if much else ''}."
        )
        chinese += (
            f"剔除{name.zh}影响最大，变化{change:.2f}个标准误{'，结果对该地区较敏感' if much else ''}。"
        )
    return Text(english, chinese)


def effect_words(term: Text, effect: str) -> Text:
    """Words such as: the total effect of talent, or the coefficient of talent."""
    if effect == "coefficient":
        return Text(f"the coefficient of “{term.en}”", f"“{term.zh}”的系数")
    return Text(
        f"the {EFFECTS[effect].en.lower()} effect of “{term.en}”", f"“{term.zh}”的{EFFECTS[effect].zh}"
    )


def _cell(row: pd.Series, labels: Mapping[str, Text]) -> Text:
    if not row["weights"]:
        return Text(f"{row['model']} (no space)", f"{row['model']}（无空间项）")
    W = labels.get(row["weights"], Text.of(str(row["weights"])))
    return Text(f"{row['model']} with {W.en}", f"{W.zh}下的{row['model']}")


def _signed3(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
