"""Pages and paths that prose names exist, and an installed package carries its pages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import spatial_zb
from spatial_zb import cli, load_study

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(spatial_zb.__file__).parent
PAGES = cli.pages()
FOLDERS = ("spatial_zb", "tests", "docs", "scripts", "studies", "benchmarks")
ROOMS = sorted({path.parent.name for path in PACKAGE.glob("*/__init__.py")} - set(FOLDERS))
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: A path of the repository in prose or code: folder, then what stands before a blank, a bracket or a quote.
PATH = re.compile(rf"(?<![\w/.-])((?:{'|'.join(FOLDERS)})/[\w./-]*[\w/])")
#: A module named from its room on, such as `core/transforms.py`; `tests/` is the folder of that name.
MODULE = re.compile(rf"`((?:{'|'.join(room for room in ROOMS if room != 'tests')})/[\w/]+\.py)`")
#: A module by its file's name alone.
FILE = re.compile(r"`(\w+\.py)`")
#: Parts of a link, without its anchor.
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
#: How a message sends to a page.
TOPIC = re.compile(r"spatial-zb docs ([a-z][\w/-]*)")
#: Files that prose tells the reader to make.
MADE = ("studies/mine.toml", "studies/wages.toml")


def strings(path: Path) -> list[str]:
    """Every text in a module: messages, docstrings, labels; not comments."""
    tree = ast.parse(path.read_text("utf-8"))
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_paths_and_links_in_prose_exist():
    lost, files = [], {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    for page in PROSE:
        text = page.read_text("utf-8")
        lost += [
            f"{page.name}: {path}" for path in {*PATH.findall(text)} - {*MADE} if not (ROOT / path).exists()
        ]
        lost += [f"{page.name}: {path}" for path in MODULE.findall(text) if not (PACKAGE / path).exists()]
        lost += [f"{page.name}: {file}" for file in FILE.findall(text) if file not in files]
        lost += [f"{page.name}: {link}" for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert lost == []


def test_every_room_stands_in_the_page_on_the_house():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert [room for room in ROOMS if f"`spatial_zb/{room}/`" not in page] == []


def test_messages_and_docstrings_name_pages_that_a_user_can_print():
    said = {(path, text) for path in PACKAGE.rglob("*.py") for text in strings(path)}
    lost = [
        f"{path.name}: {topic}" for path, text in said for topic in TOPIC.findall(text) if topic not in PAGES
    ]
    assert lost == []
    paths = [
        f"{path.name}: {found}" for path, text in said for found in re.findall(r"docs/\S+\.(?:md|csv)", text)
    ]
    assert paths == [], "say `spatial-zb docs TOPIC`, which exists for whoever installed the package"


def test_the_page_for_those_who_come_from_elsewhere_says_where_numbers_differ():
    part = (ROOT / "docs/from-stata-and-r.md").read_text("utf-8").split("## Where numbers differ")[1]
    lines = [" ".join(line.split()) for line in part.split("\n- ")]
    for words in (
        ("LM tests", "73.06", "54.65", "Elhorst"),
        ("Hausman", "sigmamore", "13.35", "60.5"),
        ("spml", "two-way", "another model"),
        ("SDPDmod", "determinant", "0.2226", "Lee–Yu", "uncorrected"),
    ):
        assert any(all(word in line for word in words) for line in lines), words


def test_pages_are_listed_and_printed(capsys):
    assert cli.main(["docs"]) == 0
    listed = capsys.readouterr().out
    assert all(topic in listed for topic in ("study-file", "median-unbiased", "validation/study"))
    assert cli.main(["docs", "docs/methods/sar.md"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "methods" / "sar.md").read_text("utf-8")


def test_an_unknown_page_is_refused_with_the_near_one(capsys):
    assert cli.main(["docs", "median-unbiassed"]) == 1
    assert "median-unbiased" in capsys.readouterr().err
    assert cli.main(["docs", "no-such-thing-at-all", "--language", "zh"]) == 1
    assert "spatial-zb docs" in capsys.readouterr().err


def test_a_wheel_carries_every_page(tmp_path):
    uv = Path(sys.prefix) / ".setup" / "uv" / "bin" / "uv"
    if not uv.exists():
        pytest.skip("uv, which scripts/bootstrap.py sets up, builds the wheel")
    call = [uv, "build", "--wheel", "--out-dir", tmp_path, ROOT]
    done = subprocess.run(call, capture_output=True, text=True)
    if "error sending request" in done.stderr or "Failed to resolve requirements" in done.stderr:
        pytest.skip("no network for the build tools")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    home = PAGES["study-file"].parent
    pages = {f"spatial_zb/docs/{path.relative_to(home).as_posix()}" for path in PAGES.values()}
    assert pages <= names
    lists = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.pyi")}
    assert lists <= names, "the lists of public names"
    assert not [name for name in names if name.endswith((".csv", ".pdf")) and "/docs/" in name]


def test_the_page_of_claims_has_every_claim_and_a_verdict_for_every_measure():
    """Whether the numbers are those of the runs, ``scripts/derive_claims.py --check`` says."""
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    claims = [claim for path in (ROOT / "studies").glob("*.toml") for claim in load_study(path).claims]
    for said in (claim.claim for claim in claims):
        assert f"**{said.en}**" in text
        assert f"**{said.zh}**" in text
    rows = [
        line for line in text.splitlines() if line.count("|") == 7 and "**" not in line and "---" not in line
    ]
    assert len(rows) - 2 == 2 * len(claims)
