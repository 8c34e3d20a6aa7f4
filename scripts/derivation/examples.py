"""Derive the examples that the package carries (``spatial_zb/pipeline/examples/*/data``) from the shipped studies.

Variables are those of the study, after its rules for blank and doubtful figures; rows in which a rule was used say so.
Borders are simplified as one coverage to about a kilometre and a half, so that neighbours stay neighbours: contiguity
and nearest neighbours are those of the full layer, which is checked here.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pandas as pd

import spatial_zb as zb

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "spatial_zb" / "pipeline" / "examples"
#: Degrees that a simplified border may leave the true one, and the decimals that are kept.
TOLERANCE, DECIMALS = 0.015, 3
#: Variable of the study → column of the example and its decimals.
CITIES = {
    "industry_lq": ("industry_lq", 6),
    "talent_lq": ("talent_lq", 6),
    "pgdp": ("gdp_per_head", 3),
    "avg_wage_yuan": ("wage", 2),
    "sci_share": ("sci_share", 6),
    "fdi_gdp": ("fdi_gdp", 6),
    "tertiary_share": ("tertiary_share", 4),
}


def derive() -> dict[str, bytes]:
    """Content of every file by its place below the folder of the examples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return {**_delta(), **_counties()}


def _delta() -> dict[str, bytes]:
    study = zb.prepare(zb.load_study(ROOT / "studies" / "bay_area.toml"))
    panel = study.sample("delta")
    frame = panel.frame()
    rows = frame[["unit", "period"]].rename(columns={"unit": "adcode", "period": "year"})
    for name, (column, decimals) in CITIES.items():
        rows[column] = frame[name].round(decimals)
    treated = study.filled.rename(columns={"unit": "adcode", "period": "year"})
    treated = treated.assign(adcode=treated["adcode"].astype(str)).drop_duplicates(["adcode", "year"])
    rows = rows.merge(treated[["adcode", "year"]].assign(remark=REMARK), "left", ["adcode", "year"])
    return {
        "delta/data/cities.geojson": _layer(study.polygons("delta"), "adcode", ["prov"]),
        "delta/data/cities.csv": _table(rows),
    }


REMARK = "a doubtful or blank figure of this row was replaced by the rules of studies/bay_area.toml"


def _counties() -> dict[str, bytes]:
    study = zb.prepare(zb.load_study(ROOT / "studies" / "counties.toml"))
    table = zb.data.read_table(ROOT / "data" / "zhejiang_constant_units_2000_2010.csv", ["constant_unit"])
    polygons = study.polygons(study.study.main_sample)
    table = table[table["constant_unit"].isin(polygons.index)].rename(columns={"constant_unit": "unit"})
    return {
        "counties/data/counties.geojson": _layer(polygons, "unit", ["city"]),
        "counties/data/counties.csv": _table(table.astype({"pop_2000": int, "pop_2010": int})),
    }


def _table(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False, lineterminator="\n").encode()


def _layer(polygons, id: str, columns: list[str]) -> bytes:
    import shapely

    shapes = shapely.coverage_simplify(polygons.geometry.to_numpy(), TOLERANCE)
    shapes = shapely.set_precision(shapes, 10.0**-DECIMALS)
    _same_neighbours(polygons, polygons.set_geometry(shapes))
    features = [
        {
            "type": "Feature",
            "properties": {id: unit} | {c: polygons.at[unit, c] for c in ["name_en", "name_zh", *columns]},
            "geometry": _rounded(json.loads(shapely.to_geojson(shape))),
        }
        for unit, shape in zip(polygons.index, shapes, strict=True)
    ]
    lines = ",\n".join(json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in features)
    system = '{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::4490"}}'
    return f'{{"type":"FeatureCollection","crs":{system},"features":[\n{lines}\n]}}\n'.encode()


def _rounded(shape: dict) -> dict:
    def cut(part):
        return (
            [cut(each) for each in part] if isinstance(part[0], list) else [round(x, DECIMALS) for x in part]
        )

    return {"type": shape["type"], "coordinates": cut(shape["coordinates"])}


def _same_neighbours(full, simple) -> None:
    for build in (
        lambda layer: zb.weights.contiguity(layer, "queen", islands="nearest"),
        lambda layer: zb.weights.knn(layer, 4),
    ):
        before, after = build(full).matrix.astype(bool), build(simple).matrix.astype(bool)
        if (before != after).nnz:
            sys.exit("Simplified borders have other neighbours: take a smaller tolerance.")


def derive_examples(check: bool) -> int:
    """Write the files; return 1 when ``check`` finds a difference."""
    differ = 0
    for name, content in derive().items():
        path = TARGET / name
        same = path.is_file() and path.read_bytes() == content
        if not same and not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        differ += not same
        print(
            f"{'up to date' if same else 'differs' if check else 'written'}: {name} ({len(content) / 1e3:.0f} kB)"
        )
    return int(check and differ > 0)
