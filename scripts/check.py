"""Read and check a study, write nothing: ``python3 scripts/check.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("check")
