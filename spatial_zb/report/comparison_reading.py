"""A comparison in plain words, hedged, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from spatial_zb.report.words import EFFECTS
from spatial_zb.text import Text

__all__ = ["battery_reading", "curve_note", "curve_reading", "effect_words", "probability_reading"]

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
    """Say how an estimate fares over all specifications, and whether that could come about without effect.

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
    numbers = [_signed(shares[name]) for name in ("median", "lowest", "highest")]
    english = (
        f"Over {n} specifications {what.en} on “{y.en}” has the median {numbers[0]} (from {numbers[1]} to {numbers[2]}); "
        f"{positive} are positive, and {strong} are significant at {100 * level:g}% ({strong_positive} of them positive)."
    )
    chinese = (
        f"在{n}个设定中，{what.zh}（对“{y.zh}”）的中位数为{numbers[0]}（{numbers[1]}至{numbers[2]}）；{positive}个为正，"
        f"{strong}个在{100 * level:g}%水平上显著（其中{strong_positive}个为正）。"
    )
    note = curve_note(failed, tests, level)
    return Text(f"{english} {note.en}".rstrip(), chinese + note.zh)


def curve_note(failed: int, tests: pd.DataFrame | None, level: float = 0.05) -> Text:
    """What stands below a curve too: specifications without an estimate, and the joint test."""
    english, chinese = [], ""
    if failed:
        english.append(f"{failed} more could not be estimated or did not converge.")
        chinese += f"另有{failed}个设定无法估计或未收敛。"
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
        f"{what.en} is {_signed(glance['base'])} in the base model; {int(glance['same_sign'])} of {done} variants have its "
        f"sign, {int(glance['significant'])} of them are significant at 5% (from {_signed(glance['lowest'])} to "
        f"{_signed(glance['highest'])})."
    )
    chinese = (
        f"基准模型中{what.zh}为{_signed(glance['base'])}；{done}项稳健性检验中{int(glance['same_sign'])}项符号相同，其中"
        f"{int(glance['significant'])}项在5%水平上显著（{_signed(glance['lowest'])}至{_signed(glance['highest'])}）。"
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


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
