"""The simultaneous systems of a study: ``python3 scripts/system.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("system")
