"""The replication package of a finished study: ``python3 scripts/replicate.py [STUDY.toml] [OPTIONS]``."""

import run

if __name__ == "__main__":
    run.main("replicate")
