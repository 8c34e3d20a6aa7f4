"""The test chain of a study's models: ``python3 scripts/diagnose.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("diagnose")
