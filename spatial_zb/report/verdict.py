"""Results in one sentence that can be said aloud: at most 25 words, in per cent or standard deviations, with its certainty.

What :mod:`spatial_zb.report.reading` says at length. A number is said with its 95 % interval, or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from spatial_zb.base.text import Text

#: Words of a sentence, at most.
LONGEST = 25
#: The change of a variable in logarithms that is spoken of.
PERCENT = 10.0
#: From this share of estimates of one sign on a curve is said to keep its sign.
ONE_SIGN = 0.9

Robustness = Literal["robust", "partly", "not", "untested"]
_FIRM = {
    "robust": Text("robust in sign", "符号稳健"),
    "partly": Text("partly robust", "部分稳健"),
    "not": Text("not robust", "不稳健"),
    "untested": Text("not tested jointly", "未作联合检验"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """The change of a variable that is spoken of, or the unit in which its changes are.

    Attributes
    ----------
    label
        Its words, such as ``GDP per head (log)``.
    size
        How much that is, in the units of the variable.
    kind
        ``"percent"`` of a variable in logarithms, one standard ``"deviation"`` (within units where there are several
        periods), a ``"switch"`` of a variable that is 0 or 1, or one ``"unit"``.

    Examples
    --------
    >>> gdp = Step.of_log(Text.of("GDP per head (log)"))
    >>> gdp.higher.en, round(gdp.change(0.05), 2)
    ('GDP per head 10% higher', 5.13)
    """

    label: Text
    size: float
    kind: Literal["percent", "deviation", "switch", "unit"]

    @classmethod
    def of_log(cls, label: Text) -> Step:
        """10 % of a variable that is in logarithms."""
        return cls(label, math.log1p(PERCENT / 100), "percent")

    @property
    def name(self) -> Text:
        """The label without what it says in brackets, to stand inside a sentence."""
        en, zh = self.label.en.split(" (")[0], self.label.zh.split("（")[0]
        first = en.split(" ", 1)[0]
        return Text(en[:1].lower() + en[1:] if first[1:].islower() else en, zh)

    @property
    def higher(self) -> Text:
        """``GDP per head 10% higher``."""
        x = self.name
        if self.kind == "percent":
            return Text(f"{x.en} {PERCENT:g}% higher", f"{x.zh}高{PERCENT:g}%")
        if self.kind == "switch":
            return Text(f"{x.en} 1 instead of 0", f"{x.zh}由0变为1")
        if self.kind == "deviation":
            return Text(f"{x.en} one standard deviation higher", f"{x.zh}高一个标准差")
        return Text(f"{x.en} one unit higher", f"{x.zh}高一个单位")

    def change(self, amount: float) -> float:
        """A change of the variable, as a response: in per cent where it is in logarithms, else as it is."""
        return 100 * math.expm1(amount) if self.kind == "percent" else amount

    @property
    def unit(self) -> Text:
        """What stands behind a response: the sign of per cent, or the unit in the brackets of the label."""
        if self.kind == "percent":
            return Text("%", "%")
        found = [re.search(r"[(（]([^()（）]*)[)）]$", words) for words in (self.label.en, self.label.zh)]
        en, zh = (match[1] if match else "" for match in found)
        if en == "%":
            return Text(" points", "个百分点")
        return Text(f" {en}", zh) if 0 < len(en.split()) <= 2 and "log" not in en else Text("", "")


def effect_verdict(
    effects: pd.DataFrame | None,
    x: Step,
    y: Step,
    *,
    term: str,
    place: Text | None = None,
    lasting: bool = False,
) -> Text:
    """What a model says of its first regressor, in a sentence.

    Parameters
    ----------
    effects
        Tidy effects with ``term, effect, estimate, conf_low, conf_high``; None where they are not computed.
    x, y
        How far the regressor is moved, and the unit of the response.
    term
        The regressor.
    place
        Where it holds, such as "in Zhejiang"; None for the main sample.
    lasting
        The effects are those of the long run.
    """
    where = Text(f"{place.en}, ", f"{place.zh}：") if place is not None else Text("", "")
    if effects is None:
        return _within(
            lambda x, y: Text(
                f"{where.en}the effect of {x.name.en} on {y.name.en} cannot be told from these data.",
                f"{where.zh}{x.name.zh}对{y.name.zh}的效应无从判断：数据未能界定其范围。",
            ),
            (x, y),
        )
    rows = effects[effects["term"] == term].set_index("effect")
    home, away = (rows.loc[name] for name in ("direct", "indirect"))
    none = away["estimate"] == away["conf_low"] == away["conf_high"] == 0
    if pd.isna(home["conf_low"]) and (none or pd.isna(away["conf_low"])):
        return _within(
            lambda x, y: Text(
                f"{where.en}the effect of {x.name.en} on {y.name.en} has no standard error, so nothing is said of it.",
                f"{where.zh}{x.name.zh}对{y.name.zh}的效应没有标准误，不作判断。",
            ),
            (x, y),
        )
    good = Text(" for good", "（长期）") if lasting else Text("", "")
    rest = _together(_said(home, x, y), _said(away, x, y), none)
    return _within(
        lambda x, y: Text(
            f"{where.en}with {x.higher.en}{good.en}, {y.name.en} is {rest.en}.",
            f"{where.zh}{x.higher.zh}{good.zh}时，{y.name.zh}{rest.zh}。",
        ),
        (x, y),
    )


def _together(here: Text | None, there: Text | None, none: bool) -> Text:
    """What follows the subject, by which of the two changes is told from none."""
    if none:
        first = here or Text("not clearly different", "无明显差异")
        return Text(
            f"{first.en} at home; this model allows nothing elsewhere",
            f"在本地{first.zh}；该模型不含对其他地区的影响",
        )
    if here is None and there is None:
        return Text(
            "not clearly different, neither at home nor elsewhere",
            "在本地和其他地区均无明显差异",
        )
    if there is None:
        assert here is not None
        return Text(
            f"{here.en} at home, and not clearly different elsewhere",
            f"在本地{here.zh}，在其他地区无明显差异",
        )
    if here is None:
        return Text(
            f"not clearly different at home, but {there.en} elsewhere in total",
            f"在本地无明显差异，在其他地区合计{there.zh}",
        )
    return Text(
        f"{here.en} at home and {there.en} elsewhere in total",
        f"在本地{here.zh}，在其他地区合计{there.zh}",
    )


def _said(row: pd.Series, x: Step, y: Step) -> Text | None:
    """A change with its interval, ``3.1% (0.3 to 5.8) lower``; None where it is not told from zero."""
    if pd.isna(row["conf_low"]) or row["conf_low"] <= 0 <= row["conf_high"]:
        return None
    value, low, high = (y.change(x.size * row[name]) for name in ("estimate", "conf_low", "conf_high"))
    ends = sorted((abs(low), abs(high)))
    digits = _digits(abs(value), ends[0])
    number, near, far = (f"{number:,.{digits}f}" for number in (abs(value), *ends))
    unit, up = y.unit, value > 0
    return Text(
        f"{number}{unit.en} ({near} to {far}) {'higher' if up else 'lower'}",
        f"{'高' if up else '低'}{number}{unit.zh}（{near}至{far}）",
    )


def _digits(value: float, near: float) -> int:
    """Decimals: two digits of the value, one more where the interval would seem to touch zero."""
    digits = 0 if value >= 10 else min(1 - math.floor(math.log10(value)), 4)
    return digits + (near > 0 and round(near, digits) == 0)


def curve_robustness(shares: pd.Series, tests: pd.DataFrame | None, level: float = 0.05) -> Robustness:
    """Whether a result outlives the choice of specification: the joint test, then the share of one sign."""
    if tests is None:
        return "untested"
    if tests.set_index("statistic")["p_value"][["median", "significant"]].max() >= level:
        return "not"
    return "robust" if max(shares["positive"], 1 - shares["positive"]) >= ONE_SIGN else "partly"


def curve_verdict(shares: pd.Series, tests: pd.DataFrame | None, what: Text, level: float = 0.05) -> Text:
    """How many specifications agree, and what they say together.

    Parameters
    ----------
    shares
        ``cells, positive, significant, significant_positive, median`` of :meth:`Grid.shares`.
    tests
        :meth:`CurveTest.tidy`, where the curve was tested.
    what
        Words such as ``total effect``; the sentence follows that of the model.
    """
    n, up = int(shares["cells"]), shares["median"] > 0
    same = round(n * (shares["positive"] if up else 1 - shares["positive"]))
    strong, strong_up = round(n * shares["significant"]), round(n * shares["significant_positive"])
    strong = strong_up if up else strong - strong_up
    firm = _FIRM[curve_robustness(shares, tests, level)]
    text = Text(
        f"That {what.en} is {firm.en}: {same} of {n} specifications share its sign, {strong} significantly",
        f"该{what.zh}{firm.zh}：{n}个设定中{same}个符号一致，其中{strong}个显著",
    )
    if tests is None:
        return Text(f"{text.en}.", f"{text.zh}。")
    p = float(tests.set_index("statistic")["p_value"][["median", "significant"]].max())
    found = p < level
    return Text(
        f"{text.en}; jointly {'' if found else 'not '}different from no effect ({_p(p)}).",
        f"{text.zh}；联合检验{'拒绝' if found else '不能拒绝'}“无效应”（{_p(p)}）。",
    )


def system_sentence(
    identification: pd.DataFrame, mutual: pd.DataFrame | None, names: Mapping[str, Text]
) -> Text:
    """What a system says of its equations, or that its exogenous variables do not tell.

    Parameters
    ----------
    identification
        :meth:`SystemFit.identification`.
    mutual
        Effects of structural shocks on other equations at home, as in :func:`system_reading`; None where there are none.
    names
        Words for the equations.
    """
    shown = {equation: _brief(name, 3) for equation, name in names.items()}
    said = list(shown.values())
    who = Text(" and ".join(name.en for name in said), "与".join(name.zh for name in said))
    who = who if len(said) <= 2 else Text(f"{len(said)} equations", f"{len(said)}个方程")
    weak = identification[identification["unidentified"]]
    if len(weak):
        f = weak["effective_f"].dropna()
        ends = dict.fromkeys((f"{f.min():.1f}", f"{f.max():.1f}")) if len(f) else {}
        en = f" (effective F {' to '.join(ends)})" if ends else ""
        zh = f"（有效F为{'至'.join(ends)}）" if ends else ""
        return Text(
            f"Which of {who.en} moves which cannot be told: the exogenous variables do not identify it{en}.",
            f"{who.zh}孰因孰果无从判断：外生变量不能识别其相互作用{zh}。",
        )
    if mutual is None or mutual.empty:
        return Text(
            f"What {who.en} do to each other cannot be told: this system has no bounded effects.",
            f"{who.zh}的相互影响无从判断：该方程组没有有界的效应。",
        )
    home = mutual[mutual["effect"] == "direct"]
    clear = home[(home["conf_low"] > 0) | (home["conf_high"] < 0)]
    if len(home) > 2:
        return Text(
            f"Of {len(home)} links between {who.en}, {len(clear)} are told from zero at home.",
            f"{who.zh}之间的{len(home)}个联系中，{len(clear)}个在本地与零有显著差异。",
        )
    parts = []
    for row in home.itertuples():
        pair = (str(row.source).removeprefix("shock:"), str(row.response))
        a, b = (shown[part] for part in pair)
        if row.conf_low > 0 or row.conf_high < 0:
            verb = Text("raises", "提高") if row.estimate > 0 else Text("lowers", "降低")
        else:
            verb = Text("does not clearly move", "未明显影响")
        parts.append(Text(f"{a.en} {verb.en} {b.en}", f"{a.zh}{verb.zh}{b.zh}"))
    if identification["weak"].any():
        parts.append(Text("it is weakly identified", "识别性弱"))
    elif (identification["j_p"] < 0.05).any():
        parts.append(Text("the data reject exclusions", "数据拒绝部分排除约束"))
    together = Text("; ".join(part.en for part in parts), "；".join(part.zh for part in parts))
    return Text(f"At home {together.en}.", f"在本地，{together.zh}。")


def moran_verdict(table: pd.DataFrame, variable: Text, level: float = 0.05) -> Text:
    """Whether neighbours are alike in a variable, by permutation p-values; ``table`` has ``period, I, expected, p_sim``."""
    name = _brief(variable, 6)
    found = table["p_sim"] < level
    ends = table.iloc[[0, -1]] if len(table) > 1 else table
    numbers = [f"{value:.2f}".replace("-", "−") for value in ends["I"]]
    if len(table) == 1:
        p = _p(float(table["p_sim"].iloc[0]))
        if not found.iloc[0]:
            return Text(
                f"Neighbours are no more alike in {name.en} than by chance: Moran’s I is {numbers[0]} ({p}).",
                f"{name.zh}无明显空间相关：莫兰指数为{numbers[0]}（{p}）。",
            )
        alike = Text("alike", "相似") if table["I"].iloc[0] > 0 else Text("unlike", "相异")
        return Text(
            f"Neighbours are {alike.en} in {name.en}: Moran’s I is {numbers[0]} ({p}).",
            f"相邻地区的{name.zh}{alike.zh}：莫兰指数为{numbers[0]}（{p}）。",
        )
    first, last = (int(period) for period in ends["period"])
    years = Text(
        f"{numbers[0]} in {first}, {numbers[1]} in {last}", f"{first}年{numbers[0]}，{last}年{numbers[1]}"
    )
    if not found.any():
        return Text(
            f"Neighbours are no more alike in {name.en} than by chance in any year: Moran’s I {years.en}.",
            f"各年份{name.zh}均无明显空间相关：莫兰指数{years.zh}。",
        )
    alike = Text("alike", "相似") if table["I"][found].mean() > 0 else Text("unlike", "相异")
    return Text(
        f"Neighbours are {alike.en} in {name.en} in {int(found.sum())} of {len(table)} years: Moran’s I {years.en}.",
        f"相邻地区的{name.zh}{alike.zh}（{len(table)}年中{int(found.sum())}年显著）：莫兰指数{years.zh}。",
    )


def coupling_verdict(degree: pd.DataFrame, label: Text, units: Mapping[str, Text]) -> Text:
    """How a degree of coordination moved on average and who is at its ends; ``degree`` (T, n): periods by units."""
    name = _brief(label, 7)
    name = Text(_capital(name.en), name.zh)
    means, last = degree.mean(axis=1), degree.iloc[-1]
    top, low = (units.get(str(unit), Text.of(str(unit))) for unit in (last.idxmax(), last.idxmin()))
    start, end = degree.index[0], degree.index[-1]
    if start == end:
        return Text(
            f"{name.en} is {means.iloc[-1]:.2f} on average, highest in {top.en} and lowest in {low.en}.",
            f"{name.zh}平均为{means.iloc[-1]:.2f}，{top.zh}最高，{low.zh}最低。",
        )
    up = means.iloc[-1] >= means.iloc[0]
    return Text(
        f"{name.en} {'rose' if up else 'fell'} from {means.iloc[0]:.2f} to {means.iloc[-1]:.2f} on average, "
        f"{start}–{end}; {top.en} is highest, {low.en} lowest.",
        f"{start}—{end}年{name.zh}平均由{means.iloc[0]:.2f}{'升' if up else '降'}至{means.iloc[-1]:.2f}；"
        f"{top.zh}最高，{low.zh}最低。",
    )


def _within(said: Callable[[Step, Step], Text], steps: tuple[Step, Step]) -> Text:
    """The sentence with a capital; names are cut where it would be longer than can be said."""
    text = said(*steps)
    while len(text.en.split()) > LONGEST:
        x, y = steps
        longer = max(steps, key=lambda step: len(step.name.en.split()))
        words = longer.name.en.removesuffix("…").split()
        if len(words) < 3:
            break
        cut = replace(longer, label=Text(" ".join(words[:-1]) + "…", longer.label.zh))
        steps = (cut, y) if longer is x else (x, cut)
        text = said(*steps)
    return Text(_capital(text.en), text.zh)


def _brief(label: Text, most: int) -> Text:
    """A label to stand inside a sentence, of so many words."""
    name = Step(label, 1.0, "unit").name
    words = name.en.split()
    return name if len(words) <= most else Text(" ".join(words[:most]) + "…", name.zh)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def least_sure(tests: pd.DataFrame) -> pd.Series:
    """The larger p-value in each row of ``zb.granger``: of F by the curvature and, where it is there, of the clustered F."""
    return np.fmax(tests["p_value"].astype(float), tests["p_cluster"].astype(float))


def leads_sentence(tests: pd.DataFrame, names: Mapping[str, Text]) -> Text | None:
    """Who leads whom in a system of two, in one sentence; None for more equations, or where a test is not defined.

    Parameters
    ----------
    tests
        ``zb.granger(fit).tidy()``. A variable is said to lead where both p-values of its lags together are below 0.05: of
        F by the curvature and, where there is one, of the clustered F.
    names
        Words for the equations.
    """
    both = tests[tests["part"] == "both"] if (tests["part"] == "both").any() else tests
    if len(both) != 2 or not np.isfinite(both["p_value"]).all():
        return None
    p = least_sure(both).to_numpy()
    (first, second), shown = both["source"], {name: _brief(text, 3) for name, text in names.items()}
    a, b = shown[first], shown[second]
    if (p < 0.05).all():
        return Text(
            f"{a.en[:1].upper()}{a.en[1:]} and {b.en} of the year before each help to foresee the other.",
            f"上一年的{a.zh}与{b.zh}互有预测作用。",
        )
    if (p < 0.05).any():
        lead, follow = (a, b) if p[0] < 0.05 else (b, a)
        return Text(
            f"{lead.en[:1].upper()}{lead.en[1:]} of the year before helps to foresee {follow.en}; the reverse is not seen.",
            f"上一年的{lead.zh}有助于预测{follow.zh}，反之则看不出。",
        )
    return Text(
        f"Neither is seen to lead: last year’s {a.en} and {b.en} do not help to foresee each other "
        f"(p = {p[0]:.2f} and {p[1]:.2f}).",
        f"看不出孰先孰后：上一年的{a.zh}与{b.zh}互无预测作用（p = {p[0]:.2f}和{p[1]:.2f}）。",
    )
