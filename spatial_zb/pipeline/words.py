"""Words that the stages share: headings, notes, sources, in English and Chinese."""

from __future__ import annotations

from pathlib import Path

from spatial_zb.data.read import read_table
from spatial_zb.errors import DataError, listed, listed_zh
from spatial_zb.study import Model, Study, System
from spatial_zb.text import Text

__all__ = [
    "EFFECT_WORDS",
    "METHOD_WORDS",
    "RULE_WORDS",
    "as_sentence",
    "column_heading",
    "column_words",
    "source_note",
    "weights_words",
]


EFFECT_WORDS = {
    "none": Text("No effects", "无固定效应"),
    "unit": Text("Unit effects", "个体固定"),
    "time": Text("Time effects", "时间固定"),
    "two_way": Text("Two-way effects", "双向固定"),
    "random": Text("Random effects", "随机效应"),
}

RULE_WORDS = {
    "interpolate": Text("linear between the nearest years", "相邻年份线性插值"),
    "median_growth": Text("median growth of the others", "其他地区增长率中位数"),
    "drop_units": Text("unit left out", "剔除该地区"),
    "drop_periods": Text("period left out", "剔除该年份"),
}

METHOD_WORDS = {
    "2sls": Text("2SLS", "2SLS"),
    "3sls": Text("3SLS", "3SLS"),
    "gs2sls": Text("GS2SLS", "GS2SLS"),
    "gs3sls": Text("GS3SLS", "GS3SLS"),
    "fiml": Text("FIML", "FIML"),
}


def column_heading(
    study: Study, part: Model | System, sample: str, weights: str, last: Text, several: bool
) -> Text:
    """What sets a column apart from the others of its table: sample, W, and ``last`` where there are ``several`` of it.

    ``last`` alone where nothing else does.
    """
    parts = []
    if len(study.samples_of(part)) > 1:
        parts.append(study.samples[sample].label)
    if len(study.weights_of(part)) > 1:
        parts.append(study.weights[weights].label)
    if several or not parts:
        parts.append(last)
    return Text(", ".join(p.en for p in parts), "，".join(p.zh for p in parts))


def as_sentence(text: Text) -> Text:
    return Text(text.en.rstrip(".") + ".", text.zh.rstrip("。") + "。")


def source_note(source: Text) -> Text:
    """The source as the closing line of a table or figure."""
    return Text(f"Source: {source.en}.", f"资料来源：{source.zh}。")


def weights_words(study: Study) -> dict[str, Text]:
    return {name: W.label for name, W in study.weights.items()}


def column_words(study: Study) -> dict[str, Text]:
    """Words of the codebook for the columns of the data file, where the study names one.

    Raises
    ------
    DataError
        The codebook has no columns ``name``, ``label_en`` and ``label_zh``.
    """
    if study.data.codebook is None:
        return {}
    book = read_table(study.file(study.data.codebook), [])
    absent = [column for column in ("name", "label_en", "label_zh") if column not in book]
    if absent:
        raise DataError(
            f"{study.data.codebook} has no column {listed(absent)}. A codebook has a row for each column of the data: its "
            "name, label_en and label_zh; and table, where it describes several files.",
            f"{study.data.codebook}没有列{listed_zh(absent)}。代码本中数据表的每一列占一行：name、label_en、label_zh；"
            "若说明几个文件，另有table。",
        )
    if "table" in book:
        book = book[book["table"] == Path(study.data.file).stem]
    rows = book[book["label_en"].notna() & book["label_zh"].notna()]
    return {
        str(name): Text(str(en), str(zh))
        for name, en, zh in zip(rows["name"], rows["label_en"], rows["label_zh"], strict=True)
    }
