"""Write the inputs of the reference tests from data sets that ship with libpysal and linearmodels.

Run by hand (``python tests/reference/make_inputs.py``); the tests read what it wrote and nothing else. The
numbers in ``*/expected.csv`` come from R, see README.md.
"""

from __future__ import annotations

from pathlib import Path

import geopandas
import libpysal.examples
import pandas as pd
from linearmodels.datasets import munnell

HERE = Path(__file__).parent
#: Eight houses have two neighbours at the same fourth distance. R took the second of each triple where the file of
#: libpysal has the third; with this choice, out of 256, its estimates are met to 1e-8.
TIES = [(90, 1, 85), (152, 177, 150)]
EXAMPLES = Path(libpysal.examples.__path__[0])


def columbus() -> None:
    """49 neighbourhoods, in the order of Anselin (1988): sorted by their number NEIG."""
    table = geopandas.read_file(EXAMPLES / "columbus" / "columbus.dbf").sort_values("NEIG")
    columns = ["NEIG", "CRIME", "INC", "HOVAL"]
    table[columns].astype({"NEIG": int}).to_csv(HERE / "columbus" / "data.csv", index=False)


def baltimore() -> None:
    """211 houses and their four nearest neighbours."""
    table = geopandas.read_file(EXAMPLES / "baltim" / "baltim.dbf")
    names = ["PRICE", "NROOM", "NBATH", "PATIO", "FIREPL", "AC", "GAR", "AGE", "LOTSZ", "SQFT"]
    table[["STATION", *names]].astype({"STATION": int}).to_csv(HERE / "baltimore" / "data.csv", index=False)
    lines = (EXAMPLES / "baltim" / "baltim_k4.gwt").read_text().split("\n")[1:]
    pairs = [tuple(map(int, line.split()[:2])) for line in lines if line.strip()]
    swaps = {(i, other): (i, taken) for i, taken, other in TIES}
    pairs = sorted(swaps.get(pair, pair) for pair in pairs)
    pd.DataFrame(pairs, columns=["i", "j"]).to_csv(HERE / "baltimore" / "edges.csv", index=False)


def states() -> None:
    """48 states × 1970-86, and their contiguity; the file numbers states in the order of their names."""
    table = munnell.load()
    columns = ["STATE", "YR", "P_CAP", "PC", "GSP", "EMP", "UNEMP"]
    table[columns].to_csv(HERE / "munnell" / "data.csv", index=False)
    names = sorted(table["STATE"].unique())
    words = (EXAMPLES / "us_income" / "states48.gal").read_text().split("\n")[1:]
    pairs = [
        (names[int(head.split()[0])], names[int(j)])
        for head, neighbours in zip(words[::2], words[1::2], strict=False)
        for j in neighbours.split()
    ]
    pd.DataFrame(pairs, columns=["i", "j"]).to_csv(HERE / "munnell" / "edges.csv", index=False)


if __name__ == "__main__":
    columbus()
    baltimore()
    states()
