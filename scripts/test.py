"""Check everything: ``python3 scripts/test.py [PYTEST ARGUMENTS]``, the same for people and for CI.

``ruff check``, ``ruff format --check``, mypy, and pytest without the slow simulations (``-m slow`` runs those).
All of them run even when one fails; the exit code is that of the first that failed.
"""

import os
import subprocess
import sys
from pathlib import Path

import bootstrap

# Every worker is a process of its own: threads inside the linear algebra would only queue for the same cores.
SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


def checks(python: Path, words: list) -> dict:
    """Return the commands by name; a later ``-m`` or ``-n`` among `words` overrides the one given here."""
    workers = str(min(os.cpu_count() or 1, 4))
    return {
        "ruff check": [str(python), "-m", "ruff", "check"],
        "ruff format": [str(python), "-m", "ruff", "format", "--check"],
        "mypy": [str(python), "-m", "mypy"],
        "pytest": [str(python), "-m", "pytest", "-m", "not slow", "-n", workers, "--dist=worksteal", *words],
    }


def run(commands: dict, root: Path) -> int:
    """Run every command in the folder `root`; return 0, or the exit code of the first that failed."""
    codes = {}
    for name, command in commands.items():
        print(f"--- {name}", flush=True)
        codes[name] = subprocess.call(command, cwd=root, env={**SETTINGS, **os.environ})
    failed = [name for name, code in codes.items() if code]
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return codes[failed[0]] if failed else 0


def show_help(words: list) -> None:
    """Print what this script does, in the language that is asked for."""
    sys.path.insert(0, str(bootstrap.ROOT))
    from spatial_zb.base.text import Text
    from spatial_zb.cli.options import BilingualParser, help_language

    about = Text(
        "Check everything: ruff check, ruff format --check, mypy, and pytest without the slow simulations (-m slow runs "
        "those).",
        "检查全部内容：ruff check、ruff format --check、mypy，以及不含慢速模拟的pytest（慢速模拟用-m slow）。",
    )
    parser = BilingualParser(about, help_language(words))
    passed_on = Text(
        "arguments for pytest, such as -k moran tests/explore", "传给pytest的参数，如-k moran tests/explore"
    )
    parser.add_argument("arguments", nargs="*", help=passed_on)
    parser.print_help()


if __name__ == "__main__":
    if bootstrap.asks_help(sys.argv[1:]):
        show_help(sys.argv[1:])
        sys.exit(0)
    try:
        sys.exit(run(checks(bootstrap.ready("test"), sys.argv[1:]), bootstrap.ROOT))
    except KeyboardInterrupt:
        sys.exit(130)
