"""How distributions of a study move over the years: ``python3 scripts/dynamics.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("dynamics")
