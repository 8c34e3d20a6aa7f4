"""Results in plain words, hedged by their intervals, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from spatial_zb.text import Text

__all__ = ["effect_reading", "moran_reading", "system_reading"]


def effect_reading(
    effects: pd.DataFrame, term: str, y: Text, labels: Mapping[str, Text], where: Text
) -> Text:
    """Say what one regressor goes with at home and next door.

    Parameters
    ----------
    effects
        Tidy effects with ``term, effect, estimate, conf_low, conf_high``.
    term
        The regressor.
    y, labels, where
        Words for the dependent variable, the regressors and the sample and model.
    """
    rows = effects[effects["term"] == term].set_index("effect")
    x = labels.get(term, Text.of(term))
    home, away = rows.loc["direct"], rows.loc["indirect"]
    if pd.isna(home["conf_low"]) and pd.isna(away["conf_low"]):
        return Text(
            f"{where.en}: the effects of “{x.en}” on “{y.en}” have no standard errors, so nothing is said of them (see "
            "the notes).",
            f"{where.zh}：“{x.zh}”对“{y.zh}”的效应没有标准误，不作解读（见提示）。",
        )
    return Text(
        f"{where.en}: one more unit of “{x.en}” goes with {_amount(home)} of “{y.en}” in the same place "
        f"({_judged(home).en}), and with {_amount(away)} in all other places together ({_judged(away).en}).",
        f"{where.zh}：“{x.zh}”每增加一个单位，本地区“{y.zh}”相应变动{_amount(home)}（{_judged(home).zh}），"
        f"其他地区合计变动{_amount(away)}（{_judged(away).zh}）。",
    )


def system_reading(mutual: pd.DataFrame, names: Mapping[str, Text], where: Text, weak: bool) -> Text:
    """Say what a shock in one equation of a system does to the others, at home and elsewhere.

    Parameters
    ----------
    mutual
        Effects of structural shocks on other equations: ``source`` ("shock:<equation>"), ``response``,
        ``effect``, ``estimate``, ``conf_low``, ``conf_high``.
    names, where
        Words for the equations, and for the sample, W and method.
    weak
        Whether the instruments of an equation are weak, which closes the reading.
    """
    english, chinese = [f"{where.en}."], [f"{where.zh}。"]
    for (source, response), rows in mutual.groupby(["source", "response"], sort=False):
        x, y = names[source.removeprefix("shock:")], names[response]
        rows = rows.set_index("effect")
        home, away = rows.loc["direct"], rows.loc["indirect"]
        english.append(
            f"One more unit of {x.en} in one place moves {y.en} there by {_amount(home)} ({_judged(home).en}) and in all "
            f"other places together by {_amount(away)} ({_judged(away).en})."
        )
        chinese.append(
            f"某地区{x.zh}增加一个单位，当地{y.zh}变动{_amount(home)}（{_judged(home).zh}），其他地区合计变动{_amount(away)}"
            f"（{_judged(away).zh}）。"
        )
    if weak:
        english.append(
            "The instruments are weak (see the identification table): read these numbers as descriptive."
        )
        chinese.append("工具变量较弱（见识别检验表）：以上数字只宜作描述性解读。")
    return Text(" ".join(english), "".join(chinese))


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
    return Text(f"{period}: I = {value}, {p}", f"{period}年I = {value}，{p}")


def _amount(row: pd.Series) -> str:
    if pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
        return _signed(row["estimate"])
    limits = f"[{_signed(row['conf_low'])}, {_signed(row['conf_high'])}]"
    return f"{_signed(row['estimate'])} {limits}"


def _judged(row: pd.Series) -> Text:
    if pd.isna(row["conf_low"]) or pd.isna(row["conf_high"]):
        return Text("no interval is available", "无法给出置信区间")
    if row["conf_low"] > 0 or row["conf_high"] < 0:
        return Text("95% interval excludes zero", "95%置信区间不含零")
    return Text("not distinguishable from zero at 95%", "在95%水平上与零无显著差异")


def _signed(value: float) -> str:
    """Three decimals; a number they would make zero keeps two digits."""
    lost = value != 0 and abs(value) < 0.0005
    return f"{value:{'+.1e' if lost else '+.3f'}}".replace("-", "−")


def _plain(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
