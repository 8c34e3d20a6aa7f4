"""Values of a study file and the base of its sections: names, periods, choices, text in two languages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spatial_zb.base.errors import SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text, named_effects


class Section(BaseModel):
    """A table of a study file; a list of one value may stand where one value is asked for."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: _lone(value) if key in _single(cls) else value for key, value in given.items()}


def _lone(value: object) -> object:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


@cache
def _single(section: type[Section]) -> frozenset[str]:
    """Keys that take one word, number or choice, and no list or table."""
    several = re.compile(r"\b(tuple|dict|Any|Text)\b")
    return frozenset(
        name
        for name, field in section.model_fields.items()
        if not several.search(repr(field.annotation)) and not isinstance(field.annotation, type(Section))
    )


STUDY_VERSION = 1
MAX_BYTES = 1_000_000

# Words of result tables: a variable of this name could not be told from a parameter.
RESERVED = frozenset({"rho", "lam", "tau", "eta", "sigma2", "unit", "period"})
FUNCTIONS = frozenset({"log", "log1p", "exp", "sqrt", "abs", "lq", "hhi", "krugman", "where", "lag"})


class Refusal(ValueError):
    """A value that is refused, in English and Chinese: the library that validates passes on ValueErrors alone."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.zh = zh


def _no_label(value: object) -> Refusal:
    return Refusal(
        f"must be text or {{ en = ..., zh = ... }}, not {value!r}",
        f"须为文本或{{ en = ..., zh = ... }}，而不是{value!r}",
    )


def _as_text(value: Any) -> Text:
    if isinstance(value, Text):
        return value
    texts = value.values() if isinstance(value, Mapping) else [value]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise _no_label(value)
    try:
        return Text.of(value)
    except SpecificationError:
        raise _no_label(value) from None


def from_list(value: object) -> object:
    """TOML has lists, frozen models have tuples."""
    return tuple(value) if isinstance(value, list) else value


def as_tuple(value: object) -> object:
    """Make a tuple of a list, or of a single value that stands without brackets."""
    return (value,) if isinstance(value, str | int | float) else from_list(value)


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise Refusal(f"names {listed(repeated)} more than once", f"{listed_zh(repeated)}出现不止一次")
    return values


#: Albers' equal-area conic for all of China, as its atlases use it.
CHINA = "+proj=aea +lat_1=25 +lat_2=47 +lat_0=0 +lon_0=105 +ellps=GRS80 +units=m +no_defs"


def crs_code(value: str) -> str:
    if value == "china":
        return CHINA
    if not re.fullmatch(r"[A-Z]+:[0-9]{3,6}", value):
        raise Refusal(
            f"must be the code of a coordinate system such as EPSG:4549, or china, not {value!r}",
            f"须为坐标系代码（如EPSG:4549）或china，而不是{value!r}",
        )
    return value


def one_or_some(value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
    return filled(distinct(value)) if isinstance(value, tuple) else value


def filled(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise Refusal("must not be empty", "不能为空")
    return values


def _ordered(periods: tuple[int, int]) -> tuple[int, int]:
    if periods[0] > periods[1]:
        given = list(periods)
        raise Refusal(f"must be [first, last], not {given}", f"须为[起始, 结束]，而不是{given}")
    return periods


def by_period(value: object) -> object:
    """Turn the text keys of a TOML table into periods."""
    if not isinstance(value, Mapping) or not value:
        raise Refusal(
            "must be a table of one number per period, such as 2007 = 7.604",
            "须为每期一个数的表，如2007 = 7.604",
        )
    wrong = [key for key in value if not re.fullmatch(r"\d{1,4}", key)]
    if wrong:
        raise Refusal(
            f"has keys that are not periods: {listed(wrong)}", f"有不是时期的键：{listed_zh(wrong)}"
        )
    return {int(key): number for key, number in value.items()}


def as_span(value: object) -> object:
    """``[first, last]``; one period, alone or in brackets, is a span of itself."""
    value = _lone(value)
    return (value, value) if type(value) is int else from_list(value)


def _as_base(value: Any) -> object:
    """``"mean"``, ``"each"``, or a span of periods; one period is a span of itself."""
    span: Any = (value, value) if type(value) is int else from_list(value)
    whole = isinstance(span, tuple) and len(span) == 2 and all(type(period) is int for period in span)
    if value not in ("mean", "each") and not whole:
        raise Refusal(
            f"must be 'mean', 'each', [first, last] or one period, not {value!r}",
            f"须为'mean'、'each'、[起始, 结束]或一个时期，而不是{value!r}",
        )
    return _ordered(span) if whole else value


def _as_effects(given: Any) -> str:
    words = get_args(EffectsKind)
    if isinstance(given, str) and "*" in given:
        raise Refusal(
            f"{given!r} is one of several effects of a model: put all of these into a list of their own, "
            '[["unit", "province*period"]]',
            f'{given!r}是同一模型的多个固定效应之一：请把它们另放入一层列表，如[["unit", "province*period"]]',
        )
    if isinstance(given, str) and given not in words:
        raise Refusal(
            f"must be one of {listed(map(repr, words))}, or a list of effects in a list, not {given!r}",
            f"须为{listed_zh(map(repr, words))}之一，或再套一层列表逐一写出效应，而不是{given!r}",
        )
    try:
        return named_effects(given, words)
    except SpecificationError as error:
        raise Refusal(str(error), error.zh) from None


def _as_islands(value: object) -> object:
    """A policy, or a tuple of pairs of ids."""
    return tuple(map(from_list, value)) if isinstance(value, list) else value


def _known_islands(value: object) -> object:
    pairs = isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(unit, str) for unit in pair)
        for pair in value
    )
    if not (pairs and value) and value not in ("error", "nearest", "zero"):
        drop = value == "drop"
        instead = "; leave the unit out of the sample instead" if drop else ""
        instead_zh = "；如要剔除该地区，请改在样本中剔除" if drop else ""
        raise Refusal(
            f"must be 'error', 'nearest', 'zero' or pairs of ids such as [[\"330900\", \"330200\"]], not {value!r}{instead}",
            f"须为'error'、'nearest'、'zero'或编码对，如[[\"330900\", \"330200\"]]，而不是{value!r}{instead_zh}",
        )
    return value


def replicates(number: int) -> int:
    if 0 < number < 99:
        raise Refusal(f"must be 0 or at least 99, not {number}", f"须为0或不小于99，而不是{number}")
    return number


def slug(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise Refusal(
            f"names a folder: use small letters a-z, digits, _ and - only, not {name!r}",
            f"用作文件夹名：只能用小写字母、数字、_和-，而不是{name!r}",
        )
    return name


def as_where(value: object) -> object:
    return {key: as_tuple(kept) for key, kept in value.items()} if isinstance(value, Mapping) else value


def _as_pairs(value: object) -> object:
    """A tuple of pairs; one pair may stand without the outer brackets."""
    value = from_list(value)
    if isinstance(value, tuple) and value and all(isinstance(part, str) for part in value):
        value = (value,)
    return tuple(from_list(part) for part in value) if isinstance(value, tuple) else value


def _two_different(pairs: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    wrong = [list(pair) for pair in pairs if len(set(pair)) != 2 or len(pair) != 2]
    if wrong:
        first = wrong[0]
        raise Refusal(
            f'must be pairs of two variables such as [["industry", "talent"]], not {first}',
            f'须为变量对，如[["industry", "talent"]]，而不是{first}',
        )
    return distinct(pairs)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _as_breaks(value: Any) -> object:
    """Inner edges of classes for all variables, or by variable."""
    if isinstance(value, Mapping):
        return {key: _as_breaks(edges) for key, edges in value.items()}
    edges: Any = as_tuple(value)
    if not (
        isinstance(edges, tuple)
        and edges
        and all(map(_number, edges))
        and all(b > a for a, b in pairwise(edges))
    ):
        raise Refusal(
            f"must be numbers that increase, such as [-0.5, 0, 0.5], or such lists by variable, not {value!r}",
            f"须为递增的数，如[-0.5, 0, 0.5]，或按变量给出的此类列表，而不是{value!r}",
        )
    return tuple(map(float, edges))


def _as_center(value: Any) -> object:
    """A number, "auto" or "none" for all variables, or by variable."""
    if isinstance(value, Mapping):
        return {key: _as_center(center) for key, center in value.items()}
    if value not in ("auto", "none") and not _number(value):
        raise Refusal(
            f"must be a number, 'auto' or 'none', or these by variable, not {value!r}",
            f"须为一个数、'auto'或'none'，或按变量给出，而不是{value!r}",
        )
    return value if isinstance(value, str) else float(value)


def _as_bounds(value: Any) -> object:
    """The least and the largest possible value; inf where there is none."""
    ends: Any = from_list(value)
    numbers = isinstance(ends, tuple) and len(ends) == 2
    numbers = numbers and all(isinstance(e, int | float) and not isinstance(e, bool) for e in ends)
    if not numbers or not ends[0] < ends[1]:
        raise Refusal(
            f"must be [lowest, highest] possible value, such as [0, 1] or [0, inf], not {value!r}",
            f"须为[最小, 最大]可能取值，如[0, 1]或[0, inf]，而不是{value!r}",
        )
    return tuple(map(float, ends))


Word = Annotated[str, Field(min_length=1, max_length=2000)]
Label = Annotated[Text, BeforeValidator(_as_text)]
Names = Annotated[tuple[Word, ...], BeforeValidator(as_tuple), AfterValidator(distinct)]
Listed = Annotated[tuple[Word, ...], BeforeValidator(from_list), AfterValidator(distinct)]
SomeNames = Annotated[Names, AfterValidator(filled)]
#: Values of a column: words, numbers, true or false.
SomeValues = Annotated[
    tuple[Word | int | float | bool, ...],
    BeforeValidator(as_tuple),
    AfterValidator(distinct),
    AfterValidator(filled),
]
Pairs = Annotated[tuple[tuple[Word, ...], ...], BeforeValidator(_as_pairs), AfterValidator(_two_different)]
Periods = Annotated[tuple[int, ...], BeforeValidator(as_tuple), AfterValidator(distinct)]
Span = Annotated[tuple[int, int], BeforeValidator(as_span), AfterValidator(_ordered)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
EstimatorKind = Literal["lee_yu", "direct", "gmm", "robust_score"]
CovarianceKind = Literal[
    "information", "hessian", "sandwich", "cluster", "cr1", "cr2", "driscoll_kraay", "spatial_hac", "robust"
]
Family = Literal["OLS", "SLX", "SAR", "SDM", "SEM", "SDEM", "SAC", "GNS"]
EffectsKind = Literal["none", "unit", "time", "two_way", "random"]
#: Effects of a model: one of these words, or a list of effects one by one.
ModelEffects = Annotated[Any, BeforeValidator(_as_effects)]
Share = Annotated[float, Field(gt=0, lt=0.5, allow_inf_nan=False)]
Normalisation = Literal["none", "row", "spectral", "minmax"]
Islands = Annotated[Any, BeforeValidator(_as_islands), AfterValidator(_known_islands)]
Alone = Literal["error", "zero"]
Metric = Literal["geodesic", "projected"]
Base = Annotated[Any, BeforeValidator(_as_base)]
Breaks = Annotated[Any, BeforeValidator(_as_breaks)]
Center = Annotated[Any, BeforeValidator(_as_center)]
Bounds = Annotated[Any, BeforeValidator(_as_bounds)]
Shares = Annotated[tuple[Share, ...], BeforeValidator(as_tuple), AfterValidator(distinct)]
TableFormat = Literal["csv", "xlsx", "docx", "tex", "html", "md"]
FigureFormat = Literal["png", "svg", "pdf", "tiff"]

Choice = TypeVar("Choice")
Some = Annotated[
    tuple[Choice, ...], BeforeValidator(as_tuple), AfterValidator(distinct), AfterValidator(filled)
]
