"""Derive the tables on innovation of the delta and of Zhejiang from that of all cities.

``data/delta_innovation_2017_2022.csv``: the rows of the 41 cities of the delta, of the years in which everything that is
compared over them is printed; figures flagged as suspect are named in ``suspect`` and stay as printed.

``data/zhejiang_standing_2017_2022.csv``: where each city of Zhejiang stands among all cities of the nation, as the share of
the others that have less (per cent): exports and invention patents per employee year by year, R&D as of 2019 and high-tech
firms as of 2023, the last years that are printed. Suspect cells take no part. Within a year exports are in one currency and
population has one concept; nothing is compared across years.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from spatial_zb.data.read import read_table

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "data" / "city_innovation_2017_2023.csv"
PANEL = ROOT / "data" / "delta_city_panel_2003_2019.csv"
DELTA = ROOT / "data" / "delta_innovation_2017_2022.csv"
STANDING = ROOT / "data" / "zhejiang_standing_2017_2022.csv"
YEARS = range(2017, 2023)
#: Columns of the nation that are not printed in every one of these years.
NOT_EVERY_YEAR = ("rd_personnel", "rd_exp_10k", "hitech_firms")
NAMES = ["adcode", "city", "city_en"]
#: Column → what is ranked, its columns, and the year (None: each).
MEASURES: dict[str, tuple[Callable[[pd.DataFrame], pd.Series], tuple[str, ...], int | None]] = {
    "exports_pct": (lambda f: f["exports_10k"], ("exports_10k",), None),
    "inventions_pct": (
        lambda f: f["patents_granted_inv"] / f["emp_urban_units"],
        ("patents_granted_inv", "emp_urban_units"),
        None,
    ),
    "rd_personnel_pct": (
        lambda f: f["rd_personnel"] / f["population_10k"],
        ("rd_personnel", "population_10k"),
        2019,
    ),
    "rd_exp_pct": (lambda f: f["rd_exp_10k"] / f["gdp_10k"], ("rd_exp_10k", "gdp_10k"), 2019),
    "hitech_pct": (
        lambda f: f["hitech_firms"] / f["population_10k"],
        ("hitech_firms", "population_10k"),
        2023,
    ),
}


def nation() -> pd.DataFrame:
    """All cities, codes as text."""
    return read_table(SOURCE, ["adcode"])


def delta_rows() -> pd.DataFrame:
    """The 41 cities and six years, in the order of codes."""
    cities = set(read_table(PANEL, ["adcode"])["adcode"])
    frame = pd.read_csv(SOURCE, dtype=str, keep_default_na=False).drop(columns=list(NOT_EVERY_YEAR))
    frame = frame[frame["adcode"].isin(cities) & frame["year"].isin(list(map(str, YEARS)))]
    return frame.sort_values(["adcode", "year"]).reset_index(drop=True)


def standing() -> pd.DataFrame:
    """Zhejiang's cities by year: per cent of the other cities that have less."""
    frame = nation()
    suspect = frame["suspect"].fillna("").str.split()
    out = frame[frame["adcode"].str.startswith("33") & frame["year"].isin(YEARS)][[*NAMES, "year", "edition"]]
    for name, (ranked, columns, of) in MEASURES.items():
        doubtful = pd.Series([any(c in cells for c in columns) for cells in suspect], frame.index)
        values = ranked(frame).mask(doubtful)
        years = frame["year"] if of is None else frame["year"].where(frame["year"] == of)
        known = values.groupby(years)
        less = 100 * (known.rank(method="min") - 1) / (known.transform("count") - 1)
        shares = less.round(1).groupby([frame["adcode"], years]).first()
        out[name] = [
            shares.get((code, of or year)) for code, year in zip(out["adcode"], out["year"], strict=True)
        ]
        counts = known.count()
        out[f"{name.removesuffix('_pct')}_cities"] = [int(counts[of or year]) for year in out["year"]]
    return out.sort_values(["adcode", "year"]).reset_index(drop=True)


def derive_tables(check: bool) -> int:
    """Write both tables; return how many differ when ``check``."""
    different = 0
    for path, frame in ((DELTA, delta_rows()), (STANDING, standing())):
        fresh = frame.to_csv(index=False, lineterminator="\n").encode()
        if path.is_file() and path.read_bytes() == fresh:
            print(f"{path.name} is up to date.")
            continue
        different += 1
        if not check:
            path.write_bytes(fresh)
        print(f"{'differs' if check else 'written'}: {path.name}")
    return different if check else 0
