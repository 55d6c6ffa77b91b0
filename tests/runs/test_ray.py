"""The engine ray on a real cluster of two nodes on this machine; all of it on loopback."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import deadly
import pytest
from datasets import DatasetDict, Image, load_dataset
from deadly import Deadly
from spreading import Spreading
from test_contract import params_of

from hf_mner_aug import EDA, LSMS, augment, ray_map
from hf_mner_aug.exceptions import NotFitted, UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.publishing.folder import run_and_publish
from hf_mner_aug.runs import ledger
from hf_mner_aug.runs.engines.ray import DEATHS, Ray
from hf_mner_aug.runs.engines.ray_cluster import LOOPBACK
from hf_mner_aug.storage.shared import Remote
from hf_mner_aug.studies.tables import evaluate

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
os.environ.setdefault(LOOPBACK, "0")  # before Ray is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}
QUIET = {"part_size": 4, "progress": False}  # fourteen posts: parts 0 to 3


def named(folder):
    """Return the running processes that have a folder in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and int(process.name) != os.getpid():
            found.append(command)
    return found


def runs(pid):
    """Return whether a process runs: one that has ended may wait for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def family(pid):
    """Return the processes that descend from one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.fixture(scope="module")
def cluster():
    """The address of two nodes of one CPU; none of their processes is left behind."""
    import ray
    from ray.cluster_utils import Cluster

    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)  # Cluster writes its address there
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        nodes = Cluster(True, False, {**NODE, "include_dashboard": False, "temp_dir": folder})
        nodes.add_node(**NODE)
        try:
            yield nodes.address
        finally:
            ray.shutdown()
            nodes.shutdown()
        assert wait_for(lambda: not named(folder), 30), named(folder)


@pytest.fixture
def engine(cluster):
    return Ray(address=cluster, workers=2)


def parts(run):
    """Return the bytes of the parts and rejects of a run."""
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in run.folder.rglob("*.parquet")}


def note(run):
    return json.loads((run.folder / "run.json").read_text())


# ---------------------------------------------------------------- the bytes


@pytest.mark.parametrize("name", ["eda", "mixgen", "amia", "rmda", "memory_hard"])
def test_actors_write_what_one_process_writes(splits, tmp_path, engine, name):
    method = method_class(name)(**params_of(name), seed=3)
    expected = augment(splits, method, out=tmp_path / "local", **QUIET)
    engine = engine if name == "eda" else Ray(address=engine.address, workers=1)
    found = augment(splits, method, out=tmp_path / "ray", engine=engine, **QUIET)
    assert found.method.artifact == expected.method.artifact, "a task learnt the same"
    assert parts(found) == parts(expected)
    told = note(found)["engine"]
    assert (told["name"], told["nodes"], told["workers"], told["workers_lost"]) == (
        "ray",
        engine.workers,
        engine.workers,
        0,
    )
    assert told["seconds_waiting"] >= 0
    assert "engine" not in note(expected)
    left = {path.name for path in found.folder.iterdir()}
    assert left == {path.name for path in expected.folder.iterdir()}, "no rows are left"


def test_another_part_size_makes_the_same_rows_and_an_empty_split_none(splits, tmp_path, engine):
    some = DatasetDict({**splits, "validation": splits["validation"].select([])})
    expected = augment(some, EDA(), out=tmp_path / "local", **QUIET)
    found = augment(some, EDA(), out=tmp_path / "ray", engine=engine, part_size=9, progress=False)
    assert found.folder.name != expected.folder.name
    assert found.dataset[:] == expected.dataset[:]
    again = augment(some, EDA(), out=tmp_path / "ray", engine="local", part_size=9, progress=False)
    assert note(again)["parts_made"] == 0


def test_two_runs_at_once_share_a_storage(splits, tmp_path, engine):
    one, found, method = Ray(address=engine.address, workers=1), {}, EDA().fit(splits)

    def start(name):
        found[name] = augment(splits, method, out=tmp_path / name, engine=one, storage=f"{tmp_path}/shared", **QUIET)

    threads = [threading.Thread(target=start, args=(name,)) for name in ("a", "b")]
    with one.session():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = augment(splits, method, out=tmp_path / "local", **QUIET)
    assert parts(found["a"]) == parts(found["b"]) == parts(expected)
    assert not list((tmp_path / "shared").rglob("*.arrow"))


def test_parts_travel_through_a_storage_that_is_no_folder(splits, tmp_path, engine, monkeypatch):
    monkeypatch.setattr(ledger, "open_store", Remote)
    (tmp_path / "shared").mkdir()
    one = Ray(address=engine.address, workers=1)
    found = augment(splits, EDA(), out=tmp_path / "a", engine=one, storage=f"file://{tmp_path}/shared", **QUIET)
    monkeypatch.undo()
    expected = parts(augment(splits, EDA(), out=tmp_path / "local", **QUIET))
    assert parts(found) == expected
    there = tmp_path / "shared" / found.folder.name
    assert {name: (there / name).read_bytes() for name in expected} == expected
    assert not list(there.rglob("*.arrow"))


def test_a_storage_that_workers_do_not_see_is_one_line(splits, tmp_path, engine):
    """The memory of this process is out of reach of theirs."""
    import fsspec

    fsspec.filesystem("memory").mkdir("/unseen")
    one = Ray(address=engine.address, workers=1)
    with pytest.raises(OSError, match="name a storage that all nodes reach"):
        augment(splits, EDA().fit(splits), out=tmp_path / "ray", engine=one, storage="memory://unseen", **QUIET)


# ---------------------------------------------------------------- deaths


def test_a_worker_that_dies_loses_one_part(splits, tmp_path, engine):
    method = Deadly(post="p5", mark=str(tmp_path / "mark")).fit(splits)
    found = augment(splits, method, out=tmp_path / "ray", engine=Ray(address=engine.address, workers=1), **QUIET)
    assert (tmp_path / "mark").exists()
    assert note(found)["engine"]["workers_lost"] == 1
    assert note(found)["parts_made"] == 4
    assert parts(found) == parts(augment(splits, method, out=tmp_path / "local", **QUIET))


def test_independent_calls_of_a_fit_are_tasks_and_one_that_dies_is_made_again(splits, tmp_path, engine):
    method = Spreading(mark=str(tmp_path / "mark"))
    learned = augment(splits, method, out=tmp_path / "ray", engine=engine, **QUIET).method.learned
    assert (tmp_path / "mark").exists()
    assert learned["squares"] == {"a": 1, "b": 4, "c": 9}
    assert learned["own"] not in (*learned["processes"], os.getpid())


def test_a_part_that_kills_each_worker_is_named_and_alone_tried_again(splits, tmp_path, engine):
    method = Deadly(post="p5", mark=str(tmp_path / "cure"), always=True).fit(splits)
    one = Ray(address=engine.address, workers=1)  # the part that waits behind the deadly one is not blamed
    with pytest.raises(OSError, match=rf"^part 00001 \(posts 4 to 7 of train: .*\) killed {DEATHS} workers: all other"):
        augment(splits, method, out=tmp_path / "ray", engine=one, **QUIET)
    (folder,) = (tmp_path / "ray.runs").glob("deadly*/")
    assert sorted(path.stem for path in folder.glob("parts/*.json")) == ["00000", "00002", "00003"]
    (tmp_path / "cure").touch()
    again = augment(splits, method, out=tmp_path / "ray", engine=one, **QUIET)
    assert note(again)["parts_made"] == 1
    assert parts(again) == parts(augment(splits, method, out=tmp_path / "local", **QUIET))


DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
from datasets import load_from_disk
from deadly import Deadly
from hf_mner_aug import augment, cli
posts, out, engine = sys.argv[2:]
sys.argv[1:] = []
chosen = {"part_size": 1, "progress": False}
cli.app = lambda: augment(load_from_disk(posts), Deadly(wait_s=0.7), out=out, engine=engine, **chosen)
cli.main()
"""


@pytest.mark.parametrize(("number", "own"), [(signal.SIGKILL, True), (signal.SIGINT, False)])
def test_a_driver_that_is_stopped_leaves_its_parts_and_no_process(splits, tmp_path, engine, number, own):
    splits.save_to_disk(tmp_path / "set")
    words = [str(Path(deadly.__file__).parent), str(tmp_path / "set"), str(tmp_path / "ray")]
    words.append("ray:workers=1" if own else f"ray:workers=1,address={engine.address}")
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *words], stderr=subprocess.PIPE, text=True)
    begun = "ray.runs/*/parts/00001.json"
    wait_for(lambda: list(tmp_path.glob(begun)) or driver.poll() is not None, 240)
    assert list(tmp_path.glob(begun)), driver.communicate(timeout=60)
    started = family(driver.pid)
    assert bool(started) == own, "raylet and workers, unless the cluster was there before"
    driver.send_signal(number)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == (-9 if own else 130)
    assert own or said.endswith(" of 14 parts kept; the same command goes on\n")
    assert wait_for(lambda: not any(map(runs, started)), 180), "Ray's agents look for the dead head for a minute"
    kept = len(list(tmp_path.glob("ray.runs/*/parts/*.json")))
    assert 2 <= kept < 14

    splits = DatasetDict.load_from_disk(tmp_path / "set")
    again = augment(splits, Deadly(wait_s=0.7), out=tmp_path / "ray", part_size=1, engine="local", progress=False)
    assert note(again)["parts_made"] == 14 - kept
    assert not list(again.folder.glob(".rows*")), "what the killed driver had handed out is swept"


# ---------------------------------------------------------------- what is refused


def test_mistakes_are_one_line(splits, tmp_path, engine):
    for wrong, said in {
        Ray(address=engine.address, workers=3): "the cluster has room for 2 workers of 1 CPU, expected 3",
        Ray(
            address=engine.address, gpus_per_worker=0.5
        ): "room for 0 workers of 1 CPU and 0.5 GPU, expected at least 1",
    }.items():
        with pytest.raises(UsageError, match=said):
            augment(splits, EDA().fit(splits), out=tmp_path / "ray", engine=wrong, **QUIET)


def test_an_error_in_a_worker_is_raised_as_it_is(splits, tmp_path, engine):
    other = splits["train"].map(lambda row: {"id": row["id"].replace("p3", "")})
    with pytest.raises(UsageError) as local:
        augment({"train": other}, EDA().fit(splits), out=tmp_path / "local", **QUIET)
    with pytest.raises(type(local.value)) as found:
        augment({"train": other}, EDA().fit(splits), out=tmp_path / "ray", engine=engine, **QUIET)
    assert str(found.value) == str(local.value)


# ---------------------------------------------------------------- studies, Ray Data


def test_cells_of_a_study_are_tasks(splits, tmp_path, engine):
    recipe, gold = ledger.resolve(ledger.recipe_for(LSMS(copies=1)), splits)
    reports = {}
    for name in ("local", "ray"):
        out = tmp_path / name
        run_and_publish(recipe, gold, out)
        chosen = {"backbone": "crf:iterations=5", "seeds": [0], "progress": False}
        reports[name] = evaluate(out, ["lsms_100pct"], engine=engine if name == "ray" else None, **chosen)
    rows = [[{**row, "seconds": 0} for row in report.data["rows"]] for report in reports.values()]
    assert rows[0] == rows[1]
    assert reports["local"].data["comparisons"] == reports["ray"].data["comparisons"]
    cells = [sorted(path.name for path in report.folder.glob("cells/*")) for report in reports.values()]
    assert cells[0] == cells[1]
    assert len(cells[0]) == 4, "gold, shuffled, augmented, repeated"


def test_ray_data_writes_what_map_gives(splits, tmp_path, engine):
    import ray

    train = splits["train"].cast_column("image", Image(decode=False))
    method = LSMS(copies=2, seed=5).fit(train)
    train.to_parquet(tmp_path / "set.parquet")
    with pytest.raises(NotFitted, match=r"lsms is not fitted: ray_map\(lsms\.fit\(train\)\)"):
        ray_map(LSMS())
    with engine.session():
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.read_parquet(str(tmp_path / "set.parquet"), override_num_blocks=2)
        mapped = ray_map(method, features=train.features, storage=str(tmp_path))
        made = rows.map_batches(mapped, batch_format="pyarrow", batch_size=5)
        made.write_parquet(str(tmp_path / "made"))
    found = load_dataset("parquet", data_files=str(tmp_path / "made" / "*.parquet"), split="train")
    expected = method.map(train)
    assert found.features == expected.features
    plain = [data.with_format("arrow")[:].to_pylist() for data in (found, expected)]
    assert sorted(plain[0], key=lambda row: row["id"]) == sorted(plain[1], key=lambda row: row["id"])
    with pytest.raises(UsageError, match=r'map_batches.*batch_format="pyarrow".*, found dict'):
        ray_map(method)({"id": ["a"]})
    bare = train.with_format("arrow")[:].replace_schema_metadata(None)
    with pytest.raises(UsageError, match=r"Ray Data drops the names of labels: ray_map\(lsms, features=ds\.features\)"):
        ray_map(method)(bare)
