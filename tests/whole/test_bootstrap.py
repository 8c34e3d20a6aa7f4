"""The set-up of ``.venv``, on small folders and without a network; uv and pip are stood in for."""

from __future__ import annotations

import ast
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
RUNNING = "{}.{}".format(*sys.version_info)


def load(name: str) -> ModuleType:
    """Import a script as a module; ``bootstrap`` is found beside it, as when the script is run."""
    spec = spec_from_file_location(name if name == "bootstrap" else f"{name}_script", SCRIPTS / f"{name}.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bootstrap = load("bootstrap")
run_script = load("run")
test_script = load("test")


class Programs:
    """Stands in for ``bootstrap.call``: remembers every command, makes the venv, answers as told."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.failing: str | None = None
        self.interrupted: str | None = None
        self.version = RUNNING

    def __call__(self, command: list, capture: bool = False, **_: object) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        self.commands.append(words)
        line = " ".join(words)
        if self.interrupted and self.interrupted in line:
            raise KeyboardInterrupt
        if self.failing and self.failing in line:
            return subprocess.CompletedProcess(words, 1, "", "Traceback ...\nNo module named that.\n")
        if "-m venv" in line:
            python = bootstrap.venv_python(Path(words[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        if "pip install" in line and "--target" in line:
            (Path(words[words.index("--target") + 1]) / f"uv-{bootstrap.UV_VERSION}.dist-info").mkdir(
                parents=True
            )
        return subprocess.CompletedProcess(words, 0, self.version + "\n" if "-c" in words else "", "")

    def count(self, phrase: str) -> int:
        """Count the commands that contain the phrase."""
        return sum(phrase in " ".join(words) for words in self.commands)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    stand_in = Programs()
    monkeypatch.setattr(bootstrap, "call", stand_in)
    return stand_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "uv.lock").write_text("version = 1\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


def make_foreign(root: Path) -> Path:
    """Lay down a ``.venv`` that something else made; return a file in it."""
    python = bootstrap.venv_python(root / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    return python


# --- the stamp -------------------------------------------------------------------------------------------


def test_second_run_starts_no_program(programs: Programs, root: Path) -> None:
    python = bootstrap.set_up("run", root)
    assert python == bootstrap.venv_python(root / ".venv")
    assert programs.count("pip sync") == 1
    programs.commands.clear()
    assert bootstrap.set_up("run", root) == python
    assert programs.commands == []


def change_lock(root: Path, _: pytest.MonkeyPatch) -> None:
    (root / "uv.lock").write_text("version = 2\n")


def change_pyproject(root: Path, _: pytest.MonkeyPatch) -> None:
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")


def change_python(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version", "3.99.0 (another build)")


def change_uv(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "UV_VERSION", "99.0")


def lose_python(root: Path, _: pytest.MonkeyPatch) -> None:
    bootstrap.venv_python(root / ".venv").unlink()


@pytest.mark.parametrize("change", [change_lock, change_pyproject, change_python, change_uv, lose_python])
def test_a_change_does_the_set_up_again(
    change, programs: Programs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.set_up("run", root)
    assert bootstrap.is_ready("run", root)
    change(root, monkeypatch)
    assert not bootstrap.is_ready("run", root)
    bootstrap.set_up("run", root)
    assert bootstrap.is_ready("run", root)
    assert programs.count("pip sync") == 2


def test_the_test_set_serves_run_and_not_the_other_way(programs: Programs, root: Path) -> None:
    bootstrap.set_up("run", root)
    assert not bootstrap.is_ready("test", root)
    assert programs.count("--group=test") == 0
    bootstrap.set_up("test", root)
    assert programs.count("--group=test") == 1
    assert bootstrap.is_ready("run", root)
    assert programs.count("--target") == 1, "uv is fetched once"


@pytest.mark.parametrize("moment", ["-m venv", "--target", "export", "pip sync"])
def test_interrupted_set_up_leaves_no_stamp_and_is_taken_up_again(
    moment: str, programs: Programs, root: Path
) -> None:
    programs.interrupted = moment
    with pytest.raises(KeyboardInterrupt):
        bootstrap.set_up("run", root)
    assert not bootstrap.is_ready("run", root)
    programs.interrupted = None
    bootstrap.set_up("run", root)
    assert bootstrap.is_ready("run", root)


def test_failed_change_takes_the_old_stamps_away(programs: Programs, root: Path) -> None:
    bootstrap.set_up("test", root)
    before = (root / "uv.lock").read_text()
    change_lock(root, None)
    programs.failing = "pip sync"
    with pytest.raises(bootstrap.SetUpError):
        bootstrap.set_up("run", root)
    (root / "uv.lock").write_text(before)
    assert not bootstrap.is_ready("test", root), "half of another lock may be installed"


def test_lock_that_changes_during_the_installation_is_seen(
    programs: Programs, root: Path, monkeypatch
) -> None:
    def install(name: str, root: Path, exact: bool) -> None:
        change_lock(root, None)

    monkeypatch.setattr(bootstrap, "install", install)
    bootstrap.set_up("run", root)
    assert not bootstrap.is_ready("run", root)


# --- whose .venv it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["python", "root"])
def test_our_venv_of_another_python_or_place_is_made_anew(
    key: str, programs: Programs, root: Path, capsys
) -> None:
    bootstrap.set_up("run", root)
    old = root / ".venv" / "old"
    old.touch()
    made = bootstrap.state(root) / "made.json"
    made.write_text(json.dumps({**json.loads(made.read_text()), key: "other"}))
    bootstrap.stamps(root)["run"].unlink()
    bootstrap.set_up("run", root)
    assert not old.exists()
    assert "made anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "said"), [("3.9", "belongs to Python 3.9"), (None, "no Python that works")]
)
def test_foreign_venv_that_does_not_fit_is_left_alone(
    version: str | None, said: str, programs: Programs, root: Path
) -> None:
    python = make_foreign(root)
    programs.version = version
    programs.failing = None if version else "-c"
    with pytest.raises(bootstrap.SetUpError, match=said) as caught:
        bootstrap.set_up("run", root)
    assert "Rename or remove it" in str(caught.value)
    assert sorted(path for path in (root / ".venv").rglob("*") if path.is_file()) == [python]


def test_foreign_venv_that_fits_is_used_and_not_emptied(programs: Programs, root: Path) -> None:
    make_foreign(root)
    bootstrap.set_up("run", root)
    assert programs.count("-m venv") == 0
    assert programs.count("pip sync") == 0
    assert programs.count("pip install --requirements") == 1
    assert bootstrap.is_ready("run", root)


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ("-m venv", ["No module named that.", "python3-venv"]),
        ("-m pip --version", ["has no pip", "python3-pip", "ensurepip"]),
        ("--target", ["uv ", "registry cannot be reached", "PIP_INDEX_URL"]),
        ("export", ["uv.lock", "git checkout uv.lock"]),
        ("pip sync", ["packages cannot be installed", "registry cannot be reached", "PIP_INDEX_URL"]),
    ],
    ids=["no-venv", "no-pip", "no-uv", "bad-lock", "no-registry"],
)
def test_refusal_names_the_reason_and_the_remedy(
    failing: str, words: list[str], programs: Programs, root: Path
) -> None:
    programs.failing = failing
    with pytest.raises(bootstrap.SetUpError) as caught:
        bootstrap.set_up("run", root)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
    assert "again" in message
    assert not bootstrap.is_ready("run", root)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x/.venv.lock"), "may not write /x/.venv.lock"),
        (OSError(errno.EROFS, "Read-only file system", "/x/.venv"), "may not write /x/.venv"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/.venv"), "is full"),
        (OSError(errno.EIO, "Input/output error", "/x/.venv"), "stopped at /x/.venv: Input/output error"),
    ],
    ids=["permission", "read-only", "full", "other"],
)
def test_trouble_with_files_is_a_refusal(error: OSError, words: str, root: Path, monkeypatch) -> None:
    def refuse(_: Path) -> None:
        raise error

    monkeypatch.setattr(bootstrap, "exclusive", refuse)
    with pytest.raises(bootstrap.SetUpError, match=words):
        bootstrap.set_up("run", root)


def test_lost_lock_file_is_a_refusal(programs: Programs, root: Path) -> None:
    bootstrap.set_up("run", root)
    (root / "uv.lock").unlink()
    with pytest.raises(bootstrap.SetUpError, match=r"uv\.lock"):
        bootstrap.set_up("run", root)


def test_ready_set_up_needs_no_right_to_write(programs: Programs, root: Path, monkeypatch) -> None:
    bootstrap.set_up("run", root)
    monkeypatch.setattr(bootstrap, "exclusive", None)
    bootstrap.set_up("run", root)


@pytest.mark.parametrize(
    ("error", "code"), [(bootstrap.SetUpError("Too bad. " * 30), None), (KeyboardInterrupt(), 130)]
)
def test_ready_leaves_the_program_without_a_traceback(
    error: BaseException, code, root: Path, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(bootstrap, "set_up", fail)
    with pytest.raises(SystemExit) as caught:
        bootstrap.ready("run", root)
    assert caught.value.code == code or caught.value.code.startswith("\nToo bad.")


@pytest.mark.parametrize("name", ["bootstrap", "run", "test"])
def test_scripts_can_be_read_by_an_old_python(name: str) -> None:
    ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_old_python_is_told_before_anything_else() -> None:
    code = (
        f"import sys; sys.version_info = (3, 9, 1, 'final', 0); sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "import bootstrap"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer and this is Python 3.9" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "words"), [("venv", "cannot make a virtual environment"), ("pip", "has no pip")]
)
def test_missing_module_of_a_real_python(module: str, words: str, root: Path) -> None:
    shutil.copytree(SCRIPTS, root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shim = root / "shim"
    shim.mkdir()
    (shim / f"{module}.py").write_text(f"raise ModuleNotFoundError('No module named {module}')")
    done = subprocess.run(
        [sys.executable, root / "scripts" / "run.py"],
        env={**os.environ, "PYTHONPATH": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


# --- two at once -----------------------------------------------------------------------------------------


def test_lock_is_held_by_one(root: Path) -> None:
    with (root / "a").open("a") as one, (root / "a").open("a") as two:
        assert bootstrap.lock(one)
        assert not bootstrap.lock(two)
        one.close()
        assert bootstrap.lock(two)


def test_the_second_set_up_waits_and_finds_the_work_done(programs: Programs, root: Path, monkeypatch) -> None:
    waiting = threading.Event()
    monkeypatch.setattr(bootstrap.time, "sleep", lambda _: waiting.set())
    with bootstrap.exclusive(root):
        second = threading.Thread(target=bootstrap.set_up, args=("run", root))
        second.start()
        assert waiting.wait(10)
        assert programs.commands == []
        bootstrap.make_ready("run", root)
        programs.commands.clear()
    second.join(10)
    assert not second.is_alive()
    assert programs.commands == []


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("global.index-url='https://m/simple'\n", {"index-url": "https://m/simple"}),
        ("install.index-url='b'\nglobal.index-url='a'\n", {"index-url": "b"}),
        (":env:.index-url='c'\ninstall.index-url='b'\n", {"index-url": "c"}),
        (":env:.default-timeout='180'\n", {"default-timeout": "180", "timeout": "180"}),
        ("global.find-links='\\n/a\\n/b'\ndownload.x='1'\nnoise\n", {"find-links": "\n/a\n/b"}),
    ],
    ids=["file", "install-over-global", "environment-over-file", "timeout", "many-lines"],
)
def test_settings_of_pip_are_read(listing: str, expected: dict[str, str], monkeypatch) -> None:
    monkeypatch.setattr(
        bootstrap, "call", lambda *_, **__: subprocess.CompletedProcess([], 0, listing, "a warning\n")
    )
    assert bootstrap.pip_settings("python") == expected


def test_settings_of_pip_are_said_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*bootstrap.PIP_TO_UV.values(), "UV_INDEX_URL", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    settings = {"index-url": "https://m/simple", "extra-index-url": "\nu1\nu2"}
    environment = bootstrap.uv_environment(settings)
    assert environment["UV_DEFAULT_INDEX"] == "https://m/simple"
    assert environment["UV_INDEX"] == "u1 u2"
    assert environment["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environment["UV_PYTHON_DOWNLOADS"] == "never"
    assert "VIRTUAL_ENV" not in environment


def test_folders_with_packages_are_said_to_uv_when_they_exist(root: Path, monkeypatch) -> None:
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("USERPROFILE", str(root))
    monkeypatch.chdir(root)
    for name in ("here", "home"):
        (root / name).mkdir()
    links = "here\nhttps://m/links /not/there ~/home"
    environment = bootstrap.uv_environment({"find-links": links})
    assert environment["UV_FIND_LINKS"] == f"{root / 'here'},https://m/links,{root / 'home'}"
    assert "UV_FIND_LINKS" not in bootstrap.uv_environment({"find-links": "/not/there"})


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_a_setting_made_for_uv_wins(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "https://mine/simple")
    assert (
        bootstrap.uv_environment({"index-url": "https://m/simple"})["UV_DEFAULT_INDEX"]
        == "https://mine/simple"
    )


@pytest.mark.parametrize(("windows", "tail"), [(True, "Scripts/python.exe"), (False, "bin/python")])
def test_place_of_the_python(windows: bool, tail: str) -> None:
    assert bootstrap.venv_python(Path("v"), windows).as_posix() == f"v/{tail}"


# --- arguments -------------------------------------------------------------------------------------------

DEFAULT = str(run_script.DEFAULT_STUDY)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [DEFAULT]),
        (["--quiet"], [DEFAULT, "--quiet"]),
        (["--help"], [DEFAULT, "--help"]),
        (["studies/x.toml", "--quiet"], ["studies/x.toml", "--quiet"]),
        (["--quiet", "X.TOML"], ["--quiet", "X.TOML"]),
        (["--out", "a b", "x.toml"], ["--out", "a b", "x.toml"]),
        (["studies/misspelt"], ["studies/misspelt"]),
    ],
)
def test_run_passes_its_words_on(words: list[str], expected: list[str]) -> None:
    assert run_script.arguments_for(words) == ["-m", "spatial_zb", "run", *expected]


def test_default_study_lies_in_the_project() -> None:
    assert run_script.DEFAULT_STUDY.relative_to(SCRIPTS.parent).as_posix() == "studies/bay_area.toml"


def test_test_runs_all_four_checks_and_passes_its_words_on() -> None:
    checks = test_script.checks(Path("python"), ["-m", "slow", "-k", "moran"])
    assert list(checks) == ["ruff check", "ruff format", "mypy", "pytest"]
    assert checks["pytest"][:5] == ["python", "-m", "pytest", "-m", "not slow"]
    assert checks["pytest"][-4:] == ["-m", "slow", "-k", "moran"]


@pytest.mark.parametrize(
    ("codes", "expected", "said"),
    [((0, 0, 0), 0, ""), ((0, 0, 2), 2, "Failed: c\n"), ((3, 0, 1), 3, "Failed: a, c\n")],
)
def test_every_check_runs_and_the_first_failure_is_the_exit_code(
    codes: tuple[int, ...], expected: int, said: str, tmp_path: Path, capsys
) -> None:
    commands = {
        name: [sys.executable, "-c", f"open({name!r}, 'w'); raise SystemExit({code})"]
        for name, code in zip("abc", codes, strict=True)
    }
    assert test_script.run(commands, tmp_path) == expected
    assert capsys.readouterr().err == said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_ci_calls_the_command_of_the_readme() -> None:
    lines = (SCRIPTS.parent / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec python3 scripts/test.py"
    assert "set -euo pipefail" in lines
