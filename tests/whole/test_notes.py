"""What the program tells its reader beside the results is there in English and Chinese, and says the same in both."""

from __future__ import annotations

import ast
import os
import pickle
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import task_functions

import spatial_zb
import spatial_zb as zb
from spatial_zb.base import errors
from spatial_zb.base.errors import DataError, SpatialZbWarning, WeightsError, listed, listed_zh, not_one_of
from spatial_zb.base.execute import run_tasks
from spatial_zb.base.notes import Kind, NotesWarning, about, fit_words, merged, quoted, tell
from spatial_zb.base.text import Text
from spatial_zb.models.notes import MEDIAN_UNBIASED
from spatial_zb.pipeline.remarks import IN_A_STUDY, Remark, brief_lines, grouped_notes, notes_of, remarks
from spatial_zb.pipeline.words import warn_undone

PACKAGE = Path(spatial_zb.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Calls whose two arguments are one sentence in two languages.
IN_TWO = ("SpatialZbWarning", "Text", "warn")
ERRORS = tuple(name for name in vars(errors) if name.endswith("Error"))
CHINESE = re.compile(r"[\u4e00-\u9fff]")
#: Names that only shape a list for one language, or that hold a part of the sentence in it.
SHAPING = {"listed", "listed_zh", "w", "unit", "u", "en", "zh", "english", "chinese"}


def sentences(path: Path) -> list[ast.Call]:
    """Calls that write a sentence, in a module."""
    return named(path, IN_TWO)


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


@Kind
def few(units: int) -> Text:
    return Text(f"only {units} units", f"仅{units}个地区")


@Kind
def weak(f: float, names: tuple[str, ...]) -> Text:
    return Text(
        f"weak (F {f:.2f} of {quoted(names, 'en')}, rule 10)",
        f"较弱（{quoted(names, 'zh')}的F为{f:.2f}，经验值10）",
    )


@Kind
def dense(label: str) -> Text:
    return Text(f"{label!r} is dense", f"{label!r}很密")


@Kind
def beside(units: int, beside: str) -> Text:
    return Text(f"{units} units: read {beside}", f"{units}个地区：见{beside}")


SDM = fit_words("SDM", "y", "queen")


def place(path: Path, call: ast.Call) -> str:
    return f"{path.relative_to(PACKAGE).as_posix()}:{call.lineno}"


def in_english_only(call: ast.Call) -> bool:
    zh = ast.unparse(call.args[1]) if len(call.args) == 2 else ""
    return not (CHINESE.search(zh) or "zh" in zh)


def test_every_warning_has_both_languages():
    by_hand = [
        place(path, call)
        for path in MODULES
        for call in calls(path)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "warn"
        and "SpatialZbWarning" in map(ast.unparse, call.args[1:])
    ]
    written = [
        place(path, call)
        for path in MODULES
        for call in sentences(path)
        if call.func.id != "Text" and is_written(call.args[0]) and in_english_only(call)
    ]
    assert by_hand + written == []


def is_refusal(path: Path, call: ast.Call) -> bool:
    """Raised or returned as an error or a refusal, or made again of another one."""
    made = ast.unparse(call.func)
    again = made == "type(error)" or (made == "kind" and path.name == "errors.py")
    return again or made.rpartition(".")[2] in (*ERRORS, "Refusal")


def in_study(path: Path, call: ast.Call) -> bool:
    """A mistake in a study file that would be told in English only."""
    made = ast.unparse(call.func)
    added = made in ("say", "problems.add") and is_written(call.args[-1])
    return "study" in path.relative_to(PACKAGE).parts and (made == "ValueError" or added)


def test_every_error_has_both_languages():
    found = [
        place(path, call)
        for path in MODULES
        for call in calls(path)
        if (is_refusal(path, call) and in_english_only(call)) or in_study(path, call)
    ]
    assert found == []


def test_notes_of_a_run_take_eight_lines_on_a_screen():
    def said(name, n):
        return [
            Remark(Text(f"{name} {i} in full.", "全文。"), Text(f"{name} {i}", "简"), i) for i in range(n)
        ]

    few = {Text("Data", "数据"): said("a", 5), Text("Models", "模型"): said("b", 3)}
    assert [line.en for line in brief_lines(few)][::7] == ["a 0 in full.", "b 2 in full."]
    many = {Text(f"Stage {i}", f"阶段{i}"): said("n", i) for i in range(1, 13)}
    lines = brief_lines(many)
    assert len(lines) == 8
    assert [line.en for line in lines[:3]] == [
        "Stage 1: n 0.",
        "Stage 2: n 0; n 1.",
        "Stage 3: n 0; n 1; and 1 more.",
    ]
    assert lines[2].zh == "阶段3：简；简；另有1条。"


def test_both_languages_say_the_same():
    """A value, a name or a limit that one language gives and the other does not is a slip."""
    slips = {}
    for path in MODULES:
        for call in (*sentences(path), *named(path, (*ERRORS, "Refusal"))):
            if len(call.args) == 2 and all(map(is_written, call.args)):
                en, zh = map(filled_in, call.args)
                slips |= {place(path, call): sorted(en ^ zh)} if en != zh else {}
    assert slips == {}


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
        tell(about(Text("SDM of 'y'", "'y'的SDM"), [few(8), dense("w2")]))
        tell([])
    assert notes_of(caught) == [
        Text("Few units.", "地区过少。"),
        Text("No map: no polygons.", "未绘制地图：no polygons."),
        Text("SDM of 'y': only 8 units. Also, 'w2' is dense.", "'y'的SDM：仅8个地区；'w2'很密。"),
    ]


def test_what_several_fits_are_told_alike_is_said_once_with_the_places():
    said = [
        (SDM, [weak(1.9, ("x",)), few(8)]),
        (fit_words("SDM", "y", "w2"), [weak(12.25, ("W_x",)), dense("w2")]),
        (fit_words("SAR", "z", "queen", Text("by GMM", "GMM")), [few(11)]),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for subject, notes in (*said, said[0]):
            tell(about(subject, notes))
        warnings.warn(SpatialZbWarning("Of the data.", "数据。"), stacklevel=1)
    assert grouped_notes(caught) == [
        Text(
            "SDM of 'y' under 'queen', 'w2': weak (F 1.90 to 12.25 of 'x', 'W_x', rule 10).",
            "'y'的SDM（'queen'、'w2'）：较弱（'x'、'W_x'的F为1.90至12.25，经验值10）。",
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
    assert (kept.notes, kept.zh) == (about(*said[0]), caught[0].message.zh)


def test_samples_are_named_with_the_matrices():
    delta, core = Text("Delta", "长三角"), Text("Core", "核心区")
    gmm = Text("by GMM", "GMM")
    made = [(W, sample, how) for W in ("queen", "w2") for sample in (delta, core) for how in (None, gmm)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for W, sample, how in (*made[:-1], ("w3", core, None)):
            tell(about(replace(fit_words("SDM", "y", W, how), sample=sample), [few(8)]))
    (said,) = grouped_notes(caught)
    assert [remark.number for remark in remarks(caught)] == [0]
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
        tell(about(SDM, [beside(8, MEDIAN_UNBIASED)]))
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


def test_a_note_is_data():
    (note,) = about(SDM, [weak(np.float64(1.9), ["x"])])
    assert (note.kind.name, note.subject, note.numbers) == ("weak", SDM, (("f", 1.9), ("names", ("x",))))
    assert str(note) == "SDM of 'y' under 'queen': weak (F 1.90 of 'x', rule 10)"
    assert pickle.loads(pickle.dumps(note)) == note
    assert len({note, pickle.loads(pickle.dumps(note))}) == 1


def test_notes_are_merged_by_their_fields():
    notes = [weak(f, names) for f, names in ((3.0, ("x", "z")), (1.2, ("x",)), (3.0, ("W_x",)))]
    assert merged(notes) == Text(
        "weak (F 1.20 to 3.00 of 'x', 'z', 'W_x', rule 10)",
        "较弱（'x'、'z'、'W_x'的F为1.20至3.00，经验值10）",
    )
    assert merged([few(8), few(8)]) == few(8).text
    assert weak(3.0, ("x",)).shape == weak(1.0, ("x", "z")).shape
    assert dense("w1").shape != dense("w2").shape


def test_a_merged_note_writes_numbers_that_print_alike_once():
    assert merged([weak(1.001, ("x",)), weak(1.002, ("x",))]) == weak(1.0, ("x",)).text


LOOP = """
import warnings
from spatial_zb.base.notes import about, fit_words, tell, warn
from spatial_zb.models.notes import gns_weak, many_instruments, no_root
GNS = fit_words("GNS", "y", "queen")
for n in range(400):
    tell(about(GNS, [many_instruments(n, 5)]))
    warn("Read this.", "请看。")
tell(about(GNS, [many_instruments(399, 5), gns_weak()]))
tell(about(GNS, [many_instruments(1000, 5)]))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    tell(about(GNS, [no_root()]))
tell(about(GNS, [no_root()]))
"""


def said_by(program: str, *options: str) -> str:
    paths = os.pathsep.join((str(PACKAGE.parent), str(Path(__file__).parents[1])))
    found = subprocess.run(
        [sys.executable, *options, "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stderr


def test_a_loop_says_a_fact_once():
    """The same fact once; one that differs in its numbers alone once for each line, another kind of it always."""
    lines = [line for line in said_by(LOOP).splitlines() if "Warning" in line]
    assert [line.partition("under 'queen': ")[2][:15] or line[-10:] for line in lines] == [
        "0 instruments f",
        "Read this.",
        "GNS is weakly i",
        "1000 instrument",
        "the score has n",
    ]
    assert [int(line.split(":")[1]) for line in lines] == [7, 8, 9, 10, 14]


def test_every_note_is_said_where_every_one_is_asked_for():
    assert said_by(LOOP, "-W", "always").count("Warning: ") == 803
    for wanted in ("default", "always"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(wanted)
            for _ in range(3):
                tell(about(SDM, [few(8)]))
        assert [warning.message.notes for warning in caught] == [about(SDM, [few(8)])] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialZbWarning)
        for _ in range(2):
            with pytest.raises(NotesWarning, match="only 8 units"):
                tell(about(SDM, [few(8)]))


def test_warnings_are_given_by_one_function():
    """It finds the caller's line, says a fact once, and has both languages; ``stacklevel`` would be counted by hand."""
    given = {
        path.name for path in MODULES for call in calls(path) if ast.unparse(call.func) == "warnings.warn"
    }
    assert not given


def test_a_warning_points_at_the_line_that_called_the_package():
    rng = np.random.default_rng(1)
    ring = zb.as_weights(pd.DataFrame(np.roll(np.eye(12), 1, axis=1)), label="ring").standardise("row")
    frame = pd.DataFrame({"unit": np.tile(ring.ids, 4), "period": np.repeat(range(4), 12)})
    panel = zb.build_panel(
        frame.assign(y=rng.normal(size=48), x=rng.normal(size=48)),
        unit="unit",
        period="period",
        units=ring.ids,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = zb.fit_durbin(zb.DurbinSpec("y", ["x"], lag_y=True), panel, ring)
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (__file__, line_of("zb.fit_durbin"))
    assert warning.message.notes == fit.notes
    assert {note.kind.name for note in fit.notes} >= {"few_units"}
    assert {note.subject.en for note in fit.notes} == {"SDM of 'y' under 'ring'"}


def line_of(words: str) -> int:
    """The line of this file that has these words first."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    return 1 + next(i for i, line in enumerate(lines) if words in line)
