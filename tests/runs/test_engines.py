"""Engines by name, and that ``local`` and ``pool`` write the same."""

import importlib.util
import os
import re
import sys
import threading
import warnings
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from spreading import Spreading
from test_contract import params_of

import hf_mner_aug
from hf_mner_aug import LSMS, MemoryHard, augment
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods.memory_hard import mining
from hf_mner_aug.runs.engines import ENGINES, open_engine, ray
from hf_mner_aug.runs.engines.local import Local
from hf_mner_aug.runs.engines.pool import Pool
from hf_mner_aug.runs.engines.ray import SETTINGS, Ray, Session
from hf_mner_aug.runs.engines.ray_cluster import LOOPBACK
from hf_mner_aug.runs.engines.ray_crew import Crew, Member
from hf_mner_aug.runs.parts import Part
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.storage.shared import open_store
from hf_mner_aug.studies.study import Study
from hf_mner_aug.studies.tables import evaluate


def test_an_engine_is_found_by_its_name():
    assert open_engine(None) == open_engine("local") == Local()
    assert open_engine(None, 3) == open_engine("pool", 3) == open_engine("pool:num_proc=3") == Pool(3)
    assert open_engine("pool").num_proc >= 1
    assert open_engine(Pool(2)) == Pool(2)
    assert {name: cls.name for name, cls in ENGINES.items()} == {name: name for name in ENGINES}


@pytest.mark.parametrize(
    ("engine", "num_proc", "error", "said"),
    [
        ("spark", 1, UnknownName, "unknown engine 'spark': valid are local, pool"),
        ("pool:workers=2", 1, UnknownName, "unknown setting of pool 'workers': valid are num_proc"),
        ("pool:num_proc=many", 1, UsageError, "pool: num_proc='many' is not a valid int"),
        ("pool:num_proc=0", 1, UsageError, "num_proc must be at least 1, found 0"),
        (None, 0, UsageError, "num_proc must be at least 1, found 0"),
        ("local", 2, UsageError, r"of the engine pool, and named once; found the engine local"),
        ("pool:num_proc=2", 3, UsageError, r"of the engine pool, and named once; found num_proc=2 as well"),
    ],
)
def test_a_wrong_engine_is_one_line(splits, tmp_path, engine, num_proc, error, said):
    with pytest.raises(error, match=said):
        augment(splits, LSMS(), out=tmp_path / "aug", engine=engine, num_proc=num_proc)
    assert not list(tmp_path.iterdir())


def test_pool_writes_what_local_writes(splits, tmp_path):
    made = {}
    for engine in ("local", "pool:num_proc=2"):
        run = augment(splits, LSMS(copies=2), out=tmp_path / engine[:4], engine=engine, part_size=4, progress=False)
        made[engine] = {path.name: path.read_bytes() for path in run.folder.rglob("*.parquet")}
    assert made["local"] == made["pool:num_proc=2"]
    assert len(made["local"]) == 4


@pytest.mark.parametrize("engine", ["local", "pool:num_proc=1", "pool:num_proc=2"])
def test_independent_calls_of_a_fit_are_made_by_the_workers(splits, tmp_path, engine):
    learned = augment(splits, Spreading(), out=tmp_path / "aug", engine=engine, progress=False).method.learned
    assert learned["own"] == os.getpid()
    assert learned["squares"] == {"a": 1, "b": 4, "c": 9}
    assert ({learned["own"]} == {*learned["processes"]}) == (engine != "pool:num_proc=2")
    assert Spreading().fit(splits).learned["processes"] == [os.getpid()] * 3, "no workers are left for other fits"


def test_calls_that_compute_on_a_gpu_are_made_by_one_process(splits, tmp_path):
    recipe, gold = resolve(recipe_for(Spreading()), splits)
    for device, own in (("cpu", False), ("cuda", True)):
        place = open_store(str(tmp_path / device))
        learned = Pool(2).fit(place, replace(recipe, device=device), gold).learned
        assert (os.getpid() in learned["processes"]) == own


def test_a_worker_that_dies_in_a_call_of_a_fit_is_one_line(splits, tmp_path):
    method = Spreading(mark=str(tmp_path / "mark"))
    with pytest.raises(OSError, match="a worker process died, perhaps for lack of memory"):
        augment(splits, method, out=tmp_path / "aug", num_proc=2, progress=False)
    learned = augment(splits, method, out=tmp_path / "aug", num_proc=2, progress=False).method.learned
    assert learned["squares"] == {"a": 1, "b": 4, "c": 9}


def test_folds_of_memory_hard_are_fitted_by_workers(splits, tmp_path, monkeypatch):
    method = MemoryHard(**params_of("memory_hard"))
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    expected = augment(splits, method, out=tmp_path / "local", progress=False)
    n_kept = len([*(tmp_path / "cache" / "mining").iterdir()])
    assert n_kept >= 2
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(mining, "fit_named", None)  # of this process
    found = augment(splits, method, out=tmp_path / "pool", num_proc=2, progress=False)
    assert found.method.artifact == expected.method.artifact
    assert len([*(tmp_path / "other" / "mining").iterdir()]) == n_kept


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("augment", ["--workers", "2"], "--workers is an option of --engine ray"),
        ("augment", ["--engine", "pool", "--gpus-per-worker", "1"], "--gpus-per-worker is an option of --engine ray"),
        ("augment", ["--engine", "ray", "--workers", "0"], "ray: workers must be at least 1, found 0"),
        ("augment", ["--engine", "ray", "--gpus-per-worker", "1.5"], "ray: gpus_per_worker must be a part of one GPU"),
        (
            "augment",
            ["--engine", "ray", "--address", "ray://a:1"],
            "ray: address must be auto, local or HOST:PORT, found",
        ),
        ("augment", ["--engine", "ray:address=a"], "ray: address must be auto, local or HOST:PORT, found 'a'"),
        ("augment", ["--engine", "ray:memory_per_worker=nan"], "ray: memory_per_worker='nan' is not a valid"),
        ("evaluate", ["--engine", "pool"], "a study trains one model at a time, or several with the engine ray"),
    ],
)
def test_a_wrong_option_of_an_engine_is_one_line(call, tmp_path, monkeypatch, verb, options, said):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    asked = {"augment": ["set", "--method", "eda", "--out", "aug"], "evaluate": ["set"]}[verb]
    code, out, error = call(verb, *asked, *options)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"error: {said}")
    assert not list(tmp_path.iterdir())


def test_without_ray_the_extra_is_named_before_anything_is_read(call, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, error = call("augment", "set", "--method", "eda", "--out", "aug", "--engine", "ray", "--workers", "2")
    assert (code, error) == (2, "error: ray is not installed: pip install 'hf-mner-aug[ray]'\n")


def test_a_ray_worker_is_sent_settings_and_no_key(monkeypatch):
    """Ray writes the environment of a worker into its logs."""
    source = Path(hf_mner_aug.__file__).parent.rglob("*.py")
    ours = {name for path in source for name in re.findall(r'"(HF_MNER_AUG_[A-Z_]+[A-Z])"', path.read_text())}
    assert ours == {*(set(SETTINGS) & ours), "HF_MNER_AUG_CACHE", "HF_MNER_AUG_API_KEY"}, (
        "each is sent, or is named here"
    )
    monkeypatch.setenv("HF_MNER_AUG_WEB", "delay=2")
    for name in ("HF_MNER_AUG_API_KEY", "HF_MNER_AUG_MY_OTHER_KEY", "SERPER_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "sk-secret")
    sent = Session(None, Ray())._options(0)["runtime_env"]["env_vars"]
    assert sent["HF_MNER_AUG_WEB"] == "delay=2"
    assert "sk-secret" not in sent.values()


class Ref:
    """The result of a task that ran at once, in this process; two of equal results differ."""

    def __init__(self, value):
        self.value = value


@pytest.fixture
def fake_ray(monkeypatch):
    """Stand in for Ray: it notes how it is started, and may be connected to a cluster of two nodes."""
    ray = SimpleNamespace(connected=False, started=[], shutdown=lambda: None, __spec__="found")
    ray.is_initialized = lambda: ray.connected
    ray.init = lambda **given: ray.started.append(given)
    ray.get_runtime_context = lambda: SimpleNamespace(gcs_address="192.0.2.2:6379")
    ray.util = SimpleNamespace(get_node_ip_address=lambda: "192.0.2.2")
    ray.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 1}}] * 2
    ray.exceptions = SimpleNamespace(RayError=ZeroDivisionError, RayTaskError=ZeroDivisionError)
    ray.remote = lambda **_: lambda function: SimpleNamespace(remote=lambda *args: Ref(function(*args)))
    ray.put = lambda value: value
    ray.get = lambda ref: ref.value
    ray.wait = lambda refs, num_returns: (refs[:num_returns], refs[num_returns:])
    ray.cluster_resources = dict
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return ray


def test_an_address_of_another_cluster_is_not_ignored(fake_ray):
    fake_ray.connected = True
    for same in ("", "auto", "192.0.2.2:6379", "127.0.0.1:6379", "localhost:6379"):
        with Ray(address=same).session():
            assert not fake_ray.started
    for other in ("127.0.0.1:6380", "10.0.0.5:6379", "local"):
        with (
            pytest.raises(UsageError, match=rf"connected to the cluster at 192\.0\.2\.2:6379, expected {other}: call"),
            Ray(address=other).session(),
        ):
            pass


def test_a_local_cluster_has_no_dashboard_and_a_wrong_variable_is_one_line(fake_ray, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with (
        pytest.raises(UsageError, match=r"^\$RAY_ADDRESS must be auto, local or HOST:PORT, found 'http:"),
        Ray().session(),
    ):
        pass
    fake_ray.util.get_node_ip_address = lambda: "127.0.0.1"
    with Ray(address="local").session():
        (given,) = fake_ray.started
    assert (given["address"], given["include_dashboard"]) == ("local", False)
    assert given["num_cpus"] >= 1


def test_a_study_on_several_nodes_makes_no_paid_calls_on_them(splits, tmp_path, fake_ray, monkeypatch):
    """Each node would count a budget of its own."""
    fake_ray.connected = True
    splits.save_to_disk(tmp_path / "set")
    chosen = {"backbone": "crf:iterations=2", "seeds": [0], "progress": False, "engine": Ray(workers=2)}
    with monkeypatch.context() as patched:
        patched.setattr(Study, "to_be_made", lambda study: [SimpleNamespace(name="rmda", costs=True)])
        with pytest.raises(UsageError, match="rmda makes calls that may cost money, and their budget"):
            evaluate(str(tmp_path / "set"), [], **chosen)
    assert evaluate(str(tmp_path / "set"), [], **chosen).data["rows"], "the cells are trained without paid calls"


def test_a_node_with_other_packages_trains_nothing(fake_ray, monkeypatch):
    session, done = Session(fake_ray, Ray()), []

    def train(shared, item):
        done.append(item)
        return shared + item

    assert dict(session.call(train, 1, {"a": 2}, on_gpu=False)) == {"a": 3}
    told = iter([{"torch": "2.8"}, {"torch": "2.9"}])  # the driver's, the node's
    monkeypatch.setattr(ray, "library_versions", lambda **_: next(told))
    with pytest.raises(UsageError, match=r"has torch 2\.9, the driver 2\.8: install the same packages on all nodes"):
        list(session.call(train, 1, {"b": 3}, on_gpu=False))
    assert done == [2]


def test_a_cluster_of_ones_own_that_the_network_reaches_is_warned_of(fake_ray):
    """Ray takes the loopback address only if that is asked for before it is imported."""
    with (
        pytest.warns(UserWarning, match=rf"^the network can reach the Ray cluster .*: set {LOOPBACK}=0 before it is$"),
        Ray().session(),
    ):
        pass
    fake_ray.util.get_node_ip_address = lambda: "127.0.0.1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Ray().session():
            pass
        fake_ray.util.get_node_ip_address = lambda: "192.0.2.2"
        with Ray(address="192.0.2.9:6379").session():
            pass


def test_the_driver_of_a_cluster_writes_and_checks_several_parts_at_a_time(monkeypatch):
    together = threading.Barrier(4, timeout=20)  # is passed by four at a time only
    monkeypatch.setattr(Crew, "_write", lambda self, part: together.wait())
    monkeypatch.setattr(Crew, "_is_whole", lambda self, part, digest: together.wait() >= 0 and digest == part.stem)
    parts = [Part(i, "train", i, i + 1) for i in range(4)]
    actor = SimpleNamespace(make=SimpleNamespace(remote=lambda part: (part.stem, 0.0, [])))
    members = [Member(actor, deque(), ready=True) for _ in parts]
    errors = SimpleNamespace(RayTaskError=KeyError, RayError=KeyError)
    cluster = SimpleNamespace(get=lambda ref: ref, exceptions=errors, kill=lambda actor: None)
    crew = Crew(cluster, {}, None, SimpleNamespace(remove=lambda name: None), deque(parts), 0, members)
    crew._assign()
    assert [member.queue[0][1] for member in members] == parts
    assert list(crew._finished(members)) == parts
    crew.end()
