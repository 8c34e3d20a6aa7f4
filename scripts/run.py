"""Run a study: ``python3 scripts/run.py [STUDY.toml] [OPTIONS]``; without a study, the default one.

The first run sets up ``.venv``; everything after that is ``spatial-zb run`` with the same words. ``--help`` needs no
set-up. The scripts
``check.py``, ``moran.py``, ``dynamics.py``, ``diagnose.py``, ``estimate.py``, ``maps.py`` and ``report.py`` do the
same for one stage.
"""

import sys

import bootstrap

DEFAULT_STUDY = bootstrap.ROOT / "studies" / "bay_area.toml"


def arguments_for(words: list, command: str = "run") -> list:
    """Return the arguments for the Python of ``.venv``; options alone are options of the default study."""
    named = any(word.lower().endswith(".toml") for word in words) or (words and not words[0].startswith("-"))
    return ["-m", "spatial_zb", command, *([] if named else [str(DEFAULT_STUDY)]), *words]


def main(command: str = "run") -> None:
    """Set up where needed, then become ``spatial-zb COMMAND``; the help is shown by the Python that is asked."""
    words = arguments_for(sys.argv[1:], command)
    if bootstrap.asks_help(words):
        sys.path.insert(0, str(bootstrap.ROOT))
        from spatial_zb.cli import main as spatial_zb

        sys.exit(spatial_zb(words[2:]))
    sys.exit(bootstrap.become(bootstrap.ready("run"), words))


if __name__ == "__main__":
    main()
