import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from datasets import concatenate_datasets
from fsspec.implementations.memory import MemoryFileSystem

from hf_mner_aug import EDA, LSMS, augment, cli, publish
from hf_mner_aug.exceptions import Corrupt, MissingExtra, RecipeMismatch, UsageError
from hf_mner_aug.publishing.folder import run_and_publish
from hf_mner_aug.runs import ledger, ranks
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.storage.shared import Folder, Remote, _file_system, open_store


def files(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Go on as another machine would: with a cache and an output folder of its own."""

    def enter(name):
        monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / name / "cache"))
        return tmp_path / name / "aug"

    return enter


@pytest.fixture
def storage():
    """An empty place in the memory of this process."""
    system = fsspec.filesystem("memory")
    system.mkdir("/shared")
    yield "memory://shared"
    system.rm("/shared", recursive=True)


METHOD = LSMS(copies=2, seed=3)
QUIET = {"part_size": 3, "progress": False}  # fourteen posts: parts 0 to 4


def single(splits, out):
    """Publish what one process makes, and return its files."""
    publish(augment(splits, METHOD, out=out, **QUIET), out)
    return files(out)


# ---------------------------------------------------------------- real processes


@pytest.fixture(scope="module")
def many(mner, tmp_path_factory):
    """A folder of 400 posts that load_dataset reads."""
    folder = tmp_path_factory.mktemp("many") / "set"
    folder.mkdir()
    numbered = concatenate_datasets([mner] * 20).map(lambda row, i: {"id": f"{row['id']}-{i}"}, with_indices=True)
    numbered.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def start(source, out, *more):
    code = "from hf_mner_aug.cli import main; main()"
    options = ["--method", "lsms", "--copies", "2", "--part-size", "5", "--out", str(out), *more]
    command = [sys.executable, "-c", code, "augment", str(source), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_three_ranks_one_killed_and_restarted_give_the_bytes_of_one_process(many, tmp_path):
    out = tmp_path / "ranks" / "aug"
    processes = [start(many, out, "--rank", str(rank), "--world-size", "3") for rank in range(3)]
    deadline = time.monotonic() + 300
    while not list(out.parent.glob("aug.runs/*/parts/00001.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    processes[1].send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate(timeout=300)
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL, 0]
    folder = next(out.parent.glob("aug.runs/lsms*/"))
    indices = {int(path.stem) for path in folder.glob("parts/*.json")}
    assert {i for i in indices if i % 3 != 1} == {i for i in range(80) if i % 3 != 1}
    killed = len([i for i in indices if i % 3 == 1])
    assert 1 <= killed < 27, "the rank ended before it was killed"
    assert not out.exists(), "no rank publishes"

    restarted = start(many, out, "--rank", "1", "--world-size", "3")
    said, _ = restarted.communicate(timeout=300)
    assert restarted.returncode == 0
    assert said.startswith("rank 1 of 3: finished its 27 parts\n")
    assert json.loads((folder / "run-1-of-3.json").read_text())["parts_made"] == 27 - killed
    assert not out.exists()

    recipe, gold = resolve(recipe_for(LSMS(copies=2), source=str(many), part_size=5), load_source(str(many)))
    run_and_publish(recipe, gold, out, source=str(many))
    assert json.loads((folder / "run.json").read_text())["parts_made"] == 0
    assert not list(out.parent.glob("aug.runs/*.ranks.json")), "other options may follow"

    run_and_publish(recipe, gold, tmp_path / "one" / "aug", source=str(many))
    assert files(out) == files(tmp_path / "one" / "aug")
    assert len(files(out)) == 4, "train, augmentation.json, croissant.json, README.md"


# ---------------------------------------------------------------- storage


def put(url, name, data):
    with fsspec.open(f"{url}/{name}", "wb") as file:
        file.write(data)


def get(url, name):
    with fsspec.open(f"{url}/{name}", "rb") as file:
        return file.read()


@pytest.fixture(params=["file", "memory", "s3"])
def place(request, tmp_path, storage):
    """The URL of an empty place: a folder, the memory of this process, a bucket."""
    if request.param == "s3":
        return request.getfixturevalue("s3")
    return storage if request.param == "memory" else f"file://{tmp_path}/elsewhere"


def test_machines_that_share_only_a_storage(splits, machine, place):
    url = place
    shares = []
    for rank in range(2):
        run = augment(splits, METHOD, out=machine(f"m{rank}"), rank=rank, world_size=2, storage=url, **QUIET)
        shares.append(run)
        assert [part.index for part in run.parts] == [[0, 2, 4], [1, 3]][rank]
        assert run.counts["posts"] == [8, 6][rank]
        assert sorted(path.stem for path in run.folder.glob("parts/*.json")) == [p.stem for p in run.parts]
    assert shares[0].method.artifact == shares[1].method.artifact

    name = shares[0].folder.name
    whole = get(url, f"{name}/parts/00003.parquet")
    put(url, f"{name}/parts/00003.parquet", whole[:-10])
    put(url, f"{name}/parts/00002.json", b"{")
    put(url, f"{name}/parts/00001.parquet", get(url, f"{name}/parts/00004.parquet"))
    put(url, f"{name}/parts/00004.json", b"")
    system, path = fsspec.core.url_to_fs(f"{url}/{name}/rejected/00000.parquet")
    system.rm_file(path)

    out = machine("gathering")
    publish(augment(splits, METHOD, out=out, storage=url, **QUIET), out)
    assert json.loads(get(url, f"{name}/run.json"))["parts_made"] == 5
    assert get(url, f"{name}/parts/00003.parquet") == whole, "what was truncated is mended there, too"
    assert files(out) == single(splits, machine("alone"))


def test_a_damaged_note_in_the_storage_does_not_cost_a_whole_part_here(splits, machine, place):
    """Nor does one of another recipe, which is told with where it lies."""
    out = machine("a")
    run = augment(splits, METHOD, out=out, storage=place, **QUIET)
    note = f"{run.folder.name}/parts/00001.json"
    whole = get(place, note)
    put(place, note, whole[:20])
    again = augment(splits, METHOD, out=out, storage=place, **QUIET)
    assert json.loads((again.folder / "run.json").read_text())["parts_made"] == 0
    assert get(place, note) == whole
    put(place, note, whole.replace(json.loads(whole)["recipe"].encode(), b"0" * 64))
    where = re.escape(str(open_store(f"{place}/{run.folder.name}")))
    said = rf"^{where}/parts/00001\.parquet was made by another recipe: delete {where}$"
    with pytest.raises(RecipeMismatch, match=said):
        augment(splits, METHOD, out=out, storage=place, **QUIET)
    assert (run.folder / "parts" / "00001.json").read_bytes() == whole


class Waiting(MemoryFileSystem):
    """Storage that takes its time to answer; ``most`` requests were under way at once."""

    protocol = "waiting"
    most = asked = 0

    def cat_file(self, path, **kwargs):
        Waiting.asked += 1
        Waiting.most = max(Waiting.most, Waiting.asked)
        time.sleep(0.05)
        Waiting.asked -= 1
        return super().cat_file(path, **kwargs)


def test_parts_in_a_storage_are_looked_for_several_at_a_time(splits, machine, storage):
    fsspec.register_implementation("waiting", Waiting, clobber=True)
    run = augment(splits, METHOD, out=machine("a"), storage="waiting://shared", **QUIET)
    assert (len(run.parts), Waiting.most) == (5, 5)
    system, lost = fsspec.core.url_to_fs(f"waiting://shared/{run.folder.name}/parts/00002.json")
    system.rm_file(lost)
    again = augment(splits, METHOD, out=machine("b"), storage="waiting://shared", **QUIET)
    assert json.loads((again.folder / "run.json").read_text())["parts_made"] == 1
    assert again.dataset[:] == run.dataset[:]


def test_what_was_made_before_the_storage_was_named_is_sent(splits, machine, storage):
    out = machine("here")
    augment(splits, METHOD, out=out, **QUIET)
    run = augment(splits, METHOD, out=out, storage=storage, **QUIET)
    assert json.loads((run.folder / "run.json").read_text())["parts_made"] == 0
    again = augment(splits, METHOD, out=machine("there"), storage=storage, **QUIET)
    assert json.loads((again.folder / "run.json").read_text())["parts_made"] == 0
    assert again.dataset[:]["id"] == run.dataset[:]["id"]


def test_workers_of_a_rank_do_not_need_to_reach_the_storage(splits, machine, storage):
    """The memory of this process is out of reach of theirs."""
    run = augment(splits, METHOD, out=machine("a"), rank=0, world_size=2, num_proc=2, storage=storage, **QUIET)
    names = fsspec.filesystem("memory").find(f"/shared/{run.folder.name}/parts")
    assert [Path(name).name for name in names] == [f"0000{i}.{end}" for i in (0, 2, 4) for end in ("json", "parquet")]


def test_more_ranks_than_parts(splits, machine):
    out = machine("a")
    run = augment(splits, METHOD, out=out, rank=6, world_size=7, **QUIET)
    assert (run.parts, run.dataset.num_rows, run.counts["made"]) == ([], 0, 0)


def test_an_artifact_of_several_files_travels_whole(splits, machine, storage, monkeypatch):
    digests = {}

    def learn(self, train, validation):
        from hf_mner_aug.storage import artifacts

        digests["posts"] = artifacts.save(b"pictures")
        return {"files": digests}

    monkeypatch.setattr(LSMS, "learn", learn)
    monkeypatch.setattr(LSMS, "rewrite", lambda self, posts, draws: [None] * len(posts))
    machine("a")
    place = open_store(storage).at("run", "fit")
    recipe, gold = resolve(recipe_for(METHOD), splits)
    fitted = ranks.fit_once(place, recipe, gold)
    cache = machine("b").parent / "cache" / "artifacts"
    assert ranks.fit_once(place, recipe, gold) == fitted
    assert (cache / digests["posts"]).read_bytes() == b"pictures"
    assert sorted(path.name for path in cache.iterdir()) == sorted([fitted.artifact, digests["posts"]])
    put(storage, f"run/fit/{digests['posts']}", b"picture")
    machine("c")
    with pytest.raises(Corrupt, match=f"fit/{digests['posts']} is damaged: delete the folder memory://shared/run/fit"):
        ranks.fit_once(place, recipe, gold)


# ---------------------------------------------------------------- one recipe, one fit


def test_ranks_with_another_recipe_are_refused_until_the_first_one_is_published(splits, machine, storage):
    options = {"out": machine("a"), "storage": storage, **QUIET}
    augment(splits, METHOD, rank=0, world_size=2, **options)
    other = LSMS(copies=2, seed=4)
    said = r"memory://shared/lsms_100pct\.ranks\.json was written for another seed: give every rank the same options"
    with pytest.raises(RecipeMismatch, match=said):
        augment(splits, other, rank=1, world_size=2, **options)
    with pytest.raises(RecipeMismatch, match="another seed"):
        augment(splits, other, **options)
    with pytest.raises(RecipeMismatch, match="another part_size"):
        augment(splits, METHOD, rank=1, world_size=2, **{**options, "part_size": 4})
    augment(splits, METHOD, **options)
    assert augment(splits, other, rank=1, world_size=2, **options).parts


def test_the_first_fit_counts(splits, machine, storage, monkeypatch):
    """Two ranks learn at the same moment; the second one is slower and learns something else."""
    recipe, gold = resolve(recipe_for(METHOD), splits)
    place = open_store(storage).at("run", "fit")
    quick = ranks.fit_once
    learn = LSMS.learn

    def learn_late(self, train, validation):
        monkeypatch.setattr(LSMS, "learn", learn)
        first.append(quick(place, recipe, gold))
        return {**learn(self, train, validation), "by": "another version of a package"}

    first = []
    monkeypatch.setattr(LSMS, "learn", learn_late)
    with pytest.raises(RecipeMismatch, match=r"memory://shared/run: what was learnt here \([0-9a-f]{12}\) is not what"):
        ranks.fit_once(place, recipe, gold)
    assert ranks.fit_once(place, recipe, gold) == first[0]

    put(storage, "run/fit/artifact.json", b"")
    told = r"memory://shared/run/fit/artifact\.json: expected JSON.*: delete it and run again"
    with pytest.raises(Corrupt, match=told):
        ranks.fit_once(place, recipe, gold)


def test_ranks_that_learn_the_same_at_the_same_moment_agree(splits, machine, storage, monkeypatch):
    recipe, gold = resolve(recipe_for(METHOD), splits)
    place = open_store(storage).at("run", "fit")
    learn = LSMS.learn
    both = []

    def learn_late(self, train, validation):
        monkeypatch.setattr(LSMS, "learn", learn)
        both.append(ranks.fit_once(place, recipe, gold))
        return learn(self, train, validation)

    monkeypatch.setattr(LSMS, "learn", learn_late)
    both.append(ranks.fit_once(place, recipe, gold))
    assert both[0] == both[1]


def test_a_rank_is_not_published(splits, machine):
    out = machine("a")
    run = augment(splits, METHOD, out=out, rank=1, world_size=2, **QUIET)
    with pytest.raises(UsageError, match="this is rank 1 of 2: a run without a rank gathers and publishes all"):
        publish(run, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("rank", "world_size", "said"),
    [
        (3, 3, "rank must be from 0 to 2, found 3"),
        (-1, 3, "rank must be from 0 to 2, found -1"),
        (0, 0, "world size must be at least 1, found 0"),
        (None, 3, "world size 3 needs a rank from 0 to 2"),
        (1, None, "rank 1 needs a world size: the number of ranks"),
    ],
)
def test_ranks_out_of_range(splits, tmp_path, rank, world_size, said):
    recipe, gold = resolve(recipe_for(EDA()), splits)
    for call in (
        lambda: augment(splits, EDA(), out=tmp_path / "aug", rank=rank, world_size=world_size),
        lambda: ledger.run(recipe, gold, out=tmp_path / "aug", rank=rank, world_size=world_size),
    ):
        with pytest.raises(UsageError) as error:
            call()
        assert str(error.value) == said
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the command line


class Unreachable(MemoryFileSystem):
    """Storage whose errors are its own, as botocore's are."""

    protocol = "unreachable"

    def cat_file(self, path, **kwargs):
        raise RuntimeError("no route to host\nat 10.0.0.1")

    pipe_file = cat_file


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "augment", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    monkeypatch.chdir(tmp_path)
    fsspec.register_implementation("unreachable", Unreachable, clobber=True)
    return run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rank", "-1", "--world-size", "3"], 2, "rank must be from 0 to 2, found -1"),
        (["--rank", "1"], 2, "rank 1 needs a world size: the number of ranks"),
        (
            ["--rank", "0", "--world-size", "1", "--push-to-hub", "a/b"],
            2,
            "a rank publishes nothing: push with the run without --rank that gathers the parts",
        ),
        (["--storage", "nosuch://me:secret@host/x"], 2, "storage nosuch://…@host/x: Protocol not known: nosuch"),
        (
            ["--storage", "unreachable://x"],
            1,
            "storage unreachable://x: no route to host; what is finished is kept, run the same command again",
        ),
        (
            ["--storage", "file:///dev/null/x"],
            1,
            "/dev/null/x/eda_100pct.ranks.json: Not a directory",
        ),
    ],
)
def test_mistakes_and_trouble_are_one_line(call, many, arguments, code, said):
    assert call(many, "--method", "eda", "--out", "aug", *arguments) == (code, "", f"error: {said}\n")
    assert not Path("aug").exists()
    assert not Path("aug.runs").exists()


def test_one_rank_of_one_publishes_nothing_either(call, many):
    code, out, _ = call(many, "--method", "eda", "--copies", 1, "--out", "aug", "--rank", 0, "--world-size", 1)
    assert (code, out.splitlines()[0]) == (0, "rank 0 of 1: finished its 2 parts")
    assert not Path("aug").exists()
    code, out, _ = call(many, "--method", "eda", "--copies", 1, "--out", "aug")
    assert (code, out.splitlines()[-1]) == (0, 'load_dataset("aug", "eda_100pct")')


# ---------------------------------------------------------------- the store


@pytest.fixture(params=["folder", "memory", "s3", "fsspec's own local files"])
def store(request, tmp_path, storage):
    if request.param == "s3":
        return open_store(request.getfixturevalue("s3")).at("run", "parts")
    if request.param == "folder":
        return open_store(tmp_path / "shared").at("run", "parts")
    if request.param == "memory":
        return open_store(storage).at("run", "parts")
    (tmp_path / "shared").mkdir()
    return Remote(f"file://{tmp_path}/shared").at("run", "parts")  # open_store would take the folder


def test_what_is_written_is_read(store, tmp_path):
    assert store.read("note") is None
    store.write("note", b"one")
    store.write("note", b"two")
    assert store.read("note") == b"two"
    assert store.write_once("note", b"three") == b"two"
    assert store.write_once("parts/other", b"three") == store.read("parts/other") == b"three"
    store.remove("note")
    store.remove("note")
    assert store.read("note") is None

    (tmp_path / "local").write_bytes(b"data")
    store.send(tmp_path / "local", "parts/file")
    assert store.fetch("parts/file", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == b"data"
    assert not store.fetch("parts/nothing", tmp_path / "new" / "nothing")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy"]
    store.send(tmp_path / "local", "parts/file")  # again, as a part that is mended
    assert not list(tmp_path.rglob("*.tmp"))


def test_of_many_writers_at_once_the_first_wins(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        for i in range(20):
            found = set(pool.map(lambda n, i=i: Folder(tmp_path).write_once(f"{i}", b"%d" % n * 1000), range(16)))
            assert found == {(tmp_path / str(i)).read_bytes()}
    assert len(list(tmp_path.iterdir())) == 20


def test_of_many_writers_to_a_bucket_the_first_wins(s3):
    place = open_store(s3).at("run")
    with ThreadPoolExecutor(8) as pool:
        for i in range(5):
            found = set(pool.map(lambda n, i=i: place.write_once(f"{i}", b"%d" % n), range(8)))
            assert found == {place.read(f"{i}")}


class Plain(MemoryFileSystem):
    """As servers of S3 that know no condition."""

    protocol = "plain"

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if mode == "create":
            raise OSError(errno.ENOSYS, "A header you provided implies functionality that is not implemented.")
        super().pipe_file(path, value, **kwargs)


def test_a_server_that_cannot_create_exclusively():
    fsspec.register_implementation("plain", Plain, clobber=True)
    place = open_store("plain://without-conditions")
    assert place.write_once("a", b"one") == b"one"
    assert place.write_once("a", b"two") == b"one"


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    assert Folder(tmp_path).write_once("a", b"one") == b"one"
    assert Folder(tmp_path).write_once("a", b"two") == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_place_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(OSError, match=rf"storage file://{tmp_path}/nowhere/run: .*No such file or directory"):
        Remote(f"file://{tmp_path}/nowhere").at("run")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for protocol in ("s3", "s3a"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    _file_system.cache_clear()
    with pytest.raises(MissingExtra, match=r"storage s3://bucket/x: Install s3fs.*: pip install 'hf-mner-aug\[s3\]'"):
        open_store("s3://bucket/x")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://AKIA1:secret2@bucket/x", "storage s3://…@bucket/x: expected s3://BUCKET/FOLDER, found a name before @"),
        ("gs://secret2@bucket", "storage gs://…@bucket: expected gs://BUCKET/FOLDER, found a name before @"),
        ("memory://x/y?token=secret2", "storage memory://x/y?…: expected a folder's URL, found one with a query"),
    ],
)
def test_a_key_in_a_url_is_refused_and_not_told(url, said):
    with pytest.raises(UsageError) as error:
        open_store(url)
    assert str(error.value).startswith(said)
    assert "secret2" not in str(error.value)


def test_keys_are_not_told_where_an_error_names_them(call, many, monkeypatch):
    def refuse(self, path, **kwargs):
        raise RuntimeError("GET http://me:secret1@host/x?Signature=secret2 signed by secret3-of-mine: refused")

    monkeypatch.setattr(Unreachable, "cat_file", refuse)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret3-of-mine")
    said = "error: storage unreachable://x: GET http://…@host/x?… signed by …: refused; what is finished is kept, run "
    told = call(many, "--method", "eda", "--out", "aug", "--storage", "unreachable://x")
    assert told == (1, "", f"{said}the same command again\n")
