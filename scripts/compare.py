"""The comparison section of a study: ``python3 scripts/compare.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("compare")
