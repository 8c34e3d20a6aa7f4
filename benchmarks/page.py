"""Where the tables of the benchmarks stand: docs/performance.md, each between two marks."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PAGE", "ROOT", "put_table"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"


def put_table(name: str, table: str) -> None:
    """Put a table in place of what stands between ``<!-- name: start -->`` and ``<!-- name: end -->``."""
    start, end = (f"<!-- {name}: {edge} -->" for edge in ("start", "end"))
    before, rest = PAGE.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    PAGE.write_text(f"{before}{start}\n{table}\n{end}{after}", encoding="utf-8")
