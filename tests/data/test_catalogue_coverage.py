"""Every id of the catalogue of bad and hard inputs from 1 to 68, and 83, has a test; they are listed here.

``pytest tests/data/test_catalogue_coverage.py`` prints the ids with the tests that stand for them.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parents[1]
FILES = ("data/test_inputs_catalogue.py", "weights/test_inputs_catalogue.py")
UNUSED = {35, 48, 55, 67}  # the catalogue has no such number
WANTED = {*range(1, 69), 83} - UNUSED


def cases(path: Path) -> list[tuple[int, str]]:
    """(id, name) of every line of a table and every test function whose name begins with an id."""
    tree = ast.parse(path.read_text("utf-8"))
    keys = [
        key.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]
    functions = [n.name.removeprefix("test_") for n in tree.body if isinstance(n, ast.FunctionDef)]
    found = []
    for name in (*keys, *functions):
        if number := re.match(r"(\d+)[a-z]?[ _]", name):
            found.append((int(number.group(1)), f"{path.parent.name}: {name.replace('_', ' ')}"))
    return found


def test_every_id_has_a_test(capsys):
    by_id: dict[int, list[str]] = defaultdict(list)
    for file in FILES:
        for number, name in cases(TESTS / file):
            by_id[number].append(name)
    lines = [f"{number:>4}  {'; '.join(by_id[number]) or '—'}" for number in sorted(WANTED)]
    open_ = sorted(WANTED - set(by_id))
    with capsys.disabled():
        heading = f"Inputs catalogue: {len(WANTED) - len(open_)} of {len(WANTED)} ids have a test"
        print("", heading, *lines, sep="\n")  # noqa: T201
    assert not open_, f"no case for {open_}"
    assert not set(by_id) - WANTED, f"no such id: {sorted(set(by_id) - WANTED)}"
