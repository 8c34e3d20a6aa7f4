"""``--help`` of the command and of every script: in the language that is asked for, and before anything heavy is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spatial_zb import cli
from spatial_zb.base.text import Text, display_width
from spatial_zb.cli.options import WORDS, BilingualParser, help_language

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py") if path.stem != "bootstrap")
#: Nothing of these may be loaded to show a help text.
HEAVY = ("numpy", "scipy", "pandas", "geopandas", "matplotlib", "pydantic", "fontTools", "shapely")
CHINESE = re.compile(r"[\u4e00-\u9fff]")

SHOW = f"""
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
"""


def shown(script: Path, language: str, *words: str) -> str:
    """What a script prints for ``--help`` on a system of one language."""
    environment = {"LC_ALL": language, "PYTHONIOENCODING": "utf-8", "PATH": "", "COLUMNS": "80"}
    call = [sys.executable, "-c", SHOW, script.as_posix(), *words, "--help"]
    done = subprocess.run(call, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_helps_in_both_languages_and_at_once(script):
    english, chinese = shown(script, "en_US.UTF-8"), shown(script, "zh_CN.UTF-8")
    for text in (english, chinese):
        assert "loaded: []" in text
    assert english.startswith("usage:")
    assert not CHINESE.search(english)
    assert chinese.startswith("用法：")
    assert not re.search(r"usage|show|options|positional|default", chinese)


def test_what_is_asked_for_goes_before_the_language_of_the_system():
    script = ROOT / "scripts" / "run.py"
    assert shown(script, "zh_CN.UTF-8", "--language", "en") == shown(script, "en_US.UTF-8")
    assert shown(script, "en_US.UTF-8", "--language=zh") == shown(script, "zh_CN.UTF-8")


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, "en"),
        ([], {"LANG": "zh_CN.UTF-8"}, "zh"),
        ([], {"LANG": "zh_TW"}, "zh"),
        ([], {"LANG": "de_DE.UTF-8"}, "en"),
        ([], {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ([], {"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
        (["--language", "zh"], {}, "zh"),
        (["--language=zh"], {"LANG": "en_US"}, "zh"),
        (["--language", "en"], {"LANG": "zh_CN"}, "en"),
        (["--language", "both"], {"LANG": "zh_CN"}, "zh"),
        (["--language"], {}, "en"),
    ],
)
def test_language_of_the_help(words, environment, expected):
    assert help_language(words, environment) == expected


def test_a_console_without_chinese_is_not_shown_question_marks(monkeypatch):
    class Latin:
        encoding = "latin-1"

    monkeypatch.setattr(sys, "stdout", Latin())
    assert help_language(["--language", "zh"], {}) == "en"


@pytest.mark.parametrize("command", ["", *WORDS])
def test_every_word_of_a_command_is_in_both_languages(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = {}
    for language in ("en", "zh"):
        with pytest.raises(SystemExit) as ended:
            cli.main([*([command] if command else []), "--help", "--language", language])
        assert ended.value.code == 0
        said[language] = capsys.readouterr().out
    assert not CHINESE.search(said["en"])
    assert max(map(display_width, said["zh"].splitlines())) <= 80
    names = [set(re.findall(r"--[a-z-]+", text)) for text in said.values()]
    assert names[0] == names[1]
    for line in said["zh"].splitlines():
        said_of_an_option = re.fullmatch(r"  (?:  )?-?-?[a-z]\S*(?: \S+)*  +(.*)", line)
        assert not said_of_an_option or CHINESE.search(said_of_an_option.group(1)), line


WRONG_CALLS = {
    "no study": (["verify"], "缺少参数：folder"),
    "a word too many": (["check", "a.toml", "b"], "无法识别的参数：b"),
    "no such command": (["chekc"], "没有'chekc'"),
    "no number": (["run", "--workers", "two"], "参数--workers：'two'不是数字"),
    "no value": (["run", "--out"], "参数--out：缺少取值"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_a_wrong_call_is_told_in_the_language_of_the_system(case, capsys, monkeypatch):
    words, expected = WRONG_CALLS[case]
    for language, end in (("zh_CN.UTF-8", expected), ("en_US.UTF-8", "error: ")):
        monkeypatch.setenv("LC_ALL", language)
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
        assert end in capsys.readouterr().err


def test_lines_break_between_chinese_signs_and_never_inside_a_name():
    parser = BilingualParser(Text("", ""), "zh", prog="x")
    about = "运行整个研究，" * 12 + "写入results/a-very-long-name-of-a-folder-that-stays-whole。"
    parser.description = about
    lines = parser.format_help().split("\n\n")[1].splitlines()
    assert "".join(lines) == about
    assert not any(line[0] in "，。" for line in lines)
    assert any("results/a-very-long-name-of-a-folder-that-stays-whole" in line for line in lines)


@pytest.mark.parametrize("name", ["run", "test", "bounds", "power"])
def test_scripts_help_before_anything_is_installed(name):
    """-S keeps the installed packages out, as on a machine that has only Python."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-S", str(ROOT / "scripts" / f"{name}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage")
