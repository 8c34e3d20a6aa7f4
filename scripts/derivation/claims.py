"""The page of claims: the tables ``claims`` of all shipped studies, put together claim by claim."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from spatial_zb.base.text import Language, Text
from spatial_zb.pipeline.running import Stage, run
from spatial_zb.report.tables.layouts.claims import EXHIBITS, VERDICTS
from spatial_zb.study import load_study

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "claims.md"
INTRO: dict[Language, str] = {
    "en": """# What the theory claims, and what the figures say to it

The system of this package comes from a short qualitative paper on high-tech industry and talent in the Zhejiang Bay
Area (Ge & Wei, Zhejiang Business Technology Institute, Ningbo), which has no data. Every claim of it that names something
measurable has a row here, made by a run of the study that is named. The figures are proxies: manufacturing for high-tech
industry, employees of scientific research and technical services for talent (see the limits of each study).

*Supported*: the 95 % interval lies on the side that the claim says. *Contradicted*: on the other side. *Not supported*: it
holds zero, or the number compared with; that is not a proof of the contrary. Ranks and falls: by the shares that stand below
the table of each study. *Table, figure*: where the results of the study show more, by the names of their files.
""",
    "zh": """# 理论论断与数据的对照

本程序包的联立方程组出自一篇关于浙江大湾区高新技术产业与高新技术人才的定性短文（葛、魏，浙江工商职业技术学院，宁波），该文没有
数据。凡可测度的论断在此各有一行，由所列研究运行得到。数据均为代理变量：以制造业代表高新技术产业，以科研和技术服务业从业人员代表
人才（见各研究的说明）。

*支持*：95%区间位于论断所指的一侧。*相反*：位于另一侧。*未获支持*：区间包含零或所比较的数，这并不证明相反的论断。
*表、图*：该研究结果中可进一步查看的文件名。
""",
}
HEADS = {
    "en": ("Measure", "Study", "Number", "95 % interval", "Verdict", "Table, figure"),
    "zh": ("测度", "研究", "数值", "95%区间", "判断", "表、图"),
}
#: Stages with a table or figure that a claim names, and the study whose pictures are in the documentation.
SHOWN: Sequence[Stage] = ("data", "moran", "dynamics", "models", "systems", "maps", "claims")
MAIN = "bay_area"
MADE = """
Made by `python scripts/derive_claims.py` (`--check` derives it again and compares).
"""


def derive_claims(check: bool) -> int:
    """Write the page, or compare it with what is there."""
    text = page_of(pd.concat(list(_rows()), ignore_index=True))
    if not check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    same = PAGE.read_text(encoding="utf-8") == text
    if not same:
        sys.stderr.write(
            f"{PAGE.relative_to(ROOT)} is not what the studies give: run scripts/derive_claims.py\n"
        )
    return int(not same)


def _rows() -> Iterator[pd.DataFrame]:
    """The claims of every study that has some, as its run writes them."""
    for path in sorted((ROOT / "studies").glob("*.toml")):
        study = load_study(path)
        if not study.claims:
            continue
        with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = run(study, SHOWN, out=Path(place) / "out")
            frame = pd.read_csv(outcome.folder / "tidy" / "claims.csv", keep_default_na=True)
        yield frame.assign(study=path.stem)


def page_of(rows: pd.DataFrame) -> str:
    """The page in both languages: the claims in the order in which they are met first, their measures from all studies."""
    parts = []
    for language in ("en", "zh"):
        claim = "claim" if language == "en" else "claim_zh"
        lines = [INTRO[language], f"| {' | '.join(HEADS[language])} |", "|---|---|--:|--:|---|---|"]
        for said, group in rows.groupby(claim, sort=False):
            lines.append(f"| **{said}** | | | | | |")
            lines += [_line(record, language) for record in group.to_dict("records")]
        parts.append("\n".join(lines) + "\n")
    return f"{parts[0]}{MADE}\n{parts[1]}"


def _line(record: dict, language: Language) -> str:
    end = "" if language == "en" else "_zh"
    measure, detail = (str(record[f"{name}{end}"]) for name in ("measure", "detail"))
    measure = "" if measure == "–" else measure
    detail = "" if detail == "nan" else detail
    opened, closed = (" (", ")") if language == "en" else ("（", "）")
    words = f"{measure}{opened}{detail}{closed}" if measure and detail else measure or detail
    number, low, high = (record[name] for name in ("estimate", "conf_low", "conf_high"))
    shown = "–" if pd.isna(number) else f"{100 * number:.0f} %" if record["percent"] else _number(number)
    limits = "–" if pd.isna(low) else f"[{_number(low)}, {_number(high)}]"
    verdict = Text.of(VERDICTS[record["verdict"]]).pick(language)
    see = ", ".join(_link(record, kind) for kind in EXHIBITS if not pd.isna(record[kind]))
    return f"| {words} | `{record['study']}` | {shown} | {limits} | {verdict} | {see or '–'} |"


def _link(record: dict, kind: str) -> str:
    """The name of a file of the results; a figure that the documentation has can be looked at."""
    stem = str(record[kind])
    image = f"images/{stem}.png"
    shown = kind == "figure" and record["study"] == MAIN and (PAGE.parent / image).is_file()
    return f"[`{stem}`]({image})" if shown else f"`{stem}`"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
