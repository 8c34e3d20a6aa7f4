"""The results folder: one run at a time, the earlier results or the new ones, and nothing outside it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import warnings
from hashlib import sha256
from pathlib import Path

import pytest

from spatial_zb.base.errors import OutputError, SpatialZbWarning
from spatial_zb.report import folder as output

OLD = {"tables/a.csv": "old a", "tables/gone.csv": "old gone", "figures/f.svg": "old f"}
NEW = {"tables/a.csv": "new a", "tables/zh/b.csv": "new b", "figures/f.svg": "new f"}
OUTSIDE = ("/etc/passwd", "../x", "a/../../x", "", ".", "C:/x", "\\\\host\\x", "//host/x", "a\0b")


class Killed(BaseException):
    """What takes a process away without asking it."""


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def contents(folder: Path) -> dict[str, str]:
    """Every file but the manifest and what is hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != output.MANIFEST
    }


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def records(files: dict[str, str]) -> list[dict]:
    return [{"path": name, "sha256": digest(text), "stage": "models"} for name, text in files.items()]


def published(folder: Path, stage: Path) -> list[Path]:
    """Publish NEW over OLD."""
    write(stage, NEW)
    stale = [record for record in records(OLD) if record["path"] not in NEW]
    return output.publish(stage, folder, {"outputs": records(NEW)}, stale)


@pytest.fixture
def folder(tmp_path):
    place = write(tmp_path / "results", OLD)
    manifest = {"complete": True, "outputs": records(OLD)}
    (place / output.MANIFEST).write_text(json.dumps(manifest))
    return place


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_outside_is_refused(tmp_path, path):
    with pytest.raises(OutputError):
        output.inside(tmp_path, path)


def test_a_link_that_leads_outside_is_refused(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tables").symlink_to(tmp_path)
    with pytest.raises(OutputError):
        output.inside(tmp_path / "results", "tables/x.csv")


def test_new_files_replace_old_ones_and_strangers_stay(folder, tmp_path):
    write(folder, {"tables/mine.txt": "mine"})
    published(folder, tmp_path / "stage")
    assert contents(folder) == {**NEW, "tables/mine.txt": "mine"}
    assert output.read_manifest(folder)["complete"]


def test_a_file_that_was_edited_stays_and_is_said(folder, tmp_path):
    (folder / "tables/gone.csv").write_text("edited")
    with pytest.warns(SpatialZbWarning, match=r"tables/gone\.csv"):
        published(folder, tmp_path / "stage")
    assert contents(folder)["tables/gone.csv"] == "edited"


@pytest.mark.parametrize("name", ["../victim", "tables/../../victim"])
def test_a_manifest_removes_nothing_outside(folder, tmp_path, name):
    victim = write(tmp_path, {"victim": "keep"}) / "victim"
    planted = [{"path": path, "sha256": digest("keep"), "stage": "models"} for path in (name, str(victim))]
    with pytest.warns(SpatialZbWarning, match="victim"):
        output.publish(write(tmp_path / "stage", NEW), folder, {}, planted)
    assert victim.read_text() == "keep"


def test_a_planted_journal_moves_and_removes_nothing_outside(folder, tmp_path):
    victim = write(tmp_path, {"victim": "keep"}) / "victim"
    write(folder, {".before-x1/stolen": "s", "mine.txt": "mine"})
    made = {"../victim": digest("keep"), str(victim): digest("keep"), "mine.txt": "0" * 64}
    (folder / output.JOURNAL).write_text(json.dumps({"before": ".before-x1", "made": made, "manifest": "0"}))
    with output.locked(folder):
        assert victim.read_text() == "keep"
    assert contents(folder)["mine.txt"] == "mine"
    (folder / output.JOURNAL).write_text(json.dumps({"before": "../..", "made": {}, "manifest": "0"}))
    with output.locked(folder):
        assert not (folder / output.JOURNAL).exists()


def test_a_planted_link_is_not_followed(folder, tmp_path):
    outside = write(tmp_path / "outside", {"victim": "keep"})
    (folder / output.LOCK).symlink_to(outside / "victim")
    with pytest.raises(OutputError, match="is a link"), output.locked(folder):
        pass
    (folder / output.LOCK).unlink()
    (folder / ".before-x1").symlink_to(outside)
    journal = {"before": ".before-x1", "made": {}, "manifest": "0"}
    (folder / output.JOURNAL).write_text(json.dumps(journal))
    with output.locked(folder):
        assert not (folder / "victim").exists()
    assert (outside / "victim").read_text() == "keep"


def test_a_manifest_that_a_killed_run_half_wrote_is_removed(folder):
    write(folder, {".part-0123456789ab.json": "{", ".part-of-mine.txt": "mine"})
    with output.locked(folder):
        assert not (folder / ".part-0123456789ab.json").exists()
        assert (folder / ".part-of-mine.txt").read_text() == "mine"


def calls_of_publishing(folder: Path, stage: Path, monkeypatch, at: int, mended: bool) -> bool:
    """Publish and die at the call number ``at`` that changes the disk; whether it died."""
    count = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "link"):
            patch.setattr(output.os, name, counted(getattr(os, name)))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(output.shutil, "rmtree", counted(output.shutil.rmtree))
        if not mended:  # a killed process mends nothing
            recover, begun = output._recover, []
            patch.setattr(output, "_recover", lambda where: begun or (count < at and recover(where)))
        try:
            published(folder, stage)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("mended", [True, False], ids=["an error", "killed"])
def test_wherever_it_stops_the_results_are_the_earlier_or_the_new_ones(tmp_path, monkeypatch, mended):
    deaths = set()
    for at in range(1, 40):
        folder = write(tmp_path / f"results{at}", OLD)
        (folder / output.MANIFEST).write_text(json.dumps({"complete": True, "outputs": records(OLD)}))
        died = calls_of_publishing(folder, tmp_path / f"stage{at}", monkeypatch, at, mended)
        if (folder / output.JOURNAL).exists():
            assert not output.read_manifest(folder)["complete"]
        with output.locked(folder):
            pass
        found, names = contents(folder), [r["path"] for r in output.read_manifest(folder)["outputs"]]
        assert found in (OLD, NEW), at
        assert sorted(names) == sorted(found)
        assert output.read_manifest(folder)["complete"]
        if not died:
            assert found == NEW
            break
        deaths.add("new" if found == NEW else "old")
    else:
        pytest.fail("publishing has more steps than this test walks")
    assert deaths == {"old", "new"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_publishing_waits_and_the_sentence_is_true(folder, tmp_path, monkeypatch, number):
    replace = os.replace

    def interrupted(*arguments):
        os.kill(os.getpid(), number)
        return replace(*arguments)

    monkeypatch.setattr(output.os, "replace", interrupted)
    with pytest.raises(output.Published) as stop:
        published(folder, tmp_path / "stage")
    assert contents(folder) == NEW
    assert "whole" in stop.value.said.en


DAMAGED = {
    "cut": '{"inputs": [',
    "no list": '{"inputs": null}',
    "numbers": '{"inputs": [1, 2]}',
    "outputs null": '{"outputs": null}',
    "a list": "[]",
    "exhibits": '{"exhibits": [1]}',
    "bytes": b"\x00\xff",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_said_and_holds_nothing_up(tmp_path, content):
    path = tmp_path / output.MANIFEST
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.warns(SpatialZbWarning, match=r"manifest\.json"):
        assert output.read_manifest(tmp_path) == {}


def test_a_manifest_of_an_older_version_is_read(tmp_path):
    (tmp_path / output.MANIFEST).write_text('{"outputs": [{"path": "x"}], "inputs": [{"path": "y"}]}')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = output.read_manifest(tmp_path)
    assert found["outputs"][0] == {"path": "x", "sha256": "", "stage": "", "role": ""}
    with pytest.warns(SpatialZbWarning, match="x"):  # no checksum says that a run made it
        assert output._removable(write(tmp_path, {"x": "mine"}), found["outputs"]) == []


def _hold(folder: str, queue, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    try:
        with output.locked(Path(folder)):
            queue.put(("in", time.time()))
            time.sleep(0.03)
            queue.put(("out", time.time()))
    except OutputError:
        queue.put(("refused", time.time()))


@pytest.mark.skipif(os.name == "nt", reason="starts its processes by fork")
def test_of_two_that_start_together_one_is_inside(tmp_path):
    context = multiprocessing.get_context("fork")
    for trial in range(15):
        folder, queue = tmp_path / str(trial), context.Queue()
        start = time.time() + 0.01
        pair = [context.Process(target=_hold, args=(str(folder), queue, start)) for _ in range(2)]
        for process in pair:
            process.start()
        events = [queue.get(timeout=20) for _ in range(2)]
        while sum(kind == "in" for kind, _ in events) > sum(kind == "out" for kind, _ in events):
            events.append(queue.get(timeout=20))
        for process in pair:
            process.join()
        while not queue.empty():
            events.append(queue.get())
        entered = sorted(at for kind, at in events if kind == "in")
        left = sorted(at for kind, at in events if kind == "out")
        assert all(out <= later for out, later in zip(left, entered[1:], strict=False))
