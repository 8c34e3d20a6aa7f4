"""The maps, Moran scatterplots and link maps of a study: ``python3 scripts/maps.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("maps")
