"""What the program tells its reader beside the results is there in English and Chinese, and says the same in both."""

from __future__ import annotations

import ast
import pickle
import re
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import task_functions

import spatial_zb
from spatial_zb.base import errors
from spatial_zb.base.errors import DataError, SpatialZbWarning, WeightsError, listed, listed_zh, not_one_of
from spatial_zb.base.execute import run_tasks
from spatial_zb.base.text import Text
from spatial_zb.models.notes import fit_words, warn_together
from spatial_zb.pipeline.words import IN_A_STUDY, grouped_notes, notes_of, warn_undone

PACKAGE = Path(spatial_zb.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Calls whose two arguments are one sentence in two languages; the last three are helpers of data/ and weights/.
IN_TWO = ("SpatialZbWarning", "Text", "say", "_say", "_warn")
ERRORS = tuple(name for name in vars(errors) if name.endswith("Error"))
CHINESE = re.compile(r"[\u4e00-\u9fff]")
#: Names that only shape a list for one language, or that hold a part of the sentence in it.
SHAPING = {"listed", "listed_zh", "w", "unit", "u", "en", "zh", "english", "chinese"}
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def sentences(path: Path) -> list[ast.Call]:
    """Calls that write a sentence, in a module."""
    return named(path, IN_TWO if path.parent.name in ("data", "weights") else IN_TWO[:2])


def named(path: Path, names: tuple[str, ...]) -> list[ast.Call]:
    return [call for call in calls(path) if isinstance(call.func, ast.Name) and call.func.id in names]


@cache
def calls(path: Path) -> tuple[ast.Call, ...]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Call))


def filled_in(text: ast.expr) -> set[str]:
    """What a sentence takes from the code around it: the names inside its braces, less those it makes itself."""
    inside = [part.value for part in ast.walk(text) if isinstance(part, ast.FormattedValue)]
    nodes = [node for value in inside for node in ast.walk(value) if isinstance(node, ast.Name)]
    read = {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
    own = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    return {name.removesuffix("_zh") for name in read - own - SHAPING}


def is_written(text: ast.expr) -> bool:
    """A sentence that stands there, and not one that is handed on."""
    return isinstance(text, ast.JoinedStr) or (isinstance(text, ast.Constant) and isinstance(text.value, str))


@every_module
def test_every_warning_has_both_languages(path):
    for call in calls(path):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "warn":
            assert "SpatialZbWarning" not in map(ast.unparse, call.args[1:]), (
                f"{path}:{call.lineno}: English only"
            )
    for call in sentences(path):
        if call.func.id != "Text" and is_written(call.args[0]):
            assert len(call.args) == 2, f"{path}:{call.lineno}: English only"
            zh = ast.unparse(call.args[1])
            assert CHINESE.search(zh) or "zh" in zh, f"{path}:{call.lineno}"


@every_module
def test_every_error_has_both_languages(path):
    """Raised or returned as an error or a refusal, made again of another one, or added to the mistakes of a study."""
    for call in calls(path):
        made = ast.unparse(call.func)
        again = made == "type(error)" or (made == "kind" and path.name == "errors.py")
        if again or made.rpartition(".")[2] in (*ERRORS, "Refusal"):
            assert len(call.args) == 2, f"{path}:{call.lineno}: English only"
            zh = ast.unparse(call.args[1])
            assert CHINESE.search(zh) or "zh" in zh, f"{path}:{call.lineno}"
        if "study" in path.relative_to(PACKAGE).parts:
            assert made != "ValueError", f"{path}:{call.lineno}: a Refusal has both languages"
            written = made in ("say", "problems.add") and is_written(call.args[-1])
            assert not written, f"{path}:{call.lineno}: English only"


@every_module
def test_both_languages_say_the_same(path):
    """A value, a name or a limit that one language gives and the other does not is a slip."""
    for call in (*sentences(path), *named(path, (*ERRORS, "Refusal"))):
        if len(call.args) == 2 and all(map(is_written, call.args)):
            en, zh = map(filled_in, call.args)
            assert en == zh, f"{path}:{call.lineno}: {sorted(en ^ zh)}"


def test_a_warning_is_english_as_text_and_keeps_its_chinese_through_a_pickle():
    warning = SpatialZbWarning("Few units.", "地区过少。")
    back = pickle.loads(pickle.dumps(warning))
    assert (str(back), back.zh) == (str(warning), warning.zh) == ("Few units.", "地区过少。")
    assert SpatialZbWarning("Few units.").zh == "Few units."
    error = DataError("No rows.")
    assert (str(error), error.zh, error.args) == ("No rows.", "No rows.", ("No rows.",))


def test_notes_come_once_in_both_languages_and_only_ours():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            warnings.warn(SpatialZbWarning("Few units.", "地区过少。"), stacklevel=1)
        warnings.warn("of another package", UserWarning, stacklevel=1)
        warn_undone(Text("No map", "未绘制地图"), DataError("no polygons."))
        warn_together(
            Text("SDM of 'y'", "'y'的SDM"), [Text("few units", "地区过少"), Text("at bound", "在边界")], 1
        )
        warn_together(Text("SDM of 'y'", "'y'的SDM"), [], 1)
    assert notes_of(caught) == [
        Text("Few units.", "地区过少。"),
        Text("No map: no polygons.", "未绘制地图：no polygons."),
        Text("SDM of 'y': few units. Also, at bound.", "'y'的SDM：地区过少；在边界。"),
    ]


def test_what_several_fits_are_told_alike_is_said_once_with_the_places():
    def weak(f: float, of: str) -> Text:
        return Text(f"weak (F {f} of {of!r}, rule 10)", f"较弱（{of!r}的F为{f}，经验值10）")

    few, dense = Text("only 8 units", "仅8个地区"), Text("'w2' is dense", "'w2'很密")
    said = [
        (fit_words("SDM", "y", "queen"), [weak(1.9, "x"), few]),
        (fit_words("SDM", "y", "w2"), [weak(12.25, "W_x"), dense]),
        (fit_words("SAR", "z", "queen", Text("by GMM", "GMM")), [Text("only 11 units", "仅11个地区")]),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for about, notes in (*said, said[0]):
            warn_together(about, notes, 1)
        warnings.warn(SpatialZbWarning("Of the data.", "数据。"), stacklevel=1)
    assert grouped_notes(caught) == [
        Text(
            "SDM of 'y' under 'queen', 'w2': weak (F 1.9 to 12.25 of 'x', 'W_x', rule 10).",
            "'y'的SDM（'queen'、'w2'）：较弱（'x'、'W_x'的F为1.9至12.25，经验值10）。",
        ),
        Text(
            "SDM of 'y' under 'queen'; SAR of 'z' by GMM under 'queen': only 8 to 11 units.",
            "'y'的SDM（'queen'）；'z'的SAR（GMM，'queen'）：仅8至11个地区。",
        ),
        Text("SDM of 'y' under 'w2': 'w2' is dense.", "'y'的SDM（'w2'）：'w2'很密。"),
        Text("Of the data.", "数据。"),
    ]
    assert len(notes_of(caught)) == 4
    kept = pickle.loads(pickle.dumps(caught[0].message))
    assert (kept.about, kept.notes, kept.zh) == (said[0][0], tuple(said[0][1]), caught[0].message.zh)


def test_samples_are_named_with_the_matrices():
    delta, core = Text("Delta", "长三角"), Text("Core", "核心区")
    gmm, few = Text("by GMM", "GMM"), Text("only 8 units", "仅8个地区")
    made = [(W, sample, how) for W in ("queen", "w2") for sample in (delta, core) for how in (None, gmm)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for W, sample, how in (*made[:-1], ("w3", core, None)):
            warn_together(replace(fit_words("SDM", "y", W, how), sample=sample), [few], 1)
    (said,) = grouped_notes(caught)
    assert said.en == (
        "SDM of 'y' by ML, by GMM under 'queen', 'w2' (sample: Delta), and by ML, by GMM under 'queen' (sample: Core), and "
        "by ML under 'w2', 'w3' (sample: Core): only 8 units."
    )
    assert said.zh == (
        "'y'的SDM（极大似然、GMM，'queen'、'w2'，样本：长三角；极大似然、GMM，'queen'，样本：核心区；极大似然，'w2'、'w3'，"
        "样本：核心区）：仅8个地区。"
    )
    assert str(caught[0].message) == "SDM of 'y' under 'queen' (sample: Delta): only 8 units."
    assert caught[0].message.zh == "'y'的SDM（'queen'，样本：长三角）：仅8个地区。"


def test_a_study_is_told_how_it_asks_for_what_notes_call_by_a_name_of_python():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said = Text("few units: read zb.median_unbiased(fit)", "地区少：见zb.median_unbiased(fit)")
        warn_together(fit_words("SDM", "y", "queen"), [said], 1)
    assert grouped_notes(caught)[-1] == IN_A_STUDY


def test_what_a_worker_process_warns_of_keeps_both_languages():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_tasks(task_functions.warn, [1, 2], workers=2)
    assert notes_of(caught) == [Text("read this", "请看")]


def test_lists_are_joined_in_either_language():
    assert (listed("abc", 2), listed_zh("abc", 2)) == ("a, b and 1 more", "a、b等3项")
    assert (listed("ab"), listed_zh("ab")) == ("a, b", "a、b")


def test_an_argument_that_is_not_allowed_is_named_with_what_is():
    error = not_one_of("kind", "bishop", ("queen", "rook"), kind=WeightsError)
    assert type(error) is WeightsError
    assert (str(error), error.zh) == (
        "kind must be one of queen, rook, not 'bishop'.",
        "kind须为queen、rook之一，而不是'bishop'。",
    )
