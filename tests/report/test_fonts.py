"""The shipped font has every character a figure of this project can need, under its own name."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib import font_manager

from spatial_zb.base.errors import SpatialZbWarning, SpecificationError
from spatial_zb.base.text import Text
from spatial_zb.report.drawing import style

ROOT = Path(__file__).resolve().parents[2]
SIZE_LIMIT = 2_500_000


@pytest.fixture(scope="module")
def shipped() -> set[str]:
    return {chr(code) for code in font_manager.get_font(style.FONT_PATH).get_charmap()}


def test_family_is_renamed_and_free_of_the_reserved_name():
    name = font_manager.get_font(style.FONT_PATH).family_name
    assert name == style.FONT_FAMILY
    assert "Source" not in name
    assert "Noto" not in name


def test_licence_is_beside_the_font():
    text = (style.FONT_PATH.parent / "OFL.txt").read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE Version 1.1" in text
    assert "Reserved Font Name 'Source'" in text


def test_font_is_small():
    assert style.FONT_PATH.stat().st_size < SIZE_LIMIT


def test_common_characters(shipped):
    rows = (bytes([row, cell]) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    level_one = {raw.decode("gb2312", "ignore") for raw in rows} - {""}
    assert len(level_one) == 3755
    assert level_one <= shipped


@pytest.mark.parametrize(
    "characters",
    [
        pytest.param("，。、；：？！（）《》【】「」『』“”‘’—…·％～〇", id="Chinese punctuation"),
        pytest.param("αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΣΦΨΩ", id="Greek"),
        pytest.param("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾₀₁₂₃₄₅₆₇₈₉", id="superscripts and subscripts"),
        pytest.param("←↑→↓−–—×±≤≥≠≈√∑∞′″°□", id="signs"),
        pytest.param("āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜü", id="pinyin"),
    ],
)
def test_signs(shipped, characters):
    assert set(characters) <= shipped


def label_strings(path: Path) -> set[str]:
    """Words of the labels in a module: every string within a call of ``Text``."""
    calls = (
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    )
    labels = (call for call in calls if getattr(call.func, "id", "") == "Text")
    constants = (node for label in labels for node in ast.walk(label) if isinstance(node, ast.Constant))
    return {node.value for node in constants if isinstance(node.value, str)}


def test_every_character_of_tables_and_studies(shipped):
    paths = [path for pattern in ("data/*.csv", "studies/**/*.toml") for path in ROOT.glob(pattern)]
    assert len(paths) > 4
    lacking = {
        path.name: set(path.read_text(encoding="utf-8-sig")) - shipped - set("\n\r\t") for path in paths
    }
    assert {name: found for name, found in lacking.items() if found} == {}


def test_every_character_of_the_packages_labels(shipped):
    labels = {text for path in (ROOT / "spatial_zb").rglob("*.py") for text in label_strings(path)}
    assert "低—低" in labels
    assert set("".join(labels)) - shipped - {"\n"} == set()


def test_every_character_of_place_names(shipped):
    pyogrio = pytest.importorskip("pyogrio")
    layers = sorted((ROOT / "shapefiles").glob("*.shp"))
    assert layers
    for layer in layers:
        table = pyogrio.read_dataframe(layer, read_geometry=False)
        text = "".join(table.select_dtypes(include=["object", "string", "str"]).fillna("").to_numpy().ravel())
        assert set(text) <= shipped, layer.name


# -- Settings and words ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::matplotlib.MatplotlibDeprecationWarning")
def test_settings_are_put_back():
    before = dict(matplotlib.rcParams)
    with style.context("journal_single"):
        assert matplotlib.rcParams["font.family"][0] == style.FONT_FAMILY
        assert matplotlib.rcParams["pdf.fonttype"] == 42
    assert dict(matplotlib.rcParams) == before


def test_settings_are_put_back_after_an_error():
    before = matplotlib.rcParams["font.size"]
    with pytest.raises(RuntimeError), style.context("slide"):
        raise RuntimeError
    assert matplotlib.rcParams["font.size"] == before


def test_users_settings_do_not_come_in():
    with matplotlib.rc_context({"axes.facecolor": "black"}), style.context("journal_single"):
        assert matplotlib.rcParams["axes.facecolor"] == "white"


def test_printed_type_is_not_below_seven_points():
    with pytest.raises(SpecificationError, match="below 7"):
        style.FigureStyle("tiny", 80, 100, small_pt=6)
    for preset in style.PRESETS.values():
        assert min(preset.base_pt, preset.small_pt, preset.title_pt) >= 7


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        pytest.param("a\nb\t c", "a b c", id="line breaks"),
        pytest.param("a\x00\u202eb\ue000", "a b", id="controls, direction marks, private use"),
        pytest.param("$\\frac$", "$\\frac$", id="mathtext stays literal"),
        pytest.param("Lu\u0308", "Lü", id="composed letters"),
        pytest.param("Ma’anshan", "Ma'anshan", id="English quotes are narrow"),
        pytest.param("\ud800x", "x", id="lone surrogate"),
    ],
)
def test_words(given, drawn):
    assert style.words(given, "en") == drawn


def test_a_character_without_glyph_is_told_and_boxed():
    with pytest.warns(SpatialZbWarning, match="No glyph"):
        assert style.words("杭🦆州", "zh") == "杭□州"


def test_words_in_the_language_and_within_the_limit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert style.words(Text("Hangzhou", "杭州"), "zh") == "杭州"
        assert style.words("x" * 50, "en", 10) == "x" * 9 + "…"
