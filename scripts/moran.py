"""Moran's I of a study by year and weights matrix: ``python3 scripts/moran.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("moran")
