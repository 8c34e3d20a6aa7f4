"""Make ``.venv`` hold exactly what ``uv.lock`` says; shared by ``run.py`` and ``test.py``.

Standard library only. It runs on Python 3.11 or newer and stays *readable* for much older ones, so that an
old Python gets a sentence and not a syntax error.

The set-up, in order: a virtual environment without pip (``python -m venv --without-pip`` works where the
system has no ensurepip), uv of a fixed version beside it (by the pip of the running Python, into a folder of
its own), the lock exported to requirements with hashes, and these installed by uv. The export is what lets a
mirror work: a lock file records the addresses it was made from, requirements name only versions and hashes.

Everything the set-up knows lies in ``.venv/.setup``: ``made.json`` (this script made the folder, by which
Python, where), one stamp per set of packages, and uv.
"""

import ast
import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this is where an older Python is told so
    sys.exit(
        "spatial_zb needs Python 3.11 or newer and this is Python {}.{} ({}). Run the same command with a "
        "newer one, for example: python3.11 scripts/run.py".format(*sys.version_info[:2], sys.executable)
    )

ROOT = Path(__file__).resolve().parent.parent
UV_VERSION = "0.13.9"
GROUPS = {"run": (), "test": ("test",)}
"""Dependency groups of each set of packages, beside the dependencies of the package itself and of :data:`EXTRAS`."""
EXTRAS = ("crosscheck",)
"""Extras of the package that both commands install: what a study may ask for without another command."""
SERVES = {"run": ("run",), "test": ("test", "run")}
"""The sets that are complete once the named one is installed."""
WINDOWS = os.name == "nt"

# Settings of the surrounding shell that would make uv or a build look at another Python.
FOREIGN_SETTINGS = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONHOME",
    "PYTHONPATH",
    "UV_PYTHON",
)

# What pip is told, and how uv is told the same. A setting the user made for uv itself is left alone.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
}


class SetUpError(Exception):
    """The set-up cannot go on; the message says why and what to do."""


def ready(name: str, root: Path = ROOT) -> Path:
    """Return the Python of a ``.venv`` that holds the set `name`; leave the program with a message if not."""
    try:
        return set_up(name, root)
    except SetUpError as error:
        sys.exit("\n" + textwrap.fill(str(error), 100, break_long_words=False, break_on_hyphens=False))
    except KeyboardInterrupt:
        print("\nThe set-up was interrupted. The same command starts it again.", file=sys.stderr)
        sys.exit(130)


def set_up(name: str, root: Path) -> Path:
    """Install the set `name` into ``.venv`` unless it is there already.

    Parameters
    ----------
    name : {"run", "test"}
        The set of packages.
    root : Path
        The folder of the project.

    Returns
    -------
    Path
        The Python of the virtual environment.

    Raises
    ------
    SetUpError
        With the reason and the remedy.
    """
    try:
        if not is_ready(name, root):
            with exclusive(root):
                # Whoever held the lock before may have done the work.
                if not is_ready(name, root):
                    make_ready(name, root)
    except OSError as error:
        raise SetUpError(file_trouble(error, root)) from error
    return venv_python(root / ".venv")


def make_ready(name: str, root: Path) -> None:
    """Do the whole set-up; the stamps go first and come back last, so an interrupted one leaves none."""
    started = time.monotonic()
    # Of the lock as it is now: one that changes during the installation is then seen by the next run.
    fingerprints = {served: fingerprint(served, root) for served in SERVES[name]}
    say("Setting up .venv (once, about a minute) ...")
    ours = prepare_venv(root)
    for path in stamps(root).values():
        path.unlink(missing_ok=True)
    install(name, root, exact=ours)
    for served, value in fingerprints.items():
        stamps(root)[served].write_text(value, encoding="utf-8")
    say(f".venv is ready ({time.monotonic() - started:.0f} s).")


# --- what is there ---------------------------------------------------------------------------------------


def venv_python(venv: Path, windows: bool = WINDOWS) -> Path:
    """Return where the Python of a virtual environment lies."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def state(root: Path) -> Path:
    """Return the folder of what the set-up knows."""
    return root / ".venv" / ".setup"


def stamps(root: Path) -> dict:
    """Return the stamp file of each set."""
    return {name: state(root) / f"{name}.stamp" for name in GROUPS}


def is_ready(name: str, root: Path) -> bool:
    """Tell whether the stamp of the set is that of today's lock, pyproject and Python."""
    try:
        stamp = stamps(root)[name].read_text(encoding="utf-8")
    except OSError:
        return False
    return venv_python(root / ".venv").exists() and stamp == fingerprint(name, root)


def fingerprint(name: str, root: Path) -> str:
    """Return the digest of everything that decides what ``.venv`` holds for this set."""
    digest = hashlib.sha256()
    for part in (name, *GROUPS[name], *EXTRAS, UV_VERSION, sys.version, str(root)):
        digest.update(part.encode() + b"\0")
    for file in ("uv.lock", "pyproject.toml"):
        digest.update(hashlib.sha256((root / file).read_bytes()).digest())
    return digest.hexdigest()


def maker(root: Path) -> dict:
    """Return what ``made.json`` says when this Python makes ``.venv`` here; a moved folder must be remade."""
    return {"python": "{}.{}".format(*sys.version_info), "root": str(root)}


def made_by(root: Path) -> "dict | None":
    """Return what ``made.json`` says, or None when this script did not make ``.venv``."""
    try:
        return json.loads((state(root) / "made.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def python_version(python: Path) -> "str | None":
    """Return ``"3.11"`` for a Python that runs, None for one that does not."""
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    done = call([python, "-c", code], capture=True)
    return done.stdout.strip() if done.returncode == 0 else None


# --- the virtual environment -----------------------------------------------------------------------------


def prepare_venv(root: Path) -> bool:
    """Leave a working ``.venv`` of this Python; return whether it is ours to empty.

    One that somebody else made is used when its Python fits (nothing in it is removed) and refused when not.
    """
    venv, made = root / ".venv", made_by(root)
    if made is None and venv.exists():
        return check_foreign(venv)
    if made is not None and (made != maker(root) or python_version(venv_python(venv)) != made["python"]):
        say(f"The .venv of Python {made.get('python', '?')} in {made.get('root', '?')} is made anew.")
        shutil.rmtree(venv)
    if not venv_python(venv).exists():
        create_venv(root)
    return True


def check_foreign(venv: Path) -> bool:
    """Refuse a ``.venv`` that this script did not make and whose Python is another one."""
    found, wanted = python_version(venv_python(venv)), "{}.{}".format(*sys.version_info)
    if found != wanted:
        belongs = f"belongs to Python {found}" if found else "has no Python that works"
        other = f", or run the command with Python {found}" if found else ""
        raise SetUpError(
            f"The folder {venv} {belongs}, this is Python {wanted}, and the folder was made by something "
            f"else, so it is left as it is. Rename or remove it and run the same command again{other}."
        )
    say("Using the .venv that is already here; nothing in it is removed.")
    state(venv.parent).mkdir(exist_ok=True)
    return False


def create_venv(root: Path) -> None:
    """Make ``.venv``; the mark that it is ours goes in first, so a half-made one is ours as well."""
    state(root).mkdir(parents=True, exist_ok=True)
    (state(root) / "made.json").write_text(json.dumps(maker(root)), encoding="utf-8")
    done = call([base_python(), "-m", "venv", "--without-pip", root / ".venv"], capture=True)
    if done.returncode != 0:
        shutil.rmtree(root / ".venv", ignore_errors=True)
        raise SetUpError(
            f"This Python ({base_python()}) cannot make a virtual environment: {last_line(done)}. Its venv "
            "module is missing or broken: install it (on Debian and Ubuntu: sudo apt install "
            "python3-venv) or use another Python, then run the same command again."
        )


def base_python() -> str:
    """Return the Python under the running one, which may itself live in a virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


# --- the packages ----------------------------------------------------------------------------------------


def install(name: str, root: Path, exact: bool) -> None:
    """Install the set `name` from the lock, and the package itself as editable.

    With `exact` whatever the lock does not name is removed. The build tools come from the lock too.
    """
    pip = python_with_pip()
    environment = uv_environment(pip_settings(pip))
    uv = fetch_uv(root, pip)
    wanted, build = state(root) / "requirements.txt", state(root) / "build.txt"
    groups = [f"--group={group}" for group in GROUPS[name]] + [f"--extra={extra}" for extra in EXTRAS]
    export_lock(uv, root, wanted, groups, environment)
    export_lock(uv, root, build, ["--only-group=build"], environment)
    say("Installing the packages of uv.lock ...")
    action = ["sync"] if exact else ["install", "--requirements"]
    python = ["--python", venv_python(root / ".venv"), "--build-constraints", build]
    # On a terminal uv draws its progress; in a log only what goes wrong is of use.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    if call([uv, "pip", *action, wanted, *python, *quiet], cwd=root, env=environment).returncode != 0:
        raise SetUpError(install_trouble("The packages cannot be installed"))


def export_lock(uv: Path, root: Path, target: Path, which: list, environment: dict) -> None:
    """Write the part of ``uv.lock`` that `which` names as requirements with hashes."""
    options = ["--frozen", "--no-default-groups", "--no-header", "--no-annotate", "--quiet"]
    done = call([uv, "export", *options, *which, "--output-file", target], cwd=root, env=environment)
    if done.returncode != 0:
        raise SetUpError(
            f"{root / 'uv.lock'} could not be read; uv's reason is above. Restore the file from the "
            "repository (git checkout uv.lock) or make it anew (uv lock), then run the same command "
            "again."
        )


def fetch_uv(root: Path, pip: str) -> Path:
    """Return the uv of the fixed version, installed into a folder of its own the first time."""
    home = state(root) / "uv"
    if not (home / f"uv-{UV_VERSION}.dist-info").exists():
        say(f"Fetching uv {UV_VERSION} ...")
        part = state(root) / "uv.part"
        for folder in (home, part):
            shutil.rmtree(folder, ignore_errors=True)
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--target", part]
        command = [pip, "-m", "pip", "install", *options, f"uv=={UV_VERSION}"]
        done = call(command, capture=True, env=pip_environment())
        if done.returncode != 0:
            print(*(done.stdout + done.stderr).splitlines()[-3:], sep="\n", file=sys.stderr)
            raise SetUpError(
                install_trouble(f"uv {UV_VERSION}, which installs the packages, cannot be fetched")
            )
        part.rename(home)
    places = [home / folder / f"uv{end}" for folder in ("bin", "Scripts") for end in ("", ".exe")]
    return next((place for place in places if place.is_file()), places[0])


def python_with_pip() -> str:
    """Return the first of the running Python and the one under it that has pip."""
    pythons = list(dict.fromkeys([sys.executable, base_python()]))
    for python in pythons:
        if call([python, "-m", "pip", "--version"], capture=True).returncode == 0:
            return python
    raise SetUpError(
        f"This Python ({pythons[-1]}) has no pip, which fetches the packages. Install it (on Debian and "
        f"Ubuntu: sudo apt install python3-pip; elsewhere: {pythons[-1]} -m ensurepip --user) and run the "
        "same command again."
    )


def pip_environment() -> dict:
    """Return the surrounding settings less those of pip that forbid installing into a given folder."""
    ours = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_ROOT_USER_ACTION": "ignore"}
    return {**os.environ, **ours, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def pip_settings(python: str) -> dict:
    """Return the user's settings of pip, such as a mirror: from its files, then from the environment."""
    done = call([python, "-m", "pip", "config", "list"], capture=True, env=pip_environment())
    found = {"global": {}, "install": {}, ":env:": {}}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            with contextlib.suppress(ValueError, SyntaxError):
                found[section][name.replace("_", "-")] = str(ast.literal_eval(value))
    settings = {**found["global"], **found["install"], **found[":env:"]}
    if "default-timeout" in settings:
        settings.setdefault("timeout", settings["default-timeout"])
    return settings


def uv_environment(settings: dict) -> dict:
    """Return the environment for uv: the surrounding one, and pip's `settings` said in uv's names."""
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN_SETTINGS}
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    if "UV_INDEX_URL" in environment:  # uv's older name for its index, also the user's word
        environment.setdefault("UV_DEFAULT_INDEX", environment["UV_INDEX_URL"])
    for name, variable in PIP_TO_UV.items():
        values = settings.get(name, "").split()
        if name == "find-links":
            values = [",".join(filter(None, map(link_for_uv, values)))]
        if any(values):
            environment.setdefault(variable, " ".join(values))
    if "extra-index-url" in settings:
        # As pip does: a version may lie in either index. The hashes of the lock say which file is right.
        environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment


def link_for_uv(link: str) -> str:
    """Return a place with packages as uv takes it; "" for a missing folder, which pip passes over."""
    if "://" in link:
        return link
    folder = Path(link).expanduser().resolve()
    return str(folder) if folder.exists() else ""


# --- words, files, programs ------------------------------------------------------------------------------


def install_trouble(what: str) -> str:
    """Return the message for an installation that failed."""
    return (
        f"{what}; the program's own words are above. As a rule the package registry cannot be reached from "
        "here: check the network and the proxy (HTTPS_PROXY), or name a mirror near you, with "
        "PIP_INDEX_URL=https://your.mirror/simple in front of the command or with 'index-url' in pip's "
        "settings. Then run the same command again; what has been fetched is not fetched twice."
    )


def file_trouble(error: OSError, root: Path) -> str:
    """Return the message for a file that could not be written or read."""
    place = error.filename or root
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return (
            f"The set-up may not write {place} ({error.strerror}). It makes the folder .venv inside "
            f"{root}: copy or clone the project into a folder of yours, or close the programs that use its "
            ".venv, and run the same command again."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk of {root} is full; the set-up needs about 1 GB. Make room and run this again."
    return f"The set-up stopped at {place}: {error.strerror or error}. Put that right and run this again."


@contextlib.contextmanager
def exclusive(root: Path):
    """Hold the set-up of this folder for one program at a time; the lock ends with its holder."""
    with open(root / ".venv.lock", "a", encoding="utf-8") as file:
        if not lock(file):
            say("Another set-up is at work in this folder; waiting for it ...")
            while not lock(file):
                time.sleep(0.5)
        yield


def lock(file) -> bool:
    """Try to lock an open file; False when another holds it."""
    if WINDOWS:
        import msvcrt

        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: two set-ups at once are then the user's to avoid
        return True
    return True


def call(command: list, capture: bool = False, **options) -> "subprocess.CompletedProcess[str]":
    """Run a program and wait; one that cannot be started counts as one that failed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if capture else {}
    words = [str(word) for word in command]
    try:
        return subprocess.run(words, check=False, text=True, errors="replace", **pipes, **options)
    except OSError as error:
        if not capture:
            print(error, file=sys.stderr)
        return subprocess.CompletedProcess(words, 127, "", str(error))


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the last line a program said, without its full stop."""
    lines = (done.stdout + done.stderr).strip().splitlines() or [f"it ended with code {done.returncode}"]
    return lines[-1].strip().rstrip(".")


def asks_help(words: list) -> bool:
    """Say whether a call asks for help, which needs no set-up."""
    return bool({"-h", "--help"} & set(words))


def become(python: Path, arguments: list) -> int:
    """Go on as `python` with `arguments`; on Windows, where a program cannot be replaced, wait for it."""
    command = [str(python), *arguments]
    sys.stdout.flush()
    if not WINDOWS:
        os.execv(command[0], command)
    return subprocess.call(command)


def say(line: str) -> None:
    """Print a line of progress at once; the standard output is the study's."""
    print(line, file=sys.stderr, flush=True)
