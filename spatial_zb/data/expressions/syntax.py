"""What an expression of a study file may contain: a whitelist over its syntax tree. Standard library only."""

from __future__ import annotations

import ast
import difflib
import re
import unicodedata
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping

from spatial_zb.base.errors import SpecificationError
from spatial_zb.base.text import Text

MAX_LENGTH = 500
MAX_DEPTH = 25
MAX_EXPONENT = 10
MAX_NUMBER = 1e100
#: Periods that lag() reaches back at most.
MAX_LAG = 50

# Number of arguments of each function; of those in SECTORS at least so many.
FUNCTIONS: Mapping[str, int] = {
    "log": 1,
    "log1p": 1,
    "exp": 1,
    "sqrt": 1,
    "abs": 1,
    "lq": 2,
    "hhi": 2,
    "krugman": 2,
    "where": 3,
    "lag": 1,
}
# Functions of the amounts of all sectors of a unit.
SECTORS = ("hhi", "krugman")
# Functions that look at the reference region too.
REFERENCED = ("lq", "krugman")
ALLOWED = Text(
    "numbers, names (`between backticks` where they hold blanks or signs), + - * / ** ( ), comparisons (1 where true, else "
    "0) with < <= > >= == !=, joined by and, or, not, and the functions log, log1p, exp, sqrt, abs, where(condition, then, "
    "else), lag(x), lag(x, periods), lq(part, total), hhi(sector, sector, ...), krugman(sector, sector, ...)",
    "数字，名称（含空格或符号的置于`反引号`之间），+ - * / ** ( )，比较（成立为1，否则为0）< <= > >= == !=及其and、or、not"
    "组合，"
    "以及函数log、log1p、exp、sqrt、abs、where(条件, 是, 否)、lag(x)、lag(x, 期数)、lq(part, total)、"
    "hhi(sector, sector, ...)、krugman(sector, sector, ...)",
)

# Why a node is refused, by the word a reader knows it under.
_REFUSED: Mapping[type[ast.AST], str | Text] = {
    ast.Attribute: Text("a dot (attribute)", "点号（属性）"),
    ast.Subscript: Text("square brackets", "方括号"),
    ast.Lambda: "lambda",
    ast.List: Text("a list", "列表"),
    ast.Tuple: Text("a comma outside a function", "函数之外的逗号"),
    ast.Set: Text("a set", "集合"),
    ast.Dict: Text("a dictionary", "字典"),
    ast.ListComp: Text("a comprehension", "推导式"),
    ast.SetComp: Text("a comprehension", "推导式"),
    ast.DictComp: Text("a comprehension", "推导式"),
    ast.GeneratorExp: Text("a comprehension", "推导式"),
    ast.IfExp: "if / else",
    ast.NamedExpr: ":=",
    ast.JoinedStr: Text("text in quotes", "引号中的文字"),
    ast.Starred: Text("a star before a name", "名称前的星号"),
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.BitXor: Text("^ (a power is written **)", "^（乘方写作**）"),
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Invert: "~",
}


def checked_tree(text: str) -> ast.expr:
    """Parse an expression and hold it against the whitelist.

    Raises
    ------
    SpecificationError
        The text is too long, nested too deeply, not arithmetic, or uses anything that is not allowed.
    """
    if not isinstance(text, str) or not text.strip():
        raise SpecificationError(
            f"An expression must be text such as log(gdp / population), not {text!r}.",
            f"表达式须为文字，如log(gdp / population)，而不是{text!r}。",
        )
    if len(text) > MAX_LENGTH:
        raise SpecificationError(
            f"The expression {text[:40]!r}... has {len(text)} characters, more than {MAX_LENGTH}. "
            "Split it into several variables.",
            f"表达式{text[:40]!r}……有{len(text)}个字符，超过{MAX_LENGTH}。请拆成几个变量。",
        )
    tree = _parse(text)
    _check_depth(tree, text)
    _check(tree, text, inside=())
    return tree


#: A name between backticks, for columns such as `GDP (10,000 yuan)` that are not names in Python.
QUOTED = re.compile(r"`([^`\n]+)`")
#: A word; Python's parser would read 产业Ⅱ as 产业II and µg (micro sign) as μg (Greek letter), which are other columns.
_WORD = re.compile(r"[^\W\d]\w*")


def _parse(text: str) -> ast.expr:
    """The tree, in which a name between backticks is a name like any other, and every name is as it is written."""
    quoted: dict[str, str] = {}

    def held(name: str) -> str:
        stand_in = f"quoted_{len(quoted)}_"
        while stand_in in text:
            stand_in += "_"
        quoted[stand_in] = name
        return stand_in

    def as_written(match: re.Match[str]) -> str:
        name, parsed = match[0], unicodedata.normalize("NFKC", match[0])
        return held(name) if name != parsed and name.isidentifier() and parsed not in FUNCTIONS else name

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = QUOTED.sub(lambda match: f" {held(match[1].strip())} ", text).strip()
            tree = ast.parse(_WORD.sub(as_written, plain), mode="eval").body
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                node.id = quoted.get(node.id, node.id)
        return tree
    except SyntaxError as error:
        slips = sorted(set(text) & set("（）＋－＊／×÷，。“”"))
        found = " ".join(slips)
        slip = (
            Text(f" It has {found}, which must be plain ASCII signs.", f"其中的{found}须用半角符号。")
            if slips
            else Text("", "")
        )
        raise SpecificationError(
            f"{text!r} is not arithmetic ({error.msg}).{slip.en} Allowed: {ALLOWED.en}.",
            f"{text!r}不是算式（{error.msg}）。{slip.zh}可用：{ALLOWED.zh}。",
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise SpecificationError(
            f"{text[:40]!r}... cannot be read. Allowed: {ALLOWED.en}.",
            f"{text[:40]!r}……无法解读。可用：{ALLOWED.zh}。",
        ) from None


def _check_depth(tree: ast.expr, text: str) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise SpecificationError(
        f"{text[:40]!r}... is nested more than {MAX_DEPTH} levels deep. Split it into several variables.",
        f"{text[:40]!r}……嵌套超过{MAX_DEPTH}层。请拆成几个变量。",
    )


def _refuse(used: str | Text, text: str) -> SpecificationError:
    what = Text.of(used)
    return SpecificationError(
        f"{text!r} uses {what.en}, which is not allowed. Allowed: {ALLOWED.en}.",
        f"{text!r}用了不允许的{what.zh}。可用：{ALLOWED.zh}。",
    )


def is_condition(node: ast.AST) -> bool:
    """Whether a node is true or false by its form: a comparison, or comparisons joined by and, or, not."""
    return isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _check(node: ast.AST, text: str, *, inside: tuple[str, ...]) -> None:
    """Walk the tree; its depth is already limited. ``inside``: the functions around it."""
    if isinstance(node, ast.Constant):
        _check_number(node, text)
    elif isinstance(node, ast.Name):
        if node.id in FUNCTIONS:
            raise SpecificationError(
                f"{text!r} uses {node.id} without brackets; write {node.id}(...).",
                f"{text!r}中的{node.id}没有括号；请写作{node.id}(...)。",
            )
        if node.id.startswith("__"):
            raise _refuse(Text(f"the name {node.id!r}", f"名称{node.id!r}"), text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        _check(node.operand, text, inside=inside)
    elif isinstance(node, ast.Compare):
        _check_comparison(node, text, inside)
    elif is_condition(node):
        for part in node.values if isinstance(node, ast.BoolOp) else [node.operand]:  # type: ignore[attr-defined]
            _check_condition(part, "not" if isinstance(node, ast.UnaryOp) else "and / or", text)
            _check(part, text, inside=inside)
    elif isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow
    ):
        if isinstance(node.op, ast.Pow):
            _check_exponent(node.right, text)
        _check(node.left, text, inside=inside)
        _check(node.right, text, inside=inside)
    elif isinstance(node, ast.Call):
        _check_call(node, text, inside)
    else:
        culprit = node.op if isinstance(node, ast.UnaryOp | ast.BinOp) else node
        raise _refuse(_REFUSED.get(type(culprit), type(culprit).__name__), text)


def _check_condition(node: ast.AST, around: str, text: str) -> None:
    if not is_condition(node):
        raise SpecificationError(
            f"{text!r}: {around} takes comparisons such as x > 0, not {ast.unparse(node)}.",
            f"{text!r}：{around}须用比较，如x > 0，而不是{ast.unparse(node)}。",
        )


def is_text(node: ast.AST) -> bool:
    """Whether a node is text in quotes, which stands in a comparison with == or != alone."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _check_comparison(node: ast.Compare, text: str, inside: tuple[str, ...]) -> None:
    """Numbers with numbers, or a name with text in quotes."""
    sides = [node.left, *node.comparators]
    for op in node.ops:
        if not isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE | ast.Eq | ast.NotEq):
            raise _refuse("is / in", text)
    if any(map(is_text, sides)):
        plain = len(sides) == 2 and isinstance(node.ops[0], ast.Eq | ast.NotEq)
        if not plain or not any(isinstance(side, ast.Name) for side in sides):
            raise SpecificationError(
                f"{text!r}: text in quotes is compared with a name by == or !=, as in prov == 'Zhejiang'.",
                f"{text!r}：引号中的文字只能用==或!=与一个名称比较，如prov == '浙江省'。",
            )
    for side in sides:
        if not is_text(side):
            _check(side, text, inside=inside)


def text_names(tree: ast.AST) -> list[str]:
    """Names that are compared with text in quotes, such as columns of names and codes."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    pairs = [[node.left, *node.comparators] for node in found]
    sides = [side for pair in pairs if any(map(is_text, pair)) for side in pair]
    return list(dict.fromkeys(side.id for side in sides if isinstance(side, ast.Name)))


def lag_of(call: ast.Call) -> int:
    """How many periods a call of lag() looks back."""
    number = call.args[1] if len(call.args) > 1 else ast.Constant(1)
    assert isinstance(number, ast.Constant), "no other passes the check"
    assert isinstance(number.value, int), "no other passes the check"
    return number.value


def lag_depth(tree: ast.AST, of: Callable[[str], int]) -> int:
    """How many periods an expression reaches back, lags within lags added up; ``of`` says it of a name."""
    if isinstance(tree, ast.Name):
        return 0 if tree.id in FUNCTIONS else of(tree.id)
    inner = max((lag_depth(child, of) for child in ast.iter_child_nodes(tree)), default=0)
    call = isinstance(tree, ast.Call) and function_of(tree) == "lag"
    return inner + (lag_of(tree) if call else 0)  # type: ignore[arg-type]


def _check_number(node: ast.Constant, text: str) -> None:
    if isinstance(node.value, str | bytes):
        raise _refuse(Text("text in quotes", "引号中的文字"), text)
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise _refuse(repr(node.value), text)
    if not abs(node.value) <= MAX_NUMBER:
        raise _refuse(Text(f"a number beyond {MAX_NUMBER:g}", f"超过{MAX_NUMBER:g}的数"), text)


def _check_exponent(node: ast.AST, text: str) -> None:
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        node = node.operand
    number = node.value if isinstance(node, ast.Constant) else None
    if isinstance(number, bool) or not (isinstance(number, int | float) and abs(number) <= MAX_EXPONENT):
        raise SpecificationError(
            f"{text!r} has a power whose exponent is not a number from -{MAX_EXPONENT} to {MAX_EXPONENT}.",
            f"{text!r}中乘方的指数不是-{MAX_EXPONENT}至{MAX_EXPONENT}的数。",
        )


def _check_call(node: ast.Call, text: str, inside: tuple[str, ...]) -> None:
    if not isinstance(node.func, ast.Name):
        other = Text("a call of something that is not a function", "对非函数的调用")
        raise _refuse(_REFUSED.get(type(node.func), other), text)
    name = node.func.id
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=1)
        hint = Text(f" Did you mean {near[0]}?", f"是否应为{near[0]}？") if near else Text("", "")
        raise SpecificationError(
            f"{text!r} uses the unknown function {name!r}.{hint.en} Allowed: {ALLOWED.en}.",
            f"{text!r}用了未知的函数{name!r}。{hint.zh}可用：{ALLOWED.zh}。",
        )
    wrong = len(node.args) < FUNCTIONS[name] if name in SECTORS else len(node.args) != FUNCTIONS[name]
    if name == "lag" and len(node.args) == 2:
        wrong = False
        _check_lag(node.args[1], text)
    if node.keywords or wrong:
        needed, least = FUNCTIONS[name], name in SECTORS
        count = f"{needed} argument{'' if needed == 1 else 's'}{' or more' if least else ''}"
        count_zh = f"{'至少' if least else ''}{needed}个"
        raise SpecificationError(
            f"{text!r}: {name} takes {count}, by position.",
            f"{text!r}：{name}需要按位置给出{count_zh}参数。",
        )
    if name == "where":
        _check_condition(node.args[0], "the first argument of where", text)
    if name in (*REFERENCED, "lag") and any(outer in REFERENCED for outer in inside):
        raise SpecificationError(
            f"{text!r} has {name} inside {' or '.join(REFERENCED)}.",
            f"{text!r}在{'或'.join(REFERENCED)}之内又用了{name}。",
        )
    for argument in node.args[:1] if name == "lag" else node.args:
        _check(argument, text, inside=(*inside, name))


def _check_lag(node: ast.AST, text: str) -> None:
    number = node.value if isinstance(node, ast.Constant) else None
    if type(number) is not int or not 1 <= number <= MAX_LAG:
        raise SpecificationError(
            f"{text!r}: lag takes a whole number of periods from 1 to {MAX_LAG}.",
            f"{text!r}：lag的期数须为1至{MAX_LAG}的整数。",
        )


def referenced_calls(tree: ast.AST) -> list[ast.Call]:
    """Calls of the functions that look at the reference region."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if function_of(call) in REFERENCED]


def function_of(call: ast.Call) -> str:
    """The name of the function that is called."""
    assert isinstance(call.func, ast.Name), "no other call passes the check"
    return call.func.id


def names_in(nodes: Iterable[ast.AST]) -> list[str]:
    """Names used in some trees, functions left out, in order of appearance."""
    found = [item for node in nodes for item in ast.walk(node) if isinstance(item, ast.Name)]
    ordered = sorted(found, key=lambda item: item.col_offset)
    return list(dict.fromkeys(item.id for item in ordered if item.id not in FUNCTIONS))


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def unknown_name(name: str, known: Collection[str]) -> Text:
    """Say that a name is not known, and which one is near it."""
    alike = [other for other in known if _plain(other) == _plain(name)]
    near = alike or difflib.get_close_matches(name, list(known), n=1)
    hint = Text(f" Did you mean {near[0]!r}?", f"是否应为{near[0]!r}？") if near else Text("", "")
    return Text(
        f"{name!r} is neither a column, a constant nor a variable.{hint.en}",
        f"{name!r}既不是列，也不是常数或变量。{hint.zh}",
    )
