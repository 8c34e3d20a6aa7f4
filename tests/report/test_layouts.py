"""From tidy frames to tables: what stands where, in both languages, and what is never marked."""

import math
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report.tables.layouts import (
    chain_table,
    correlations_table,
    definitions_table,
    descriptives_table,
    effects_table,
    identification_table,
    missing_table,
    moran_table,
    regression_table,
    scenario_table,
)
from spatial_zb.report.tables.table import TableLook, TableStyle
from spatial_zb.report.tables.text import note_paragraphs, shown, words
from spatial_zb.report.tables.writers import write_table

EN, ZH = TableStyle(), TableStyle(language="zh")
COLUMN_T = TableStyle(error_position="column", errors="t")
LABELS = {"talent": Text("Talent", "人才集聚"), "gdp": "ln GDP"}


class Result:
    """Anything with tidy() and glance()."""

    def __init__(self, tidy, glance):
        self._tidy, self._glance = pd.DataFrame(tidy), pd.DataFrame(glance)

    def tidy(self):
        return self._tidy

    def glance(self):
        return self._glance


def fit(terms, **changes):
    """A fit whose estimates are 0.25, 1.25, …, with given standard errors and p-values."""
    records = [
        {"term": t, "estimate": i + 0.25, "std_error": se, "statistic": (i + 0.25) / se, "p_value": p}
        for i, (t, se, p) in enumerate(terms)
    ]
    facts = {
        "model": "SDM",
        "fixed_effects": "two_way",
        "estimator": "lee_yu",
        "weights": "queen",
        "covariance": "sandwich",
        "nobs": 187,
        "n_units": 11,
        "n_periods": 17,
        "log_likelihood": 12.3456,
        "aic": -4.5,
        "bic": 1.0,
        "sigma2": 0.04,
        "r2_within": 0.5,
        "converged": True,
    }
    return Result(records, [facts | changes])


SDM = fit(
    [
        ("talent", 0.1, 0.009),
        ("gdp", 0.2, 0.2),
        ("W_talent", 0.3, 0.04),
        ("W_gdp", 0.4, 0.5),
        ("rho", 0.05, 0.06),
        ("sigma2", 0.01, 0.0001),
    ]
)
SEM = fit([("talent", 0.1, 0.009), ("lam", 0.2, 0.5)], model="SEM", fixed_effects="unit", weights="knn4")


def printed(table, style=EN):
    """Every body row as printed text."""
    return [
        [item.text + item.stars for item in (shown(cell, style) for cell in row.cells)]
        for row in table.rows
        if row.kind != "rule"
    ]


def line(table, name, style=EN):
    """The row of that name, and the one below it."""
    rows = printed(table, style)
    i = [row[0] for row in rows].index(name)
    return rows[i][1:], rows[i + 1] if i + 1 < len(rows) else None


def heads(table, style=EN):
    return [[words(cell.text, style) for cell in level] for level in table.header]


def notes(table, style=EN):
    return " ".join(note_paragraphs(table, style))


# Regressions


@pytest.mark.parametrize(("facts", "said"), [({}, False), ({"r2_within": math.nan}, True)])
def test_a_dash_is_explained_where_there_is_one(facts, said):
    table = regression_table([("SDM", fit([("talent", 0.1, 0.009)], **facts))])
    assert any(cell == "–" for row in printed(table) for cell in row) == said
    assert ("dash" in notes(table)) == said


def test_regression_rows_come_in_the_order_of_a_paper():
    table = regression_table([("SDM", SDM), ("SEM", SEM)], look=TableLook(words=LABELS))
    names = [row[0] for row in printed(table) if row[0]]
    assert names == [
        "X",
        "Talent",
        "ln GDP",
        "W × X",
        "W × Talent",
        "W × ln GDP",
        "Spatial lag ρ",
        "Spatial error λ",
        "Variance σ²",
        "Unit fixed effects",
        "Time fixed effects",
        "Observations",
        "Units",
        "Periods",
        "Log-likelihood",
        "AIC",
        "R² within",
        "Estimator",
        "Weights matrix",
    ]
    assert heads(table) == [["", "(1)", "(2)"], ["Variable", "SDM", "SEM"]]


def test_regression_cells():
    table = regression_table([("SDM", SDM), ("SEM", SEM)], look=TableLook(words=LABELS))
    assert line(table, "Talent") == (["0.250***", "0.250***"], ["", "(0.100)", "(0.100)"])
    assert line(table, "W × Talent") == (["2.250**", ""], ["", "(0.300)", ""])
    assert line(table, "Spatial lag ρ") == (["4.250*", ""], ["", "(0.050)", ""])
    assert line(table, "Spatial error λ") == (["", "1.250"], ["", "", "(0.200)"])
    assert line(table, "Unit fixed effects")[0] == ["Yes", "Yes"]
    assert line(table, "Time fixed effects")[0] == ["Yes", "No"]
    assert line(table, "Observations")[0] == ["187", "187"]
    assert line(table, "Log-likelihood")[0] == ["12.346", "12.346"]
    assert line(table, "Weights matrix")[0] == ["queen", "knn4"]


def test_least_squares_is_called_by_its_name():
    terms = [("talent", 0.1, 0.02)]
    changes = [
        {"model": "OLS"},
        {"model": "SLX"},
        {"model": "SAR"},
        {"model": "OLS", "fixed_effects": "random"},
    ]
    fits = [(str(number), fit(terms, **each)) for number, each in enumerate(changes)]
    assert line(regression_table(fits), "Estimator")[0] == ["OLS", "OLS", "Lee–Yu ML", "Lee–Yu ML"]


def test_variance_is_never_starred_and_comes_from_glance_when_tidy_has_none():
    assert line(regression_table([("SDM", SDM)]), "Variance σ²")[0] == ["5.250"]
    assert line(regression_table([("SEM", SEM)]), "Variance σ²")[0] == ["0.040"]


def test_regression_in_chinese():
    table = regression_table(
        [("SDM", SDM)], dependent=Text("Industry", "产业集聚"), look=TableLook(words=LABELS)
    )
    names = [row[0] for row in printed(table, ZH)]
    expected = ["人才集聚", "W × 人才集聚", "空间自回归系数 ρ", "观测值", "对数似然值", "地区固定效应"]
    assert set(expected) <= set(names)
    text = notes(table, ZH)
    for part in (
        "注：括号内为标准误",
        "*** p < 0.01",
        "被解释变量：产业集聚",
        "三明治",
        "空间权重矩阵：queen",
    ):
        assert part in text


def test_notes_name_errors_stars_covariance_weights_and_sources():
    text = notes(
        regression_table([("SDM", SDM)], dependent="lq", look=TableLook(notes=["Source: yearbook."]))
    )
    for part in (
        "Standard errors in parentheses.",
        "* p < 0.10, ** p < 0.05, *** p < 0.01.",
        "Dependent variable: lq.",
        "Covariance: sandwich.",
        "Weights matrix: queen.",
        "Source: yearbook.",
    ):
        assert part in text


def test_the_notes_say_how_the_weights_were_normalised_and_what_is_explained():
    own = fit([("x", 1, 0.5)], normalisation="row", y="talent")
    table = regression_table([("m", own)], look=TableLook(words=LABELS))
    assert "Weights matrix: queen (row-normalised)." in notes(table)
    assert "空间权重矩阵：queen（行标准化）。" in notes(table, ZH)
    assert "Dependent variable: Talent." in notes(table)
    other = fit([("x", 1, 0.5)], normalisation="none", y="gdp")
    table = regression_table([("m", own), ("o", other)], look=TableLook(words=LABELS))
    assert line(table, "Weights matrix")[0] == ["queen (row-normalised)", "queen (not normalised)"]
    assert line(table, "Dependent variable")[0] == ["Talent", "ln GDP"]


@pytest.mark.parametrize(
    ("style", "row", "below", "words_in_notes"),
    [
        (TableStyle(errors="p"), ["0.250***"], ["", "(0.009)"], "p-values in parentheses"),
        (TableStyle(errors="t", digits=1), ["0.2***"], ["", "(2.5)"], "Ratios of estimate"),
        (TableStyle(stars=False), ["0.250"], ["", "(0.100)"], "Standard errors in parentheses"),
        (COLUMN_T, ["0.250***", "2.500"], ["ln GDP", "1.250", "6.250"], "beside the estimates"),
        (TableStyle(thresholds=(0.05, 0.02, 0.001)), ["0.250**"], ["", "(0.100)"], "*** p < 0.001"),
    ],
    ids=["p", "t", "no stars", "column", "thresholds"],
)
def test_regression_styles(style, row, below, words_in_notes):
    table = regression_table([("SDM", SDM)], look=TableLook(words=LABELS, style=style))
    assert line(table, "Talent", style) == (row, below)
    assert words_in_notes in notes(table, style)
    assert ("* p <" in notes(table, style)) == style.stars


def test_a_fit_that_did_not_converge_is_nc_without_stars():
    failed = fit([("talent", 0.1, 0.0), ("rho", 0.1, 0.0)], converged=False)
    table = regression_table([("SDM", SDM), ("bad", failed)], look=TableLook(words=LABELS))
    column = [row[2] for row in printed(table) if len(row) > 2]
    assert not any("*" in cell for cell in column)
    assert line(table, "Talent") == (["0.250***", "n.c."], ["", "(0.100)", ""])
    for name in ("Spatial lag ρ", "Log-likelihood", "AIC", "R² within"):
        assert line(table, name)[0][1] == "n.c."
    assert line(table, "Observations")[0] == ["187", "187"]
    assert "n.c.: not computed" in notes(table)
    assert line(table, "人才集聚", ZH)[0][1] == "未计算"


@pytest.mark.parametrize("spread", [math.nan, None], ids=["nan", "none"])
def test_no_stars_without_a_standard_error(spread):
    table = regression_table([("m", Result(
        [{"term": "x", "estimate": 2.0, "std_error": spread, "statistic": 9.0, "p_value": 0.0}],
        fit([]).glance().to_dict("records"),
    ))])  # fmt: skip
    assert line(table, "x") == (["2.000"], ["", "–"])
    assert "not available" in notes(table)


def test_missing_facts_are_dashes():
    table = regression_table([("m", fit([("x", 0.1, 0.5)], r2_within=math.nan, estimator=None))])
    assert line(table, "R² within")[0] == ["–"]
    assert line(table, "Estimator")[0] == ["–"]
    assert "not available" in notes(table)


def test_observations_of_the_transform_are_explained():
    assert "after the fixed-effects transform" in notes(
        regression_table([("m", fit([("x", 1, 0.5)], nobs=160))])
    )
    assert "transform" not in notes(regression_table([("m", fit([("x", 1, 0.5)]))]))


def test_terms_choose_and_order_and_the_rest_is_named():
    table = regression_table([("SDM", SDM)], ["gdp"], look=TableLook(words=LABELS))
    assert [row[0] for row in printed(table)][1] == "ln GDP"
    assert "Talent" not in [row[0] for row in printed(table)]
    assert "Also estimated, not shown: Talent." in notes(table)
    assert "not shown" not in notes(regression_table([("SDM", SDM)], ["gdp", "talent"]))


def test_the_constant_is_last_and_random_effects_are_named():
    table = regression_table([("RE", fit([("(Intercept)", 1, 0.5), ("x", 1, 0.5)], fixed_effects="random"))])
    assert [row[0] for row in printed(table)][1:5:2] == ["x", "Constant"]
    assert line(table, "Unit fixed effects")[0] == ["Random"]


@pytest.mark.parametrize(
    ("fits", "terms", "message"),
    [
        ([], None, "at least one fit"),
        ([("SDM", SDM)], ["gpd"], "gpd"),
        ([("twice", fit([("x", 1, 1), ("x", 1, 1)]))], None, "x more than once"),
    ],
    ids=["none", "unknown", "twice"],
)
def test_regression_refusals(fits, terms, message):
    with pytest.raises(SpecificationError, match=message):
        regression_table(fits, terms)


def test_a_system_gives_a_column_for_each_equation():
    tidy = pd.concat([SDM.tidy(), SEM.tidy()], keys=["industry", "talent"], names=["equation"])
    tidy = tidy.reset_index(level="equation").set_index(["equation", "term"])
    table = regression_table([("GS3SLS", Result(tidy, SDM.glance()))], look=TableLook(words=LABELS))
    assert heads(table)[1] == ["Variable", "GS3SLS: industry", "GS3SLS: Talent"]
    assert line(table, "Talent")[0] == ["0.250***", "0.250***"]
    assert line(table, "Spatial error λ")[0] == ["", "1.250"]


# Effects


def effects(**changes):
    records = [
        {"term": term, "effect": effect, "estimate": v, "std_error": 0.1, "statistic": v / 0.1, "p_value": p}
        for term, values in {"talent": (0.5, -0.25, 0.25), "gdp": (1.0, 2.0, 3.0)}.items()
        for effect, v, p in zip(("direct", "indirect", "total"), values, (0.001, 0.05, math.nan), strict=True)
    ]
    return [record | changes for record in records]


def test_effects_cells_and_heads():
    result = Result(effects(), SDM.glance())
    table = effects_table(
        [("SDM", result), ("SAR", Result(effects()[:3], SDM.glance()))], look=TableLook(words=LABELS)
    )
    assert heads(table)[1] == ["Variable", *["Direct", "Indirect", "Total"] * 2]
    assert heads(table, ZH)[1] == ["变量", *["直接效应", "间接效应", "总效应"] * 2]
    assert [cell.span for cell in table.header[0]] == [1, 3, 3]
    row, below = line(table, "Talent")
    assert row == ["0.500***", "−0.250*", "0.250"] * 2
    assert below == ["", *["(0.100)"] * 6]
    assert line(table, "ln GDP")[0][3:] == ["", "", ""]
    assert "Weights matrix: queen." in notes(table)


def test_effects_take_weights_and_covariance_from_the_caller_or_say_they_are_not_stated():
    class Bare:
        def tidy(self):
            return pd.DataFrame(effects())

    assert "Weights matrix: not stated." in notes(effects_table([("m", Bare())]))
    text = notes(effects_table([("m", Bare())], weights="knn4", covariance="cluster", method="simulate"))
    for part in ("knn4", "clustered by unit", "simulated draws"):
        assert part in text


def test_effects_say_how_their_errors_were_computed():
    glance = SDM.glance().assign(method="simulate", draws=2000)
    table = effects_table([("m", Result(effects(), glance))])
    assert "Standard errors of the effects: simulated draws." in notes(table)


def test_effects_of_a_fit_that_did_not_converge_are_nc():
    bad = Result(effects(), SDM.glance().assign(converged=False))
    table = effects_table(
        [("SDM", Result(effects(), SDM.glance())), ("bad", bad)], look=TableLook(words=LABELS)
    )
    row, below = line(table, "Talent")
    assert row == ["0.500***", "−0.250*", "0.250", "n.c.", "n.c.", "n.c."]
    assert below == ["", "(0.100)", "(0.100)", "(0.100)", "", "", ""]
    assert "n.c.: not computed" in notes(table)


def test_effects_in_columns():
    table = effects_table(
        [("m", Result(effects(), SDM.glance()))], look=TableLook(words=LABELS, style=COLUMN_T)
    )
    assert [len(level) for level in table.header] == [2, 4, 7]
    assert line(table, "Talent", COLUMN_T)[0] == ["0.500***", "5.000", "−0.250*", "−2.500", "0.250", "2.500"]


def test_system_effects_have_a_section_for_each_response():
    records = [
        {**{k: v for k, v in record.items() if k != "term"}, "response": response, "source": source}
        for response in ("industry", "talent")
        for source in ("gdp", "shock:talent")
        for record in effects()[:3]
    ]
    table = effects_table([("FIML", Result(records, SDM.glance()))], look=TableLook(words=LABELS))
    assert [row[0] for row in printed(table) if row[0]] == [
        "Effect on industry",
        "ln GDP",
        "Shock to Talent",
        "Effect on Talent",
        "ln GDP",
        "Shock to Talent",
    ]


@pytest.mark.parametrize(
    ("results", "terms", "message"),
    [
        ([], None, "at least one"),
        ([("m", Result(effects(), SDM.glance()))], ["x"], "x"),
        ([("m", Result(effects() * 2, SDM.glance()))], None, "direct effect of talent more than once"),
    ],
    ids=["none", "unknown", "twice"],
)
def test_effects_refusals(results, terms, message):
    with pytest.raises(SpecificationError, match=message):
        effects_table(results, terms)


# Moran


def moran(periods=(2003, 2004, 2005), p=(0.001, 0.05, 0.3)):
    n = len(periods)
    return pd.DataFrame(
        {"period": periods, "I": np.arange(n) + 0.5, "z": np.arange(n) - 1.0, "p_value": 0.2, "p_sim": p}
    )


INDUSTRY = Text("Industry", "产业")


def test_moran_side_by_side():
    table = moran_table(
        {INDUSTRY: {"queen": moran(), "knn": moran((2004, 2005), (0.2, 0.2))}}, permutations=999
    )
    assert heads(table) == [["", "Industry"], ["", "queen", "knn"], ["Period", *["I", "z", "p"] * 2]]
    assert printed(table)[0] == ["2003", "0.500***", "−1.000", "0.001", "–", "–", "–"]
    assert printed(table)[1][:4] == ["2004", "1.500*", "0.000", "0.050"]
    text = notes(table)
    for part in ("999 random permutations", "Weights matrix: queen; knn.", "* p < 0.10", "not available"):
        assert part in text
    assert "p 为 999 次随机置换的伪 p 值" in notes(table, ZH)
    many = moran_table({INDUSTRY: {"queen": moran()}}, permutations=9_999)
    assert "9,999 random permutations" in notes(many)  # as in figures and text


def test_moran_with_one_matrix_has_no_line_for_it():
    table = moran_table({INDUSTRY: {"queen": moran()}, "Talent": {"queen": moran()}})
    assert heads(table)[0] == ["", "Industry", "Talent"]
    assert len(table.header) == 2
    assert "Weights matrix: queen." in notes(table)
    assert "not available" not in notes(table)


def test_moran_by_the_normal_approximation():
    table = moran_table({INDUSTRY: {"queen": moran()}}, p="p_value")
    assert printed(table)[0] == ["2003", "0.500", "−1.000", "0.200"]
    assert "normal approximation" in notes(table)


def test_wide_moran_tables_are_stacked():
    by = {"queen": moran(), "knn": moran()}
    table = moran_table(dict.fromkeys(("a", "b", "c"), by))
    assert [row[0] for row in printed(table)][::4] == ["a", "b", "c"]
    assert table.n_columns == 7
    assert moran_table(dict.fromkeys(("a", "b", "c"), by), stacked=False).n_columns == 19


def test_an_undefined_moran_has_no_stars():
    frame = moran()
    frame.loc[0, ["I", "z"]] = math.nan
    frame.loc[1, "p_sim"] = math.nan
    table = moran_table({INDUSTRY: {"queen": frame}})
    assert printed(table)[0] == ["2003", "–", "–", "0.001"]
    assert printed(table)[1] == ["2004", "1.500", "0.000", "–"]


@pytest.mark.parametrize(
    ("results", "options", "message"),
    [
        ({}, {}, "at least one"),
        ({INDUSTRY: {"queen": moran().drop(columns="z")}}, {}, "Industry with queen lacks z"),
        ({INDUSTRY: {"queen": moran()}}, {"p": "p"}, "p_sim"),
    ],
    ids=["none", "column", "p"],
)
def test_moran_refusals(results, options, message):
    with pytest.raises(SpecificationError, match=message):
        moran_table(results, **options)


# Descriptives, definitions, gaps


class Panel:
    """T = 2 periods, n = 3 units."""

    labels = LABELS
    values = np.array([[[1.0, 5.0], [2.0, 5.0], [6.0, np.nan]], [[3.0, 5.0], [4.0, 5.0], [8.0, np.nan]]])

    def array(self, names):
        return self.values[:, :, [["talent", "gdp"].index(name) for name in names]]


def test_descriptives():
    table = descriptives_table(Panel(), ["talent", "gdp"])
    # Unit means 2, 3, 7; every deviation from them is 1 in size.
    pooled = np.array([1, 2, 6, 3, 4, 8])
    expected = [pooled.mean(), pooled.std(ddof=1), math.sqrt(7), math.sqrt(6 / 5), 1, 3.5, 8]
    assert line(table, "Talent")[0] == ["6", *(f"{value:.3f}" for value in expected)]
    assert line(table, "ln GDP")[0] == ["4", "5.000", *["0.000"] * 3, *["5.000"] * 3]
    assert heads(table, ZH)[0][:6] == ["变量", "观测数", "均值", "总体标准差", "组间标准差", "组内标准差"]


def test_descriptives_of_nothing_are_dashes():
    class Empty(Panel):
        values = np.full((2, 3, 2), np.nan)

    assert line(descriptives_table(Empty(), ["talent"]), "Talent")[0] == ["0", *["–"] * 7]


def test_between_and_within_add_up_to_overall():
    """For a balanced panel (N−1)s² = T(n−1)s_b² + (N−1)s_w²."""

    class Drawn(Panel):
        values = np.random.default_rng(5).normal(size=(7, 9, 2))

    cells = {
        words(head.text, EN): cell
        for head, cell in zip(
            descriptives_table(Drawn(), ["talent"]).header[0],
            descriptives_table(Drawn(), ["talent"]).rows[0].cells,
            strict=True,
        )
    }
    overall, between, within = (cells[f"SD {name}"].value ** 2 for name in ("overall", "between", "within"))
    assert 62 * overall == pytest.approx(7 * 8 * between + 62 * within, rel=1e-12)


def test_definitions_leave_out_columns_nobody_fills():
    rows = [
        {"name": "lq", "label": {"en": "LQ", "zh": "区位商"}, "definition": "share", "source": "yearbook"},
        {"name": "fdi", "definition": "", "source": "yearbook"},
    ]
    table = definitions_table(rows)
    assert heads(table) == [["Variable", "Definition", "Source"]]
    assert printed(table, ZH) == [["区位商", "share", "yearbook"], ["fdi", "–", "yearbook"]]


@pytest.mark.parametrize("kind", [pd.DataFrame, list], ids=["frame", "records"])
def test_missing_cells(kind):
    rows = [
        {"unit": "331100", "period": 2013, "variable": "talent", "rule": "interpolate", "value": 12.5},
        {"unit": "330700", "period": 2018, "variable": "gdp", "rule": "blank", "value": None},
    ]
    labels = LABELS | {"331100": Text("Lishui", "丽水市")}
    table = missing_table(kind(rows), look=TableLook(words=labels))
    assert printed(table, ZH) == [
        ["丽水市", "2013", "人才集聚", "线性插值", "12.500"],
        ["330700", "2018", "ln GDP", "保留空缺", "–"],
    ]


def test_figures_that_were_set_aside_stand_beside_what_took_their_place():
    rows = [
        {
            "unit": "a",
            "period": 2011,
            "variable": "v",
            "rule": "interpolate",
            "printed": 547000.0,
            "value": 143102.5,
        },
        {
            "unit": "a",
            "period": 2012,
            "variable": "v",
            "rule": "drop_units",
            "printed": float("nan"),
            "value": None,
        },
    ]
    table = missing_table(pd.DataFrame(rows))
    assert [words(cell.text, EN) for cell in table.header[0]][-2:] == ["As printed", "Value"]
    assert [row[-2:] for row in printed(table, EN)] == [["547,000", "143,102"], ["–", "–"]]


def test_every_layout_is_written_in_every_format(tmp_path):
    tables = [
        regression_table([("SDM", SDM), ("SEM", SEM)]),
        effects_table([("SDM", Result(effects(), SDM.glance()))]),
        moran_table({INDUSTRY: {"queen": moran()}}),
        descriptives_table(Panel(), ["talent"]),
        definitions_table([{"name": "x"}]),
        missing_table([]),
    ]
    for table in tables:
        assert all(
            path.stat().st_size for path in write_table(table, tmp_path, style=TableStyle(language="both"))
        )


def test_chain_table_prints_undefined_tests_as_dashes_without_stars():
    frame = pd.DataFrame(
        {
            "test": ["LM lag", "Hausman", "VIF a"],
            "statistic": [12.5, float("nan"), 1.2],
            "df": [1.0, 3.0, float("nan")],
            "p_value": [0.0004, float("nan"), float("nan")],
        }
    )
    table = chain_table(frame)
    style = TableStyle()
    printed = [[shown(cell, style) for cell in row.cells] for row in table.rows]
    assert [cell.text for cell in printed[0][1:]] == ["12.500", "1", "<0.001"]
    assert printed[0][1].stars == "***"
    assert printed[1][1].text == "–"
    assert printed[1][1].stars == printed[2][1].stars == ""


def test_chain_table_has_a_section_for_each_part():
    columns = ["test", "statistic", "df", "p_value"]
    lag = pd.DataFrame([("LM lag", 4.0, 1.0, 0.045)], columns=columns)
    factor = pd.DataFrame([("VIF", 2.0, float("nan"), float("nan"))], columns=columns)
    table = chain_table([(Text("Dependence", "依赖"), lag), (Text("Collinearity", "共线性"), factor)])
    assert [row.kind for row in table.rows] == ["section", "body", "section", "body"]
    assert table.rows[2].cells == (Text("Collinearity", "共线性"),)
    assert [table.rows[1], table.rows[3]] == [*chain_table(lag).rows, *chain_table(factor).rows]


def test_identification_table_has_a_section_for_each_system_and_a_line_for_each_equation():
    frame = pd.DataFrame(
        {
            "equation": ["a", "b"],
            "identified": [True, False],
            "rank": [1, 0],
            "rank_needed": [1, 1],
            "outside": [4, 1],
            "endogenous": [2, 2],
            "sw_f_min": [12.345, float("nan")],
            "kp_f": [9.0, 1.0],
            "effective_f": [8.0, 0.5],
            "j": [3.2, float("nan")],
            "j_p": [0.0001, float("nan")],
            "j_test": "Sargan",
        }
    )
    other = frame.assign(j_test="Hansen, by unit")
    table = identification_table(
        [("one", frame), ("two", other)], look=TableLook(words={"a": Text("Industry", "产业")})
    )
    assert [row.kind for row in table.rows] == ["section", "body", "body"] * 2
    first = [shown(cell, TableStyle()).text for cell in table.rows[1].cells]
    assert first == ["Industry", "Yes", "1/1", "4/2", "8.00", "12.35", "9.00", "3.20", "<0.001"]
    assert [shown(cell, TableStyle()).text for cell in table.rows[2].cells][5] == "–"
    (note,) = table.notes
    assert (
        "independent over time (one); Hansen's by unit, for errors that may last over time (two)" in note.en
    )


# Regressions with effects, tests and controls in their rows


def test_effects_tests_and_controls_have_rows_of_their_own():
    records = [
        {"term": term, "effect": kind, "estimate": 1.5, "std_error": 0.5, "statistic": 3.0, "p_value": 0.003}
        for term in ("talent", "gdp")
        for kind in ("direct", "indirect", "total")
    ]
    table = regression_table(
        [("SDM", SDM), ("SEM", SEM)],
        effects=[Result(records, [{}]), None],
        tests={Text("LR: SDM to SAR", "LR 检验：SDM→SAR"): [(7.25, 0.007), None]},
        controls=["gdp"],
        look=TableLook(words=LABELS),
    )
    rows = printed(table)
    names = [row[0] for row in rows if row[0]]
    assert "ln GDP" not in names
    assert names.count("Talent") == 4  # its coefficient and three effects
    assert line(table, "Controls")[0] == ["Yes", "No"]
    assert line(table, "LR: SDM to SAR") == (["7.250***", ""], ["", "[0.007]", ""])
    i = names.index("Indirect effects")
    assert names[i + 1] == "Talent"
    at = [row[0] for row in rows].index("Indirect effects")
    assert rows[at + 1][1:] == ["1.500***", ""]
    assert rows[at + 2][1:] == ["(0.500)", ""]
    assert "Also estimated, not shown: ln GDP." in notes(table)
    assert "brackets" in notes(table)


def test_controls_that_only_some_columns_hold_are_counted():
    table = regression_table([("a", SDM), ("b", fit([("talent", 0.1, 0.2)]))], controls=["talent", "gdp"])
    assert line(table, "Controls")[0] == ["Yes", "1 of 2"]
    assert line(table, "控制变量", ZH)[0] == ["是", "2个中的1个"]


@pytest.mark.parametrize("extra", [{"effects": [None]}, {"tests": {"Wald": [(1.0, 0.3)]}}])
def test_effects_and_tests_are_one_for_each_column(extra):
    with pytest.raises(SpecificationError, match="1 given for 2 columns"):
        regression_table([("SDM", SDM), ("SEM", SEM)], **extra)


def test_a_control_that_no_fit_has_is_refused():
    with pytest.raises(SpecificationError, match="hdp"):
        regression_table([("SDM", SDM)], controls=["hdp"])


# Correlations


class Pooled:
    """A panel of four variables: d = a + b exactly, c with a hole."""

    labels: ClassVar = {"a": Text("A", "甲")}

    def __init__(self):
        rng = np.random.default_rng(3)
        a, b, c = rng.standard_normal((3, 5, 8))
        c[0, 0] = np.nan
        self.values = {"a": a, "b": b + 0.5 * a, "c": c, "d": a + b + 0.5 * a, "e": np.ones((5, 8))}

    def array(self, names):
        return np.stack([self.values[name] for name in names], axis=2)


def test_correlations_stand_below_the_diagonal_with_their_stars():
    panel = Pooled()
    table = correlations_table(
        panel, ["a", "b", "c", "e"], ["a", "b"], look=TableLook(style=TableStyle(digits=6))
    )
    rows = printed(table, TableStyle(digits=6))
    assert [row[0] for row in rows] == ["(1) A", "(2) b", "(3) c", "(4) e"]
    a, b, c = (panel.values[name].ravel() for name in "abc")
    seen = np.isfinite(c)
    assert rows[0][1:5] == ["1", "", "", ""]
    assert rows[1][1].rstrip("*") == f"{np.corrcoef(a, b)[0, 1]:.6f}"
    assert rows[1][1].endswith("***")
    assert float(rows[2][1].replace("−", "-").rstrip("*")) == pytest.approx(
        np.corrcoef(a[seen], c[seen])[0, 1], abs=1e-6
    )
    assert rows[3][1:4] == ["–", "–", "–"]  # a constant correlates with nothing
    r2 = np.corrcoef(a, b)[0, 1] ** 2
    assert [row[5] for row in rows] == [f"{1 / (1 - r2):.2f}", f"{1 / (1 - r2):.2f}", "", ""]
    assert "VIF" in notes(table)


def test_an_exact_combination_has_no_inflation_factor():
    table = correlations_table(Pooled(), ["a", "b", "d"], ["a", "b", "d"])
    assert [row[-1] for row in printed(table)] == ["–", "–", "–"]
    assert "dash" in notes(table)


def test_bootstrap_p_values_have_a_column_and_give_the_stars():
    tests = pd.DataFrame(
        [("LM lag", 4.0, 1.0, 0.045, 0.12), ("VIF", 2.0, math.nan, math.nan, math.nan)],
        columns=["test", "statistic", "df", "p_value", "p_bootstrap"],
    )
    undefined = pd.DataFrame([("Hausman", math.nan, 3.0, math.nan, math.nan)], columns=tests.columns)
    table = chain_table(pd.concat([tests, undefined]), replicates=999)
    assert heads(table)[0][-1] == "p, bootstrap"
    assert printed(table) == [
        ["LM lag", "4.000", "1", "0.045", "0.120"],
        ["VIF", "2.000", "", "", ""],
        ["Hausman", "–", "3", "–", "–"],
    ]
    assert "share of 999 panels" in notes(table)
    assert "bootstrap" not in notes(chain_table(tests.drop(columns="p_bootstrap")))
    assert printed(chain_table(tests.drop(columns="p_bootstrap")))[0] == ["LM lag", "4.000**", "1", "0.045"]


def test_a_scenario_has_its_largest_changes_first():
    units, change = ["a", "b", "c"], [0.01, -0.2, 0.0]
    rows = [
        {
            "unit": u,
            "response": "y",
            "horizon": h,
            "change": c * (1 + h),
            "conf_low": c - 0.1,
            "conf_high": c + 0.1,
        }
        for h in range(3)
        for u, c in zip(units, change, strict=True)
    ]
    table = scenario_table(pd.DataFrame(rows), most=2, look=TableLook(words={"a": Text("Alpha", "甲")}))
    assert [Text.of(row.cells[0]).en for row in table.rows] == ["y", "b", "Alpha"]
    assert [Text.of(cell.text).en for cell in table.header[0]] == ["", "Same period", "After 1", "After 2"]
    assert [Text.of(cell.text).zh for cell in table.header[1]][:3] == ["地区", "变化", "区间"]
    assert table.rows[1].cells[2] == "[−0.300, −0.100]"
    assert "The 2 units with the largest changes." in Text.of(table.notes[0]).en
