"""What the models of a study could find in samples like its own: ``python3 scripts/power.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("power")
