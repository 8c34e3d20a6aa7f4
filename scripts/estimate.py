"""The spatial Durbin models of a study and their effects: ``python3 scripts/estimate.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("estimate")
