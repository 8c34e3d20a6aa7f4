"""Cases that fool common tools: what this package gives is right, and the published page lists every case."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "validation" / "common_tools.py"


def _script():
    spec = importlib.util.spec_from_file_location("common_tools", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = _script()


@pytest.mark.parametrize("case", script.CASES, ids=lambda case: case.__name__)
def test_ours_is_right_where_theirs_is_fooled(case):
    found = case()
    assert found.right, f"{found.title}: {found.ours}"
    assert found.title in script.PAGE.read_text("utf-8")
    if not found.fooled:
        pytest.skip(
            f"mended in {[f'{tool} {script.version(tool)}' for tool in script.TOOLS]}: {found.theirs}"
        )


def test_the_page_says_with_which_versions_and_has_a_row_for_every_case():
    text = script.PAGE.read_text("utf-8")
    assert all(f"{tool} " in text for tool in script.TOOLS)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == 1 + len(script.CASES)
