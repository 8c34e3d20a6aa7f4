"""The offline report of a study, one page with maps, tables and readings: ``python3 scripts/report.py [STUDY.toml]``."""

import run

if __name__ == "__main__":
    run.main("report")
