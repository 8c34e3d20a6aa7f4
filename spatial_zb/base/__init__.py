"""What every room may use: errors, words in two languages, arguments, printing, tasks, results on disk.

No econometrics, no panel, no weights: a module that knows any of these lives above.
"""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package front whose names stand in its ``__init__.pyi``.

    The stub is the one list of names: type checkers read it, and a name is loaded from the module beside it on first
    use. Standard library only, so that the set-up scripts can show their help before anything is installed.
    """
    tree = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    homes = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, own = homes[name]
        found = (
            import_module(f"{package}.{own}")
            if module is None
            else getattr(import_module(f"{package}.{module}"), own)
        )
        setattr(sys.modules[package], name, found)
        return found

    return load, lambda: sorted(homes), sorted(homes)


#: Modules that show results, by what they do: they live above the results, and the front of the package, which knows
#: every room, says where (docs/decisions/0022-pictures-from-results.md).
DOORS: dict[str, str] = {}


def through_door(name: str, function: str) -> Callable[..., Any]:
    """A function of a module behind a door, loaded when it is first asked for."""
    return getattr(import_module(DOORS[name]), function)
