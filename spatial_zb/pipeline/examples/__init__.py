"""Example studies that the package carries: their objects without files, and a folder of one's own to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spatial_zb.base.errors import OutputError, listed, listed_zh, not_one_of
from spatial_zb.base.text import Language
from spatial_zb.data.panel import Panel
from spatial_zb.pipeline.prepare import prepare
from spatial_zb.report.files import write_atomic
from spatial_zb.study import load_study
from spatial_zb.weights.matrix import Weights

if TYPE_CHECKING:
    import geopandas as gpd

HOME = Path(__file__).parent
#: Example → the weights and the sample that :func:`example` gives.
EXAMPLES = {"delta": ("queen", "delta"), "counties": ("queen", "counties")}


class Example(NamedTuple):
    """What a study starts from, for the same n units in the same order.

    Attributes
    ----------
    regions : GeoDataFrame
        Polygons indexed by string id, with ``name_en`` and ``name_zh``.
    panel : Panel
        Variables of n units and T periods.
    W : Weights
        Queen contiguity, row-standardised; units without a land neighbour are linked with the nearest.
    """

    regions: gpd.GeoDataFrame
    panel: Panel
    W: Weights

    def __repr__(self) -> str:
        return f"Example(regions of {len(self.regions)} units, {self.panel!r}, {self.W!r})"


def example(name: str = "delta") -> Example:
    """Polygons, a panel and weights to try things on, without any file.

    Parameters
    ----------
    name
        ``"delta"``: 40 cities of the Yangtze River Delta, 2007–2019, with ``industry`` and ``talent`` (logarithms of
        location quotients), ``ln_pgdp``, ``ln_wage``, ``sci_share``, ``fdi_gdp`` and ``tertiary_share``.
        ``"counties"``: 77 units of Zhejiang in 2010, with ``density_2000`` and ``growth`` (per cent a year, 2000–2010).

    Returns
    -------
    Named tuple of ``regions``, ``panel`` and ``W``. Borders are simplified to about a kilometre and a half; neighbours
    are those of the full polygons.

    Raises
    ------
    SpecificationError
        There is no example of this name.

    Notes
    -----
    City figures: National Bureau of Statistics, *China City Statistical Yearbook*, editions 2008–2020, with blank and
    doubtful figures replaced by the stated rules of the project's own study (column ``remark`` of its table). Counties:
    population censuses of 2000 and 2010. Borders: Tianditu, divisions of 2024.

    Examples
    --------
    >>> import spatial_zb as zb
    >>> regions, panel, W = zb.example("delta")
    >>> fit = zb.fit_durbin(zb.DurbinSpec(y="industry", x=["talent", "ln_pgdp"]), panel, W)
    >>> fit.converged
    True
    """
    if name not in EXAMPLES:
        raise not_one_of("name", name, EXAMPLES)
    weights, sample = EXAMPLES[name]
    prepared = prepare(load_study(HOME / name / "en.toml"))
    return Example(prepared.polygons(sample), prepared.sample(sample), prepared.weights(weights, sample))


def write_example(folder: Path, name: str = "delta", language: Language = "en") -> tuple[Path, ...]:
    """Write an example study and its data into a new or empty folder; give the files, the study first.

    Raises
    ------
    OutputError
        The folder holds files already, or cannot be written to. Hidden files do not count.
    """
    if name not in EXAMPLES:
        raise not_one_of("name", name, EXAMPLES)
    refuse_full(folder)
    home = HOME / name
    contents = {f"{name}.toml": (home / f"{language}.toml").read_bytes()}
    contents |= {f"data/{path.name}": path.read_bytes() for path in sorted((home / "data").iterdir())}
    return write_new(folder, contents)


def refuse_full(folder: Path) -> None:
    """Refuse a folder that holds files which are not hidden, or a file in its place."""
    try:
        held = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be used as a folder: {error.strerror}. Name another one.",
            f"{folder}不能用作文件夹：{error.strerror}。请换一个名称。",
        ) from None
    if held:
        raise OutputError(
            f"This folder is not empty: {folder.resolve()} holds {listed(held, 3)}. Name a new one: spatial-zb init "
            "my-study.",
            f"文件夹{folder.resolve()}不是空的，已有{listed_zh(held, 3)}。请指定新文件夹：spatial-zb init my-study。",
        )


def write_new(folder: Path, contents: dict[str, bytes]) -> tuple[Path, ...]:
    """Write files below a folder; none of them may be there already.

    Raises
    ------
    OutputError
        A file of the same name is there, or the folder cannot be written to.
    """
    there = [name for name in contents if (folder / name).exists()]
    if there:
        raise OutputError(
            f"{folder.resolve()} has {listed(there)} already, and nothing was written. Name another folder, or move the "
            "file away.",
            f"{folder.resolve()}中已有{listed_zh(there)}，未写入任何文件。请换一个文件夹，或移走该文件。",
        )
    try:
        for name in contents:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            f"无法新建文件夹{folder}：{error.strerror}。",
        ) from None
    return tuple(write_atomic(folder / name, content) for name, content in contents.items())
