"""Commands and options of ``spatial-zb``, with help in English or Chinese, before anything heavy is imported."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from spatial_zb.base.text import Language, Text, display_width

#: Where a system says in which language it speaks, the first one set decides.
SETTINGS = ("LC_ALL", "LC_MESSAGES", "LANG")
#: What argparse says of a wrong call, and the same in Chinese.
REFUSALS = {
    r"the following arguments are required: (.*)": r"缺少参数：\1",
    r"unrecognized arguments: (.*)": r"无法识别的参数：\1",
    r"argument (.*): invalid choice: (.*) \(choose from (.*)\)": r"参数\1：没有\2，可选\3",
    r"argument (.*): invalid (?:int|float) value: (.*)": r"参数\1：\2不是数字",
    r"argument (.*): write TERM=VALUE, such as rho=0\.3, not (.*)": r"参数\1：须写作TERM=VALUE，如rho=0.3，而不是\2",
    r"argument (.*): the path is empty; write \. for this folder": r"参数\1：路径为空；当前文件夹请写作.",
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

    def add_argument(self, *names: str, help: Text | str | None = None, **options: Any) -> argparse.Action:
        """As argparse's, with help in two languages."""
        return super().add_argument(*names, help=Text.of(help or "").pick(self.language), **options)

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


ABOUT = Text(
    "Spatial econometrics of industry and talent agglomeration, from one study file.",
    "产业与人才集聚的空间计量分析，全部设定写在一个研究文件中。",
)
#: What each command does.
WORDS = {
    "init": Text(
        "write a small study with its data into a new folder, to run and to change",
        "在新文件夹中生成一个带数据的小型研究，可直接运行和修改",
    ),
    "run": Text("run the whole study: tables, maps, report, manifest", "运行整个研究：表、地图、报告和清单"),
    "moran": Text("Moran's I by year and weights matrix", "各年份、各权重矩阵的莫兰指数"),
    "dynamics": Text("densities, ellipses, inequality and convergence", "核密度、标准差椭圆、不平等与收敛"),
    "diagnose": Text("the test chain of every model, and what it points to", "各模型的检验链及其指向"),
    "estimate": Text("spatial Durbin models and their effects", "空间杜宾模型及其效应"),
    "system": Text("simultaneous systems and their cross-equation effects", "联立方程组及其跨方程效应"),
    "compare": Text(
        "grid of specifications, model probabilities and robustness", "设定网格、模型后验概率与稳健性检验"
    ),
    "maps": Text("maps, Moran scatterplots and link maps", "地图、莫兰散点图与联系图"),
    "report": Text(
        "the offline report: one page with maps, tables and readings", "离线报告：含地图、表和解读的一页"
    ),
    "check": Text("read and check everything, write nothing", "读入并检查全部内容，不写任何文件"),
    "power": Text(
        "what the models of a study could find in samples like its own, by simulation",
        "研究中的模型在类似样本中能发现什么（模拟）",
    ),
    "replicate": Text(
        "put data, code and results of a finished study into one zip",
        "把已完成研究的数据、代码和结果打包为zip",
    ),
    "verify": Text(
        "run an unpacked replication package again and compare every table",
        "重新运行解压后的复现包并逐表比较",
    ),
    "docs": Text("print a page of the documentation, or list the pages", "显示一页文档，或列出各页"),
}


def parser(language: Language) -> BilingualParser:
    """The parser of all commands, its help in one language."""
    from spatial_zb import __version__

    made = BilingualParser(ABOUT, language, prog="spatial-zb")
    made.add_argument(
        "--version",
        action="version",
        version=f"spatial-zb {__version__}",
        help=Text("show the version and exit", "显示版本后退出"),
    )
    commands = made.add_subparsers(dest="command", metavar=Text("COMMAND", "命令").pick(language))
    for name, text in WORDS.items():
        said = Text(f"{text.en[0].upper()}{text.en[1:]}.", f"{text.zh}。")
        command = commands.add_parser(
            name,
            help=text.pick(language),
            description=said,  # type: ignore[arg-type]  # passed on to BilingualParser, which takes a Text
            language=language,
        )
        _add_options(command, name)
    return made


def _add_options(command: BilingualParser, name: str) -> None:
    if name == "docs":
        topic = Text(
            "a page such as median-unbiased; without one, all pages are listed",
            "页名，如median-unbiased；不给则列出各页",
        )
        command.add_argument("topic", nargs="?", help=topic)
        command.add_language()
        return
    if name == "init":
        _add_init(command)
    elif name == "verify":
        command.add_argument(
            "folder", type=Path, help=Text("the folder that the zip unpacks to", "zip解压后的文件夹")
        )
    else:
        _add_study(command)
    if name == "replicate":
        command.add_argument(
            "--out",
            type=_place,
            help=Text(
                "the zip file (default: results/<study>-replication.zip)",
                "zip文件（默认：results/<研究>-replication.zip）",
            ),
        )
    elif name == "power":
        _add_power(command)
    elif name not in ("check", "init", "verify"):
        _add_run(command)
    if name == "init":
        languages: tuple[str, ...] = ("en", "zh")
        words = Text("language of the study", "研究文件的语言")
    elif name in ("replicate", "verify", "power"):  # which write no tables
        languages = ("en", "zh")
        words = Text("language of what is printed", "所打印内容的语言")
    else:
        languages = ("en", "zh", "both")
        words = Text("language of tables, figures and notes", "表、图和提示的语言")
    both = Text(f"{words.en}, and of this help", f"{words.zh}，以及本帮助的语言")
    command.add_language(languages, both)
    command.add_argument("--quiet", action="store_true", help=Text("print nothing but errors", "只打印错误"))


def _add_study(command: BilingualParser) -> None:
    command.add_argument(
        "study",
        nargs="?",
        type=Path,
        help=Text(
            "study file (default: the one in this folder or in its folder studies)",
            "研究文件（默认：当前文件夹或其studies文件夹中唯一的研究文件）",
        ),
    )
    command.add_argument(
        "--root",
        type=Path,
        help=Text(
            "project folder that the paths of the study start from", "研究文件中各路径所依据的项目文件夹"
        ),
    )
    command.add_argument(
        "--allow-outside",
        action="store_true",
        help=Text("let the study read files outside that folder", "允许研究读取该文件夹以外的文件"),
    )


def _place(text: str) -> Path:
    """A path that is written out: an empty one, as of a variable of the shell that is not set, would mean here."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; write . for this folder")
    return Path(text)


def _add_init(command: BilingualParser) -> None:
    command.add_argument(
        "folder",
        nargs="?",
        type=_place,
        default=Path(),
        help=Text("new or empty folder (default: this one)", "新文件夹或空文件夹（默认：当前文件夹）"),
    )
    command.add_argument(
        "--example",
        choices=("delta", "counties"),
        default="delta",
        help=Text(
            "delta: 40 cities, 13 years; counties: 77 units, one year (default: delta)",
            "delta：40个城市13年；counties：77个县级单元单年（默认：delta）",
        ),
    )
    command.add_argument(
        "--from",
        dest="files",
        nargs="+",
        type=_place,
        metavar="FILE",
        help=Text(
            "your own polygons, table and W instead (polygons, or a table and a W): a study file is proposed for them; "
            "a folder may follow",
            "改用自己的底图、数据表和权重矩阵（有底图，或有数据表和权重矩阵）：据此拟定研究文件；其后可接文件夹",
        ),
    )
    command.add_argument(
        "--ids",
        help=Text(
            "with --from: what the rows of a W without ids are, such as 'order of table' or 'order of polygons'",
            "与--from同用：没有地区编码的权重矩阵各行所指，如'order of table'（表中顺序）或'order of polygons'（底图顺序）",
        ),
    )
    command.add_argument(
        "--crs",
        help=Text(
            "with --from: reference system of polygons that name none, such as EPSG:4326",
            "与--from同用：底图未写坐标系时指明其代码，如EPSG:4326",
        ),
    )


def _value(text: str) -> tuple[str, float]:
    """``rho=0.3`` as a name and a number."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"write TERM=VALUE, such as rho=0.3, not {text!r}") from None


def _add_power(command: BilingualParser) -> None:
    command.add_argument(
        "--model",
        help=Text("name of one model or system; all without", "一个模型或方程组的名称；不给则为全部"),
    )
    command.add_argument(
        "--set",
        nargs="*",
        type=_value,
        default=[],
        metavar="TERM=VALUE",
        help=Text(
            "values in place of the estimates, such as rho=0.3 (systems: industry.W_talent=0)",
            "代替估计值的取值，如rho=0.3（方程组：industry.W_talent=0）",
        ),
    )
    command.add_argument(
        "--factor",
        nargs="*",
        type=float,
        default=[1.0],
        help=Text(
            "all coefficients but variances times a factor, one case each",
            "方差以外的全部系数乘以某倍数，每个倍数一种情形",
        ),
    )
    command.add_argument(
        "--periods",
        nargs="*",
        type=int,
        default=[],
        help=Text("other numbers of periods, with drawn regressors", "其他时期数，解释变量随机生成"),
    )
    command.add_argument(
        "--replications",
        type=int,
        default=500,
        help=Text("simulated panels of each case (default: 500)", "每种情形的模拟面板数（默认：500）"),
    )
    command.add_argument(
        "--workers", type=int, default=1, help=Text("processes (default: 1)", "进程数（默认：1）")
    )
    command.add_argument(
        "--seed",
        type=int,
        help=Text("seed of the draws (default: that of the study)", "随机种子（默认：研究文件中的种子）"),
    )
    command.add_argument(
        "--out",
        type=_place,
        help=Text("also write all numbers to this csv file", "另将全部数值写入此csv文件"),
    )


def _add_run(command: BilingualParser) -> None:
    command.add_argument(
        "--out",
        type=_place,
        help=Text("folder for the results (default: results/<study>)", "结果文件夹（默认：results/<研究>）"),
    )
    command.add_argument(
        "--workers",
        type=int,
        help=Text(
            "processes for grids and robustness (-1: all cores); 1: no other process writes figures either",
            "设定网格与稳健性检验所用进程数（-1：全部核心）；1表示图表也不由另一进程输出",
        ),
    )
    command.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help=Text(
            "Dask scheduler to use instead, such as tcp://host:8786", "改用Dask调度器，如tcp://host:8786"
        ),
    )
    command.add_argument(
        "--store",
        type=Path,
        help=Text(
            "folder of finished fits, from which an interrupted run goes on",
            "已完成估计的存放文件夹，中断后由此续算",
        ),
    )
