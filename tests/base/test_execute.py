"""Tasks give the same numbers however they are run, survive dead workers, and go on where they were stopped."""

from __future__ import annotations

import concurrent.futures
import functools
import sys
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import task_functions as tasks
from scipy import sparse

import spatial_zb as zb
from spatial_zb.base import execute
from spatial_zb.base.errors import WorkerError
from spatial_zb.base.execute import ResultStore, run_tasks
from spatial_zb.base.result_store import content_key

needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


def count(folder) -> int:
    return len(list(folder.iterdir()))


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "store")


def test_results_come_in_the_order_of_the_tasks():
    assert run_tasks(tasks.square, [3, 1, 2]) == [9, 1, 4]
    assert run_tasks(tasks.square, []) == []


def test_workers_and_order_of_finishing_do_not_change_a_number():
    one = run_tasks(tasks.draw, range(30), seed=7)
    assert run_tasks(tasks.draw, range(30), seed=7, workers=2) == one
    assert len(set(np.round(np.array(one) - np.arange(30), 12))) == 30


def test_a_seed_sequence_is_not_used_up():
    root = np.random.SeedSequence(4)
    first = run_tasks(tasks.draw, range(4), seed=root)
    assert run_tasks(tasks.draw, range(4), seed=root) == first
    expected = [i + np.random.default_rng(s).normal() for i, s in enumerate(root.spawn(4))]
    assert first == expected


@pytest.mark.parametrize("seed", ["x", -1, 1.5])
def test_a_seed_that_is_none_is_refused_in_both_languages(seed):
    with pytest.raises(zb.SpecificationError, match="seed") as refused:
        run_tasks(tasks.draw, range(3), seed=seed)
    assert refused.value.zh.startswith("seed须为非负整数")


def test_progress_counts_up_to_all():
    said = []
    run_tasks(tasks.square, range(500), workers=zb.Execution(2, progress=lambda *now: said.append(now)))
    done, total, left = zip(*said, strict=True)
    assert list(done) == sorted(set(done))
    assert done[-1] == 500
    assert set(total) == {500}
    assert left[-1] == 0
    assert len(said) < 250  # small tasks travel together


@needs_kill
def test_a_killed_worker_is_replaced_and_its_tasks_run_again(tmp_path):
    todo = [(str(tmp_path), i) for i in range(12)]
    assert run_tasks(tasks.die_once, todo, workers=2) == list(range(12))
    assert (tmp_path / "died").exists()


@needs_kill
def test_a_task_that_always_dies_is_named(monkeypatch):
    monkeypatch.setattr(execute, "TOGETHER", 1)  # every death costs the start of new workers
    monkeypatch.setattr(execute, "ALONE", 1)
    with pytest.raises(WorkerError, match=r"Task 2 of 4 \(1\)"):
        run_tasks(tasks.die, range(4), workers=2)


@pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
def test_a_path_is_the_store_in_that_folder(store, marks):
    todo = [(str(marks), n) for n in (1, 2)]
    run_tasks(tasks.table, todo, workers=zb.Execution(store=str(store.path)))
    kept = len(list(store.path.glob("*.parquet")))
    assert kept == 2
    run_tasks(tasks.table, todo, workers=zb.Execution(store=store.path))
    assert len(list(store.path.glob("*.parquet"))) == kept
    with pytest.raises(zb.SpecificationError, match="folder"):
        run_tasks(tasks.table, todo, workers=zb.Execution(store=5))


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_the_function_come_through(workers):
    with pytest.raises(ValueError, match="three"):
        run_tasks(tasks.complain, range(5), workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_warnings_of_workers_are_passed_on(workers):
    with pytest.warns(zb.SpatialZbWarning, match="read this"):
        run_tasks(tasks.warn, range(3), workers=workers)


def test_stored_results_are_not_computed_again(store, marks):
    todo = [(str(marks), n) for n in range(4)]
    first = run_tasks(tasks.table, todo, workers=zb.Execution(store=store))
    assert count(marks) == 4
    again = run_tasks(tasks.table, [*todo, (str(marks), 2)], workers=zb.Execution(2, store=store))
    assert count(marks) == 4
    for old, new in zip(first, again, strict=False):
        pd.testing.assert_frame_equal(old["frame"], new["frame"])
        assert (old["n"], old["reason"]) == (new["n"], new["reason"])
        np.testing.assert_array_equal(old["array"], new["array"])


@pytest.mark.parametrize("n", range(4))
def test_stored_and_computed_results_are_alike(store, marks, n):
    (stored,) = run_tasks(tasks.table, [(str(marks), n)], workers=zb.Execution(store=store))
    plain = tasks.table((str(marks), n))
    # a column without rows has no type to keep
    pd.testing.assert_frame_equal(stored["frame"], plain["frame"], check_dtype=n > 0)
    np.testing.assert_array_equal(stored["array"], plain["array"])
    assert stored["array"].dtype == plain["array"].dtype


def stop_after(number):
    def progress(done, total, left):
        if done >= number:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_goes_on_where_it_was(store, marks, workers):
    todo = [(str(marks), n) for n in range(30)]
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks.slow_table, todo, workers=zb.Execution(workers, store=store, progress=stop_after(4)))
    kept = len(list(store.path.glob("*.parquet")))
    assert 4 <= kept < 30
    said = []
    results = run_tasks(
        tasks.slow_table, todo, workers=zb.Execution(store=store, progress=lambda *now: said.append(now))
    )
    assert said[0][:2] == (kept, 30)
    assert [r["n"] for r in results] == list(range(30))


def test_keys_tell_functions_tags_and_seeds_apart(tmp_path):
    a, b = ResultStore(tmp_path), ResultStore(tmp_path, tag="other")
    keys = {
        a.key(tasks.square, 1),
        a.key(tasks.square, 2),
        a.key(tasks.square, 1.0),
        a.key(tasks.draw, 1),
        a.key(functools.partial(tasks.draw, seed=1), 1),
        b.key(tasks.square, 1),
        a.key(tasks.square, 1, np.random.SeedSequence(1)),
        a.key(tasks.square, 1, np.random.SeedSequence(2)),
    }
    assert len(keys) == 8
    assert a.key(tasks.square, 1) == a.keys(tasks.square, [(0,), (1,)])[1]


@dataclass(frozen=True)
class Thing:
    a: object
    _cache: dict = field(default_factory=dict)


def test_content_is_what_counts():
    W = sparse.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]]))
    same = [
        ({"a": 1, "b": (2, 3)}, {"b": [2, 3], "a": 1}),
        (Thing(np.arange(3)), Thing(np.arange(3), {"something": "cached"})),
        (W, sparse.coo_array(W)),
        (np.arange(4.0)[::2], np.array([0.0, 2.0])),
        (pd.Index(["x", "y"]), pd.Index(["x", "y"])),
    ]
    for one, two in same:
        assert content_key(one) == content_key(two)
    different = [
        ("1", 1),
        (("ab", "c"), ("a", "bc")),
        (np.arange(3), np.arange(3.0)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (Thing(1), Thing(2)),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    ]
    for one, two in different:
        assert content_key(one) != content_key(two)


def test_weights_and_panels_count_by_content(tmp_path):
    W = zb.Weights(np.array([[0.0, 1.0], [1.0, 0.0]]), ["a", "b"], normalisation="row")
    panel = zb.simulate.durbin(W, 3, {"x": 1.0}, rho=0.2, rng=1)
    before = content_key(panel, W, zb.DurbinSpec("y", ["x"]))
    _ = W.logdet.value(0.3), W.components
    assert content_key(panel, W, zb.DurbinSpec("y", ["x"])) == before
    assert content_key(panel, W.standardise("none"), zb.DurbinSpec("y", ["x"], lag_x=[])) != before


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_damaged_entries_are_computed_again(store, marks, damage):
    todo = [(str(marks), n) for n in (2, 3)]
    run_tasks(tasks.table, todo, workers=zb.Execution(store=store))
    good = [store.path / f"{key}.parquet" for key in store.keys(tasks.table, [(t,) for t in todo])]
    data = bytearray(good[0].read_bytes())
    if damage == "cut":
        good[0].write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[8:24] = bytes(255 - b for b in data[8:24])
        good[0].write_bytes(data)
    else:
        good[0].write_bytes(good[1].read_bytes())
    with pytest.warns(zb.SpatialZbWarning, match="computed again"):
        results = run_tasks(tasks.table, todo, workers=zb.Execution(store=store))
    assert [r["n"] for r in results] == [2, 3]
    assert count(marks) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_tasks(tasks.table, todo, workers=zb.Execution(store=store))


def test_the_store_leaves_no_partial_files(store, marks):
    run_tasks(tasks.table, [(str(marks), n) for n in range(3)], workers=zb.Execution(store=store))
    assert {p.suffix for p in store.path.iterdir()} == {".parquet"}
    assert not [p for p in store.path.iterdir() if p.name.startswith(".")]


def test_a_single_table_comes_back_as_one(store):
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="unit"))
    store.prepare()
    store.write("k", frame)
    pd.testing.assert_frame_equal(store.read("k"), frame)
    assert store.read("nothing") is None


def test_tuples_come_back_as_tuples(store):
    store.prepare()
    result = (1, 0.5, "a", True, float("nan"))
    store.write("k", result)
    found = store.read("k")
    assert found[:4] == result[:4]
    assert [type(part) for part in found] == [type(part) for part in result]
    assert np.isnan(found[4])


def test_the_command_line_passes_it_on(monkeypatch, tmp_path):
    from spatial_zb import cli, pipeline

    asked = {}
    monkeypatch.setattr(pipeline, "run", lambda *_, **options: asked.update(options))
    where = ["--workers", "2", "--scheduler", "tcp://host:1", "--store", str(tmp_path)]
    assert (
        cli.main(["compare", str(Path(__file__).parents[2] / "studies" / "bay_area.toml"), "--quiet", *where])
        == 0
    )
    assert asked["execution"] == execute.Execution(2, "tcp://host:1", ResultStore(tmp_path))


REFUSED = {
    "workers": lambda s: run_tasks(tasks.square, [1], workers=0),
    "result": lambda s: run_tasks(tasks.square, [1], workers=zb.Execution(store=s)),
    "list": lambda s: s.write("k", [1, 2]),
    "lambda": lambda s: run_tasks(lambda x: x, [1], workers=zb.Execution(store=s)),
    "task": lambda s: run_tasks(tasks.square, [object()], workers=zb.Execution(store=s)),
    "column names": lambda s: s.write("k", pd.DataFrame([[1, 2]])),
    "objects": lambda s: s.write("k", {"a": np.array([{}])}),
    "mixed column": lambda s: s.write("k", pd.DataFrame({"a": [object()]})),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(store, case):
    store.prepare()
    with pytest.raises(zb.SpecificationError):
        REFUSED[case](store)


def test_a_store_that_cannot_be_written_is_refused_before_the_work(tmp_path, marks):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(zb.base.errors.OutputError, match="Cannot write"):
        run_tasks(tasks.table, [(str(marks), 1)], workers=zb.Execution(store=ResultStore(blocked)))
    assert count(marks) == 0


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(zb.SpecificationError, match=r"pip install spatial-zb\[cluster\]"):
        run_tasks(tasks.square, [1, 2], workers=zb.Execution(scheduler="tcp://127.0.0.1:1"))


def test_no_cluster_at_the_address():
    pytest.importorskip("distributed")
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),
        pytest.raises(zb.SpecificationError, match="No Dask scheduler"),
    ):
        run_tasks(tasks.square, [1, 2], workers=zb.Execution(scheduler="tcp://127.0.0.1:9"))


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    import dask

    patience = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.deploy.lost-worker-timeout": "5 minutes",
    }
    with (
        dask.config.set(patience),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
    ):
        yield cluster.scheduler_address


@needs_kill
def test_a_cluster_gives_the_same_numbers_and_survives_a_death(cluster, tmp_path, store, marks):
    one = run_tasks(tasks.draw, range(20), seed=7)
    assert run_tasks(tasks.draw, range(20), seed=7, workers=zb.Execution(scheduler=cluster)) == one
    todo = [(str(marks), n) for n in range(4)]
    first = run_tasks(tasks.table, todo, workers=zb.Execution(store=store, scheduler=cluster))
    assert [r["n"] for r in run_tasks(tasks.table, todo, workers=zb.Execution(store=store))] == [
        r["n"] for r in first
    ]
    assert count(marks) == 4
    assert run_tasks(
        tasks.die_once, [(str(tmp_path), i) for i in range(8)], workers=zb.Execution(scheduler=cluster)
    ) == list(range(8))
    assert (tmp_path / "died").exists()


@needs_kill
def test_a_task_that_always_kills_its_worker_of_a_cluster_is_named(cluster, monkeypatch):
    """It used to be sent again for ever."""
    monkeypatch.setattr(execute, "TOGETHER", 0)  # alone from the start: a new worker takes seconds
    monkeypatch.setattr(execute, "ALONE", 1)
    with pytest.raises(WorkerError, match=r"Task 2 of 4 \(1\) ended its process 1 times"):
        run_tasks(tasks.die, range(4), workers=zb.Execution(scheduler=cluster))


def test_a_cluster_that_loses_its_workers_is_said(monkeypatch):
    distributed = pytest.importorskip("distributed")
    import dask

    monkeypatch.setattr(execute, "LOOK", 0.05)
    monkeypatch.setattr(execute, "PATIENCE", 0.2)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "50ms"}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
        ) as cluster,
    ):
        leave = threading.Timer(0.3, cluster.scale, [0])
        leave.start()
        with pytest.raises(WorkerError, match=r"no worker for 0\.2 seconds"):
            run_tasks(tasks.wait, range(200), workers=zb.Execution(scheduler=cluster.scheduler_address))
        leave.join()


@pytest.mark.parametrize("error", [ConnectionError("gone"), concurrent.futures.CancelledError()])
def test_a_scheduler_that_is_lost_is_said(error):
    client = SimpleNamespace(scheduler=SimpleNamespace(address="tcp://there"))
    with pytest.raises(WorkerError, match="tcp://there is lost"), execute._reaching(client):
        raise error
