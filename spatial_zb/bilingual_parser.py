"""``--help`` and the words about a wrong call in English or Chinese, before anything heavy is imported."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from spatial_zb.text import Language, Text, display_width

__all__ = ["BilingualParser", "can_show", "help_language"]

#: Where a system says in which language it speaks, the first one set decides.
SETTINGS = ("LC_ALL", "LC_MESSAGES", "LANG")
#: What argparse says of a wrong call, and the same in Chinese.
REFUSALS = {
    r"the following arguments are required: (.*)": r"缺少参数：\1",
    r"unrecognized arguments: (.*)": r"无法识别的参数：\1",
    r"argument (.*): invalid choice: (.*) \(choose from (.*)\)": r"参数\1：没有\2，可选\3",
    r"argument (.*): invalid (?:int|float) value: (.*)": r"参数\1：\2不是数字",
    r"argument (.*): expected (?:one|at least one) argument": r"参数\1：缺少取值",
}
#: Signs that do not begin a line of Chinese.
CLOSING = "，。；：、？！）」』”’"


def help_language(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> Language:
    """The language of the help: of ``--language`` among the words, else that of the system; English unless Chinese.

    The system's is that of ``LC_ALL``, ``LC_MESSAGES`` or ``LANG``, on Windows also that of its settings. A console that
    cannot show Chinese gets English.
    """
    asked = _asked(words)
    chinese = (
        asked == "zh" if asked in ("en", "zh") else _system(environment).lower().startswith(("zh", "chinese"))
    )
    return "zh" if chinese and can_show("中文") else "en"


def can_show(text: str) -> bool:
    """Whether the console has the characters; without them Chinese would be a line of question marks."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _asked(words: Sequence[str]) -> str:
    for word, following in pairwise([*words, ""]):
        if word == "--language":
            return following
        if word.startswith("--language="):
            return word.partition("=")[2]
    return ""


def _system(environment: Mapping[str, str]) -> str:
    said = next((environment[name] for name in SETTINGS if environment.get(name)), "")
    if not said and sys.platform == "win32":
        import locale

        said = locale.getlocale()[0] or ""
    return said


class BilingualParser(argparse.ArgumentParser):
    """A parser whose description and help are :class:`Text`, shown in one language together with argparse's own words."""

    def __init__(self, description: Text, language: Language, **options: Any) -> None:
        self.language = language
        formatter = _Chinese if language == "zh" else argparse.HelpFormatter
        super().__init__(
            description=description.pick(language), formatter_class=formatter, add_help=False, **options
        )
        if language == "zh":
            self._positionals.title, self._optionals.title = "参数", "选项"
        self.add_argument(
            "-h", "--help", action="help", help=Text("show this help and exit", "显示本帮助后退出")
        )

    def add_argument(self, *names: str, help: Text | str, **options: Any) -> argparse.Action:
        """As argparse's, with help in two languages; every argument has some."""
        return super().add_argument(*names, help=Text.of(help).pick(self.language), **options)

    def add_language(
        self,
        choices: Sequence[str] = ("en", "zh"),
        help: Text = Text("language of this help", "本帮助的语言"),  # noqa: B008 - frozen
        **options: Any,
    ) -> None:
        """``--language``, which :func:`help_language` has read by then."""
        self.add_argument("--language", choices=choices, help=help, **options)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the call, and leave with code 2."""
        if self.language == "en":
            super().error(message)
        for pattern, chinese in REFUSALS.items():
            if re.fullmatch(pattern, message):
                message = re.sub(pattern, chinese, message)
                break
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}：错误：{message}\n")


class _Chinese(argparse.HelpFormatter):
    """Lines broken by the columns they take: a Chinese sign takes two, and needs no blank to break at."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "用法：" if prefix is None else prefix)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(" ".join(text.split()), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = _wrapped(" ".join(text.split()), width - len(indent))
        return "\n".join(indent + line for line in lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns, broken at blanks and between Chinese signs."""
    lines, line = [], ""
    for piece in re.findall(rf"[!-~]+|.[{CLOSING}]*", text):
        if line and display_width(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()]
