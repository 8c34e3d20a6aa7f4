"""Run the tests with the oldest and the newest versions that pyproject.toml allows: before every release.

``python3 scripts/bounds.py [lowest|highest] [PYTEST ARGUMENTS]``; both without a word. Environments go to
``.venv/.bounds``. The lock holds one choice of versions; this tries the ends of what users may have.
"""

import os
import subprocess
import sys

import bootstrap

#: Every worker is a process of its own: threads inside the linear algebra would only queue for the same cores.
SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}

#: Name → how versions are chosen: of our own requirements the lowest, of theirs what fits; or the newest of all.
ENDS = {"lowest": "lowest-direct", "highest": "highest"}


def environment(name: str) -> str:
    """Make an environment at one end of the bounds; its Python."""
    bootstrap.ready("test")
    root = bootstrap.ROOT
    settings = bootstrap.uv_environment(bootstrap.pip_settings(bootstrap.python_with_pip()))
    uv = bootstrap.fetch_uv(root, bootstrap.python_with_pip())
    place = root / ".venv" / ".bounds" / name
    python = bootstrap.venv_python(place)
    chosen = place / "requirements.txt"
    run = {"cwd": root, "env": {**os.environ, **settings}, "check": True}
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, place], **run)
    compiled = [
        "--quiet",
        "--resolution",
        ENDS[name],
        "--group",
        "test",
        "pyproject.toml",
        "--output-file",
        chosen,
    ]
    subprocess.run([uv, "pip", "compile", "--python", python, *compiled], **run)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "--requirement", chosen], **run)
    return str(python)


def main(words: list) -> int:
    """Run the tests at each end; 0 when they pass at all of them."""
    names = [words.pop(0)] if words and words[0] in ENDS else list(ENDS)
    failed = []
    for name in names:
        print(f"--- {name} versions", flush=True)
        command = [
            environment(name),
            "-m",
            "pytest",
            "-m",
            "not slow",
            "-n",
            str(min(os.cpu_count() or 1, 4)),
            *words,
        ]
        settings = {**SETTINGS, **os.environ, "PYTHONPATH": str(bootstrap.ROOT)}
        failed += [name] * bool(subprocess.call(command, cwd=bootstrap.ROOT, env=settings))
    print(
        f"Failed with the {' and the '.join(failed)} versions." if failed else "Both ends hold.",
        file=sys.stderr,
    )
    return len(failed)


def show_help(words: list) -> None:
    """Print what this script does, in the language that is asked for."""
    sys.path.insert(0, str(bootstrap.ROOT))
    from spatial_zb.base.text import Text
    from spatial_zb.cli.options import BilingualParser, help_language

    about = Text(
        "Run the tests with the oldest and the newest versions that pyproject.toml allows.",
        "用pyproject.toml允许的最旧与最新版本分别运行测试。",
    )
    parser = BilingualParser(about, help_language(words))
    passed_on = Text(
        "lowest or highest (both without it), then arguments for pytest",
        "lowest或highest（不写则两者都试），其后为传给pytest的参数",
    )
    parser.add_argument("arguments", nargs="*", help=passed_on)
    parser.print_help()


if __name__ == "__main__":
    if bootstrap.asks_help(sys.argv[1:]):
        show_help(sys.argv[1:])
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
