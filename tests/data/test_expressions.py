"""Derived variables: arithmetic is right, everything else is refused, and undefined cells are named."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_zb.base.errors import DataError, SpatialZbError, SpecificationError
from spatial_zb.core.indices import location_quotient
from spatial_zb.data.expressions import compile_expression, compile_expressions, derive

ROOT = Path(__file__).resolve().parents[2]

UNITS, PERIODS = ["330100", "330200", "330300"], [2018, 2019]
A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
B = np.array([[2.0, 4.0, 8.0], [8.0, 5.0, 3.0]])
REFERENCE = {"a": np.array([10.0, 20.0]), "b": np.array([20.0, 80.0])}


def evaluate(text: str, **columns: np.ndarray) -> np.ndarray:
    reference = {**REFERENCE, "c": REFERENCE["a"]}
    return compile_expression(text).evaluate({"a": A, "b": B, **columns}, reference)


# --- arithmetic --------------------------------------------------------------------------------------------

SUMS = {
    "a + b": A + B,
    "a - b - 1": A - B - 1,
    "2 * a / b": 2 * A / B,
    "a / b / 2": A / B / 2,
    "-a ** 2": -(A**2),
    "(-a) ** 2": A**2,
    "a ** -1": 1 / A,
    "a ** 0.5": np.sqrt(A),
    "+a": A,
    "log(a)": np.log(A),
    "log1p(a - 2)": np.log1p(np.where(A == 1, np.nan, A - 2)),
    "exp(a)": np.exp(A),
    "sqrt(a * b)": np.sqrt(A * B),
    "abs(a - b)": np.abs(A - B),
    "1e3 * a": 1000 * A,
    " a\n": A,
    "lq(a, b)": (A / B) / np.array([[0.5], [0.25]]),
    "hhi(a, b)": (A**2 + B**2) / (A + B) ** 2,
    "hhi(a, b, 2 * a)": (5 * A**2 + B**2) / (3 * A + B) ** 2,
    "krugman(a, b)": 2 * np.abs(A / (A + B) - np.array([[10 / 30], [20 / 100]])),
    "a > 2": A > 2,
    "1 < a <= 4": (A > 1) & (A <= 4),
    "(a >= b) * a": (A >= B) * A,
    "a == 5 or not (b < 8 and a != 3)": (A == 5) | ~((B < 8) & (A != 3)),
    "where(a > 2, log(a - 2), 0)": np.log(np.where(A > 2, A - 2, 1)),
    "where(a < 3, a, where(a < 5, 1 / (a - 5), -1))": np.select(
        [A < 3, A < 5], [A, 1 / (A - 5 + (A == 5))], -1
    ),
    "lag(a)": np.vstack([np.full(3, np.nan), A[:1]]),
    "b - lag(a + b, 1)": np.vstack([np.full(3, np.nan), B[1:] - (A + B)[:1]]),
    "lag(lag(a))": np.full((2, 3), np.nan),
    "lag(lq(a, b))": np.vstack([np.full(3, np.nan), (A[:1] / B[:1]) / 0.5]),
    "log(lq(a + b, 2 * b))": np.log(((A + B) / (2 * B)) / np.array([[30 / 40], [100 / 160]])),
}


@pytest.mark.parametrize(("text", "expected"), SUMS.items(), ids=SUMS.keys())
def test_arithmetic(text: str, expected: np.ndarray) -> None:
    columns = {"a": np.where(A == 1, np.nan, A)} if text.startswith("log1p") else {}
    np.testing.assert_allclose(evaluate(text, **columns), expected, rtol=1e-14)


def test_a_unit_with_a_blank_sector_has_no_index() -> None:
    holed = np.where(A == 5, np.nan, A)
    for text in ("hhi(c, b)", "krugman(c, b)"):
        found = evaluate(text, c=holed)
        np.testing.assert_array_equal(np.isnan(found), A == 5)
        np.testing.assert_allclose(found[A != 5], evaluate(text, c=A)[A != 5])


def test_a_blank_cell_is_neither_true_nor_false() -> None:
    holed = np.where(A == 5, np.nan, A)
    for text in ("c > 2", "not c > 2", "c > 2 or a > 0", "where(c > 2, 1, 0)", "c == 5", "c != 5"):
        assert np.array_equal(np.isnan(evaluate(text, c=holed)), A == 5), text


def test_a_branch_is_refused_only_where_it_is_taken() -> None:
    with pytest.raises(DataError, match=r"1 cell \(1 zero\): row 1, column 2"):
        evaluate("where(a < 3, log(a - 2 + (a == 1) * 5), log(0 * a + 1))")


def test_text_is_compared_with_names() -> None:
    prov = np.array([["浙江省", "江苏省", None]] * 2, dtype=object)
    found = evaluate("(prov == '浙江省') * a + 10 * (prov != \"浙江省\")", prov=prov)
    np.testing.assert_array_equal(found, [[1, 10, np.nan], [4, 10, np.nan]])
    assert compile_expression("(prov == 'x') * a").text_names == ("prov",)
    with pytest.raises(DataError, match="prov holds text"):
        evaluate("prov + 1", prov=prov)
    with pytest.raises(SpecificationError, match="a holds numbers"):
        evaluate("a == 'x'")


def test_a_lag_over_a_gap_is_refused() -> None:
    with pytest.raises(DataError, match=r"gaps \(2018, 2021\)"):
        derive({"c": "lag(a)"}, {"a": A}, units=UNITS, periods=[2018, 2021])
    assert compile_expression("lag(a + lag(b, 2)) + lag(a)").lags == 3


def test_names_in_order_and_those_of_the_reference() -> None:
    expression = compile_expression("b * log(lq(c, a + d)) + b")
    assert expression.names == ("b", "c", "a", "d")
    assert expression.reference_names == ("c", "a", "d")
    with pytest.raises(FrozenInstanceError):
        expression.text = "1"  # type: ignore[misc]


def test_chinese_names_are_names() -> None:
    np.testing.assert_array_equal(evaluate("产值 / a", 产值=2 * A), np.full(A.shape, 2.0))


@pytest.mark.parametrize("name", ["地区生产总值（万元）", "GDP, 10 000 yuan", "a-b", "2019 value", "x.y"])
def test_a_name_between_backticks_may_hold_anything(name: str) -> None:
    expression = compile_expression(f"log(`{name}` / a) + `  {name} `")
    assert expression.names == (name, "a")
    found = expression.evaluate({"a": A, name: B})
    assert np.allclose(found, np.log(B / A) + B, equal_nan=True)


@pytest.mark.parametrize("text", ["`a", "``", "`a` `b`", "`a``b`", "quoted_0_ + `__x__`", "`\n`"])
def test_backticks_hide_nothing_that_is_not_allowed(text: str) -> None:
    with pytest.raises(SpecificationError):
        compile_expression(text)


def test_a_name_between_backticks_is_not_the_name_that_stands_in_for_it() -> None:
    assert compile_expression("quoted_0_ + `b c`").names == ("quoted_0_", "b c")


def test_blank_cells_stay_blank_and_touch_no_other_cell() -> None:
    holed = A.copy()
    holed[1, 2] = np.nan
    result = evaluate("log(lq(c, b)) + sqrt(c) / c", c=holed)
    assert np.isnan(result[1, 2])
    assert np.isnan(result).sum() == 1


def test_columns_are_not_changed() -> None:
    before = A.copy()
    evaluate("exp(a) * 2 - a")
    np.testing.assert_array_equal(A, before)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["a", "b", "2", "0.5"]),
        lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        max_leaves=12,
    )
)
def test_agrees_with_python(text: str) -> None:
    """An oracle for the walk: Python itself, on text that is known to be harmless."""
    expected = np.broadcast_to(eval(text, {"a": A, "b": B}), A.shape)
    result = np.broadcast_to(evaluate(text), A.shape)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


# --- what is refused ---------------------------------------------------------------------------------------

HOSTILE = {
    "import": ("__import__('os').system('true')", "not allowed"),
    "attribute": ("a.__class__", "a dot (attribute)"),
    "subclasses": ("().__class__.__bases__[0].__subclasses__()", "a dot (attribute)"),
    "method": ("a.sum()", "a dot (attribute)"),
    "subscript": ("a[0]", "square brackets"),
    "lambda": ("(lambda: a)()", "lambda"),
    "comprehension": ("[a for a in b]", "a comprehension"),
    "generator": ("(a for a in b)", "a comprehension"),
    "text": ("'a'", "text in quotes"),
    "bytes": ("b'a'", "text in quotes"),
    "format": ("f'{a}'", "text in quotes"),
    "tower": ("9**9**9**9", "exponent"),
    "tower of names": ("a**b", "exponent"),
    "large exponent": ("a**11", "exponent"),
    "exponent by sum": ("a**(1+1)", "exponent"),
    "huge number": ("9" * 200, "a number beyond"),
    "infinite number": ("1e999", "a number beyond"),
    "unprintable number": ("9" * 499, "a number beyond"),
    "complex": ("1j * a", "1j"),
    "boolean": ("True + a", "True"),
    "none": ("None", "None"),
    "ellipsis": ("...", "Ellipsis"),
    "membership": ("a in b", "is / in"),
    "identity": ("a is b", "is / in"),
    "and": ("a and b", "and / or takes comparisons such as x > 0, not a"),
    "no condition": ("where(a, b, 1)", "the first argument of where takes comparisons"),
    "ordered text": ("a < 'x'", "by == or !="),
    "text with text": ("'a' == 'x'", "with a name by == or !="),
    "text with a sum": ("a + 1 == 'x'", "with a name by == or !="),
    "a long lag": ("lag(a, 51)", "from 1 to 50"),
    "a lag by a name": ("lag(a, b)", "from 1 to 50"),
    "a lag forward": ("lag(a, -1)", "from 1 to 50"),
    "lag in lq": ("lq(lag(a), b)", "lag inside lq or krugman"),
    "lag of nothing": ("lag()", "lag takes 1 argument"),
    "if": ("a if b else a", "if / else"),
    "walrus": ("(c := a)", ":="),
    "statement": ("import os", "not arithmetic"),
    "assignment": ("a = b", "not arithmetic"),
    "two statements": ("a; b", "not arithmetic"),
    "caret": ("a ^ 2", "**"),
    "modulo": ("a % 2", "%"),
    "floor": ("a // 2", "//"),
    "matrix product": ("a @ b", "@"),
    "bits": ("a | b", "|"),
    "not": ("not a", "not takes comparisons"),
    "tuple": ("a, b", "a comma"),
    "list": ("[a]", "a list"),
    "dictionary": ("{a: b}", "a dictionary"),
    "star": ("log(*a)", "a star"),
    "dunder": ("__builtins__", "__builtins__"),
    "unknown function": ("eval(a)", "unknown function 'eval'"),
    "misspelt function": ("lgo(a)", "Did you mean log?"),
    "function as a name": ("log + a", "without brackets"),
    "called twice": ("log(a)(b)", "not a function"),
    "too many arguments": ("log(a, b)", "log takes 1 argument"),
    "too few arguments": ("lq(a)", "lq takes 2 arguments"),
    "too few sectors": ("hhi(a)", "hhi takes 2 arguments or more"),
    "krugman in lq": ("lq(krugman(a, b), b)", "krugman inside lq"),
    "keyword": ("log(a, base=2)", "log takes 1 argument"),
    "lq in lq": ("lq(lq(a, b), b)", "lq inside lq"),
    "deep brackets": ("(" * 240 + "a" + ")" * 240, ""),
    "deep signs": ("-" * 400 + "a", "levels deep"),
    "deep functions": ("abs(" * 90 + "a" + ")" * 90, "levels deep"),
    "deep sums": ("+".join("a" * 60), "levels deep"),
    "long": ("a+" * 300 + "a", "more than 500"),
    "very long": ("(" * 1_000_000, "more than 500"),
    "empty": ("", "must be text"),
    "blank": (" \n", "must be text"),
    "null": ("a\0b", ""),
    "surrogate": ("a\ud800", ""),
    "unfinished": ("log(a", "not arithmetic"),
    "full-width": ("（a＋b）／2", "plain ASCII"),
    "two names": ("a b", "not arithmetic"),
    "comment": ("# a", "not arithmetic"),
}


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_anything_but_arithmetic_is_refused(text: str, words: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        compile_expression(text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("value", [None, 3, b"a", ["a"]])
def test_only_text_is_an_expression(value: object) -> None:
    with pytest.raises(SpecificationError, match="must be text"):
        compile_expression(value)  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab01.+-*/()[]{},=<>!:'\"_ \\\n#lgoqeandr产（", max_size=40) | st.text(max_size=20))
def test_no_text_escapes_as_another_error(text: str) -> None:
    with contextlib.suppress(SpatialZbError):
        compile_expression(text).evaluate({"a": A, "b": B}, REFERENCE)


def test_compiling_loads_no_numerical_package() -> None:
    code = (
        "import sys; from spatial_zb.data.expressions import compile_expression; compile_expression('log(a)');"
        "print(sorted({'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


# --- cells that are not defined ----------------------------------------------------------------------------

ZERO = np.array([[1.0, 0.0, 3.0], [4.0, -5.0, 0.0]])
UNDEFINED = {
    "log": ("log(z)", ["log(z)", "3 cells (2 zero)", "330200 in 2018", "330200 in 2019", "330300 in 2019"]),
    "log1p": ("log1p(z - 1)", ["log1p(z - 1)", "330200 in 2018", "3 cells"]),
    "sqrt": ("sqrt(z)", ["root of negative", "1 cell", "330200 in 2019"]),
    "division": ("a / z", ["division by zero in a / z", "2 cells (2 zero)", "330300 in 2019"]),
    "division by a number": ("a / 0", ["division by zero"]),
    "power": ("z ** -1", ["the power z ** (-1)", "330200 in 2018"]),
    "root as power": ("z ** 0.5", ["the power z ** 0.5", "330200 in 2019"]),
    "overflow": ("exp(1000 * a)", ["exp(1000 * a) is too large"]),
    "overflow of powers": ("((1e9 * a) ** 10) ** 10", ["too large"]),
    "negative part": ("lq(z, a)", ["the part is negative", "330200 in 2019"]),
    "zero total": ("lq(a, z)", ["the total is not positive", "330300 in 2019"]),
    "blank reference": ("lq(n, a)", ["the part in the reference region", "2019"]),
    "zero reference": ("lq(a, o)", ["the total of the reference region", "2018"]),
    "infinite": ("i + 1", ["i is infinite", "330100 in 2018"]),
    "a negative sector": ("hhi(a, z)", ["hhi(a, z): a sector is negative", "330200 in 2019"]),
    "no sector": ("hhi(0 * a, 0 * a)", ["all sectors are zero", "330100 in 2018"]),
    "a sector the reference lacks": ("krugman(a, o)", ["o of the reference region", "2018"]),
}


@pytest.mark.parametrize(("text", "words"), UNDEFINED.values(), ids=UNDEFINED.keys())
def test_undefined_cells_are_named(text: str, words: list[str]) -> None:
    infinite = A.copy()
    infinite[0, 0] = np.inf
    columns = {"a": A, "z": ZERO, "n": A, "o": A, "i": infinite}
    reference = {
        "a": REFERENCE["a"],
        "z": REFERENCE["b"],
        "n": np.array([1.0, np.nan]),
        "o": np.array([0.0, 1.0]),
    }
    with pytest.raises(DataError) as caught:
        derive({"talent": text}, columns, units=UNITS, periods=PERIODS, reference=reference)
    message = str(caught.value)
    assert message.startswith("talent: ")
    for word in words:
        assert word in message


def test_without_labels_positions_are_named() -> None:
    with pytest.raises(DataError, match="row 1, column 2"):
        compile_expression("log(z)").evaluate({"z": ZERO})


def test_a_blank_cell_is_not_called_undefined() -> None:
    holed = np.where(ZERO <= 0, np.nan, ZERO)
    assert np.isnan(evaluate("log(z) + a / z + sqrt(z)", z=holed)).sum() == 3


# --- several variables -------------------------------------------------------------------------------------


def test_variables_may_use_one_another_in_any_order() -> None:
    texts = {"c": "d * 2", "d": "a + b", "e": "c - d"}
    result = derive(texts, {"a": A, "b": B}, units=UNITS, periods=PERIODS)
    assert list(result) == ["c", "d", "e"]
    np.testing.assert_array_equal(result["e"], A + B)


def test_a_constant_holds_for_all_units_of_a_period() -> None:
    rate = {2017: 1.0, 2018: 7.0, 2019: 6.0}
    result = derive(
        {"c": "a * rate", "r": "rate"}, {"a": A}, units=UNITS, periods=PERIODS, constants={"rate": rate}
    )
    np.testing.assert_array_equal(result["c"], A * [[7.0], [6.0]])
    assert result["r"].shape == A.shape


def test_a_number_alone_fills_the_panel() -> None:
    np.testing.assert_array_equal(
        derive({"one": "1"}, {}, units=UNITS, periods=PERIODS)["one"], np.ones((2, 3))
    )


GROUPS = {
    "circle": ({"c": "d", "d": "e + 1", "e": "c"}, "in a circle: "),
    "itself": ({"c": "c + a"}, "in a circle: c -> c"),
    "unknown": ({"c": "emp_manufactring"}, "Did you mean 'emp_manufacturing'?"),
    "not in the reference": ({"c": "lq(x, a)"}, "'x' stands inside lq()"),
    "derived inside lq": ({"d": "a + 1", "c": "lq(d, a)"}, "'d' stands inside lq()"),
    "refused": ({"c": "a.b"}, "a dot"),
}


@pytest.mark.parametrize(("texts", "words"), GROUPS.values(), ids=GROUPS.keys())
def test_groups_that_cannot_be_derived(texts: dict[str, str], words: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        compile_expressions(texts, known=["a", "x", "emp_manufacturing"], reference=["a"])
    assert words in str(caught.value)


def test_all_mistakes_of_a_group_at_once_with_their_places() -> None:
    with pytest.raises(SpecificationError) as caught:
        compile_expressions(
            {"c": "a.b", "d": "q", "e": "e"}, known=["a"], place=lambda name: f"line of {name}"
        )
    message = str(caught.value)
    for number, name in enumerate("cde", start=1):
        assert f"  {number}. line of {name}: " in message


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"a": A.T}, {}, "shape"),
        ({"a": [["x"] * 3] * 2}, {}, "not numbers"),
        ({"a": A}, {"constants": {"rate": {2018: 1.0}}}, "no number for 2019"),
        ({"a": A}, {"reference": {"a": np.ones(3)}}, "shape"),
    ],
    ids=["turned", "text", "constant", "reference"],
)
def test_arrays_that_do_not_fit(columns: dict, options: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        derive({"c": "a + 1"}, columns, units=UNITS, periods=PERIODS, **options)


def test_lq_is_the_function_of_the_same_name() -> None:
    found = derive({"q": "lq(a, b)"}, {"a": A, "b": B}, units=UNITS, periods=PERIODS, reference=REFERENCE)
    totals = (REFERENCE[name][:, None] for name in ("a", "b"))
    np.testing.assert_array_equal(found["q"], location_quotient(A, B, *totals))
