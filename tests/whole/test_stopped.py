"""A run that is killed or stopped at any moment leaves earlier or new results, says which, and the next one is right.

``python -m pytest -m slow tests/whole/test_stopped.py`` stops 400 runs: 200 by kill -9 and 200 by Ctrl-C, of each a
quarter while results are being published. Some minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from small_study import TEXT, command, rows, write_study, write_table

from spatial_zb import cli
from spatial_zb.base.errors import DataError
from spatial_zb.cli import DONE, STOPPED
from spatial_zb.report.folder import JOURNAL, Published, locked

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes are started by a fork server")

#: What a run does first, so that each of 800 runs need not import it.
IMPORTED = ["spatial_zb.cli", "spatial_zb.pipeline.running", "geopandas", "matplotlib.pyplot", "pyarrow"]
#: Seconds that the disk of a run takes for each file it moves, so that publishing lasts long enough to be hit.
PAUSE = 0.004
#: No page, figures and maps, which take most of the time of a run and are published like tables.
LIGHT = TEXT.replace('figures = ["svg"]', "report = false").replace('[moran]\nvariables = ["ly"]\n', "")


class Bench:
    """A study whose data have two versions with known results, and runs of it that can be stopped."""

    def __init__(self, home: Path) -> None:
        self.home, self.said = home, home.parent / "said"
        self.results = home / "results" / "tiny"
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(IMPORTED)
        self.data = [rows(0), rows(5)]
        write_study(home, LIGHT)
        took, made = [], []
        for version in (1, 0, 1, 0):
            self.use(version)
            begun = time.perf_counter()
            assert self.run() == 0, self.words()
            took.append(time.perf_counter() - begun)
            made.append(self.contents())
        self.seconds = min(took)
        self.whole = made[::-1][:2]
        assert made[:2] == made[2:]
        assert made[0] != made[1]

    def use(self, version: int) -> None:
        write_table(self.home / "data/a.csv", self.data[version])

    def start(self, pause: float = 0.0) -> Any:
        """A run of the study, begun."""
        ready = self.context.Event()
        given = (str(self.home), ["run", "studies/tiny.toml"], str(self.said), ready, pause)
        process = self.context.Process(target=command, args=given)
        process.start()
        assert ready.wait(60)
        return process

    def run(self) -> int:
        process = self.start()
        process.join(120)
        return process.exitcode

    def words(self) -> str:
        return self.said.read_text("utf-8")

    def contents(self) -> dict[str, str]:
        """Checksums of the results; the manifest has times in it and the page those of the manifest."""
        files = [path for path in self.results.rglob("*") if path.is_file()]
        names = {path: path.relative_to(self.results).as_posix() for path in files}
        return {
            name: sha256(path.read_bytes()).hexdigest()
            for path, name in names.items()
            if not name.startswith(".") and name not in ("manifest.json", "report.html")
        }

    def version(self) -> int | None:
        """Which version the results are, whole; None of a mixture."""
        found = self.contents()
        return self.whole.index(found) if found in self.whole else None


def stop(bench: Bench, number: int, rng: random.Random, publishing: bool) -> tuple[str, bool]:
    """Stop a run of the other version at a random moment; what came of it, and whether it was being published."""
    old = bench.version()
    assert old is not None
    bench.use(1 - old)
    process = bench.start(PAUSE)
    begun = time.perf_counter()
    if publishing:
        while process.is_alive() and not (bench.results / JOURNAL).exists():
            time.sleep(PAUSE / 4)
        time.sleep(rng.uniform(0, PAUSE * len(bench.whole[old])))
    else:
        process.join(rng.uniform(0, bench.seconds))
    during = (bench.results / JOURNAL).exists()
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
    process.join(60)
    assert not process.is_alive(), f"hangs after {time.perf_counter() - begun:.1f} s"
    said, code = bench.words(), process.exitcode
    assert "Traceback" not in said, said
    if number == signal.SIGKILL:
        with locked(bench.results):
            pass
        now = bench.version()
    else:
        now = bench.version()
        told = {STOPPED.en: old, DONE.en: 1 - old, Published.said.en: 1 - old}
        right = [version for words, version in told.items() if words in said]
        assert code in (0, 130), (code, said)
        assert right == ([now] if code == 130 else []), (said, now, old)
        assert code == 130 or now == 1 - old
    assert now is not None, "results are neither the earlier nor the new ones"
    left = [path.name for path in bench.results.glob(".b*")]
    assert number == signal.SIGKILL or not left
    assert bench.run() == 0, bench.words()
    assert bench.version() == 1 - old, "the next run is wrong"
    assert not [path.name for path in bench.results.glob(".*")]
    return ("new" if now != old else "earlier"), during


def campaign(bench: Bench, number: int, times: int, publishing: int) -> Counter:
    """Stop ``times`` runs, of which ``publishing`` while they publish."""
    rng, counts = random.Random(number), Counter()
    for attempt in range(20 * times):
        left = publishing - counts["publishing"]
        if counts["stopped"] == times:
            break
        if left == times - counts["stopped"] or (left > 0 and attempt % 3 == 0):
            came, during = stop(bench, number, rng, True)
            if not during:  # the moment was missed
                counts["missed"] += 1
                continue
        else:
            came, during = stop(bench, number, rng, False)
        counts["stopped"] += 1
        counts["publishing"] += during
        counts[came] += 1
    return counts


@pytest.mark.parametrize("kind", [RuntimeError, DataError], ids=["python", "reader"])
def test_a_stop_that_was_wrapped_is_told_as_a_stop(monkeypatch, capsys, kind):
    """Python wraps Ctrl-C that comes while a class is being made; a reader may take it for a damaged file."""

    def interrupted(options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            raise kind("damaged") from stop

    monkeypatch.setitem(cli._OTHERS, "check", interrupted)
    assert cli.main(["check", "a.toml"]) == 130
    assert STOPPED.en in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_stopped_at_any_moment(tmp_path, number):
    counts = campaign(Bench(tmp_path / "home"), number, 200, 50)
    sys.stdout.write(f"{dict(counts)}\n")
    assert counts["stopped"] == 200
    assert counts["publishing"] >= 50
    assert counts["earlier"] > 50
