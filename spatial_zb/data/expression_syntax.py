"""What an expression of a study file may contain: a whitelist over its syntax tree. Standard library only."""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterable, Mapping

from spatial_zb.errors import SpecificationError

__all__ = [
    "FUNCTIONS",
    "REFERENCED",
    "SECTORS",
    "checked_tree",
    "names_in",
    "referenced_calls",
    "unknown_name",
]

MAX_LENGTH = 500
MAX_DEPTH = 25
MAX_EXPONENT = 10
MAX_NUMBER = 1e100

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
}
# Functions of the amounts of all sectors of a unit.
SECTORS = ("hhi", "krugman")
# Functions that look at the reference region too.
REFERENCED = ("lq", "krugman")
ALLOWED = (
    "numbers, names, + - * / ** ( ), and the functions log, log1p, exp, sqrt, abs, lq(part, total), "
    "hhi(sector, sector, ...), krugman(sector, sector, ...)"
)

# Why a node is refused, by the word a reader knows it under.
_REFUSED: Mapping[type[ast.AST], str] = {
    ast.Attribute: "a dot (attribute)",
    ast.Subscript: "square brackets",
    ast.Lambda: "lambda",
    ast.List: "a list",
    ast.Tuple: "a comma outside a function",
    ast.Set: "a set",
    ast.Dict: "a dictionary",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Compare: "a comparison",
    ast.BoolOp: "and / or",
    ast.IfExp: "if / else",
    ast.NamedExpr: ":=",
    ast.JoinedStr: "text in quotes",
    ast.Starred: "a star before a name",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.BitXor: "^ (a power is written **)",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Invert: "~",
    ast.Not: "not",
}


def checked_tree(text: str) -> ast.expr:
    """Parse an expression and hold it against the whitelist.

    Raises
    ------
    SpecificationError
        The text is too long, nested too deeply, not arithmetic, or uses anything that is not allowed.
    """
    if not isinstance(text, str) or not text.strip():
        raise SpecificationError(f"An expression must be text such as log(gdp / population), not {text!r}.")
    if len(text) > MAX_LENGTH:
        raise SpecificationError(
            f"The expression {text[:40]!r}... has {len(text)} characters, more than {MAX_LENGTH}. "
            "Split it into several variables."
        )
    tree = _parse(text)
    _check_depth(tree, text)
    _check(tree, text, inside_lq=False)
    return tree


def _parse(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        slips = sorted(set(text) & set("（）＋－＊／×÷，。“”"))
        slip = f" It has {' '.join(slips)}, which must be plain ASCII signs." if slips else ""
        raise SpecificationError(
            f"{text!r} is not arithmetic ({error.msg}).{slip} Allowed: {ALLOWED}."
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise SpecificationError(f"{text[:40]!r}... cannot be read. Allowed: {ALLOWED}.") from None


def _check_depth(tree: ast.expr, text: str) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise SpecificationError(
        f"{text[:40]!r}... is nested more than {MAX_DEPTH} levels deep. Split it into several variables."
    )


def _refuse(what: str, text: str) -> SpecificationError:
    return SpecificationError(f"{text!r} uses {what}, which is not allowed. Allowed: {ALLOWED}.")


def _check(node: ast.AST, text: str, *, inside_lq: bool) -> None:
    """Walk the tree; its depth is already limited."""
    if isinstance(node, ast.Constant):
        _check_number(node, text)
    elif isinstance(node, ast.Name):
        if node.id in FUNCTIONS:
            raise SpecificationError(f"{text!r} uses {node.id} without brackets; write {node.id}(...).")
        if node.id.startswith("__"):
            raise _refuse(f"the name {node.id!r}", text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        _check(node.operand, text, inside_lq=inside_lq)
    elif isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow
    ):
        if isinstance(node.op, ast.Pow):
            _check_exponent(node.right, text)
        _check(node.left, text, inside_lq=inside_lq)
        _check(node.right, text, inside_lq=inside_lq)
    elif isinstance(node, ast.Call):
        _check_call(node, text, inside_lq=inside_lq)
    else:
        culprit = node.op if isinstance(node, ast.UnaryOp | ast.BinOp) else node
        raise _refuse(_REFUSED.get(type(culprit), type(culprit).__name__), text)


def _check_number(node: ast.Constant, text: str) -> None:
    if isinstance(node.value, str | bytes):
        raise _refuse("text in quotes", text)
    if type(node.value) not in (int, float):
        raise _refuse(repr(node.value), text)
    if not abs(node.value) <= MAX_NUMBER:
        raise _refuse(f"a number beyond {MAX_NUMBER:g}", text)


def _check_exponent(node: ast.AST, text: str) -> None:
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        node = node.operand
    number = node.value if isinstance(node, ast.Constant) and type(node.value) in (int, float) else None
    if number is None or not abs(number) <= MAX_EXPONENT:
        raise SpecificationError(
            f"{text!r} has a power whose exponent is not a number from -{MAX_EXPONENT} to {MAX_EXPONENT}."
        )


def _check_call(node: ast.Call, text: str, *, inside_lq: bool) -> None:
    if not isinstance(node.func, ast.Name):
        raise _refuse(_REFUSED.get(type(node.func), "a call of something that is not a function"), text)
    name = node.func.id
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SpecificationError(f"{text!r} uses the unknown function {name!r}.{hint} Allowed: {ALLOWED}.")
    wrong = len(node.args) < FUNCTIONS[name] if name in SECTORS else len(node.args) != FUNCTIONS[name]
    if node.keywords or wrong:
        count = "1 argument" if FUNCTIONS[name] == 1 else f"{FUNCTIONS[name]} arguments"
        more = " or more" if name in SECTORS else ""
        raise SpecificationError(f"{text!r}: {name} takes {count}{more}, by position.")
    if name in REFERENCED and inside_lq:
        raise SpecificationError(f"{text!r} has {name} inside {' or '.join(REFERENCED)}.")
    for argument in node.args:
        _check(argument, text, inside_lq=inside_lq or name in REFERENCED)


def referenced_calls(tree: ast.AST) -> list[ast.Call]:
    """Calls of the functions that look at the reference region."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if call.func.id in REFERENCED]  # type: ignore[attr-defined]


def names_in(nodes: Iterable[ast.AST]) -> list[str]:
    """Names used in some trees, functions left out, in order of appearance."""
    found = [item for node in nodes for item in ast.walk(node) if isinstance(item, ast.Name)]
    ordered = sorted(found, key=lambda item: item.col_offset)
    return list(dict.fromkeys(item.id for item in ordered if item.id not in FUNCTIONS))


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, and which one is near it."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is neither a column, a constant nor a variable.{hint}"
