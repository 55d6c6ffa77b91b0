"""Names of a stranger's repo, dataset or augmentation.json that would lead elsewhere, and what becomes of them."""

import io
import json
import shutil
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hf_mner_aug import EDA, augment, publish
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.pages.memory import _learned
from hf_mner_aug.publishing.folder import place_config, read_features, read_note
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.runs.recipe import Recipe, recipe_for
from hf_mner_aug.runs.subset import source_posts
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.shared import Folder
from hf_mner_aug.untrusted.names import check_columns, check_name, check_repo, check_repo_path, is_name

BAD_NAMES = (
    "../x", "..", ".", ".git", "", "/tmp/x", "a/b", "a\\b", "train/../../y", "*", "trai?", "[a-z]*", "a b", "a\nb",
    "a:b", "a\0b", "x" * 129, "-rf", "~", "é", "ﬀ", "a\u202eb", None, 7, ["a"], "lsms\n",
)  # fmt: skip


@pytest.fixture
def folder(two_configs, tmp_path):
    """A copy of it, and beside it a folder of the user with a file."""
    shutil.copytree(two_configs, tmp_path / "aug")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    return tmp_path / "aug"


def change(place, path, value):
    """Set a value deep in a config's augmentation.json."""
    note = json.loads((place / "augmentation.json").read_text())
    *parents, last = path
    at = note
    for name in parents:
        at = at[name]
    at[last] = value
    (place / "augmentation.json").write_text(json.dumps(note))


def tree(place):
    """Return every path below a folder with its bytes."""
    return {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_name(name):
    assert not is_name(name)
    with pytest.raises(DataError) as caught:
        check_name("split", name, "x")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
    if isinstance(name, str) and name:
        with pytest.raises(UsageError, match="config name"):
            Recipe(method="eda", config=name)


@pytest.mark.parametrize("name", ["eda_10pct", "v1.2", "A-b", "_x", "2017", "a..b", "x" * 128])
def test_what_is_a_name(name):
    check_name("split", name)
    assert Recipe(method="eda", config=name).config == name


@pytest.mark.parametrize("name", ["data", "README.md"])
def test_names_that_a_repo_needs_itself(name):
    with pytest.raises(UsageError, match="and not 'data' or 'README"):
        Recipe(method="eda", config=name)


@pytest.mark.parametrize(
    "config", ["../home/x", "../home", "/tmp/hf-mner-aug-attack", ".git", ".", "", "lsms_100pct", "eda_100pct/../x"]
)
def test_a_recipe_that_names_another_folder_moves_nothing(folder, config):
    change(folder / "eda_100pct", ["recipe", "config"], config)
    before = tree(folder.parent)
    with pytest.raises(DataError, match=r"eda_100pct/augmentation\.json"):
        withdraw_posts(folder, ["p3"])
    with pytest.raises(DataError, match=r"eda_100pct/augmentation\.json"):
        verify_folder(folder, "eda_100pct")
    assert tree(folder.parent) == before
    assert not Path("/tmp/hf-mner-aug-attack").exists()


@pytest.mark.parametrize("config", ["../home", "", ".", ".."])
def test_a_config_is_placed_inside_only(folder, config, mner):
    """When a config is placed, its name is checked again before anything moves, whatever its note says."""
    note = json.loads((folder / "eda_100pct" / "augmentation.json").read_text())
    note["recipe"]["config"] = config
    stage = folder.parent / "stage"
    shutil.copytree(folder / "eda_100pct", stage)
    before = tree(folder.parent)
    with pytest.raises(UsageError, match="name"):
        place_config(stage, folder, note, mner.features)
    assert tree(folder.parent) == before


@pytest.mark.parametrize("split", ["../../home/secret", "*", "train/../../y", "t[rR]ain", "tra?n", ".hidden", "a\nb"])
def test_a_split_is_no_pattern_and_no_path(folder, split):
    (folder.parent / "home" / "secret-0.parquet").write_bytes(b"PAR1")
    note = json.loads((folder / "eda_100pct" / "augmentation.json").read_text())
    change(folder / "eda_100pct", ["splits"], {**note["splits"], split: {"gold": 0, "made": 0, "num_bytes": 0}})
    with pytest.raises(DataError, match="split name"):
        read_note(folder / "eda_100pct")
    with pytest.raises(DataError, match="split name"):
        verify_folder(folder, "eda_100pct")


@pytest.mark.parametrize("where", ["eda_100pct", "README.md"])
def test_links_in_out_lead_nowhere(folder, splits, where):
    """A config's folder that links to the user's, a card that links to a key: neither is read into OUT nor replaced."""
    target = folder.parent / "home"
    if where == "README.md":
        target = target / "thesis.txt"
        (folder / where).unlink()
    else:
        shutil.rmtree(folder / where)
    (folder / where).symlink_to(target)
    run = augment(splits, EDA(copies=1), progress=False)
    with pytest.raises(UsageError, match="is a link"):
        publish(run, folder, overwrite=True)
    if where == "README.md":
        with pytest.raises(UsageError, match="is a link"):
            withdraw_posts(folder, ["p3"])
    assert (folder / where).is_symlink()
    assert tree(folder.parent / "home") == {Path("thesis.txt"): b"years of work"}


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "a\nb",
        "a\x1b[2J",
        "a|b",
        "<b>",
        "`x`",
        ".x",
        " x",
        "",
        "a\u202eb",
        "a*",
        "\u2028",
        "y" * 129,
    ],
)
def test_columns_that_are_refused(mner, folder, name):
    with pytest.raises(DataError, match="column name") as caught:
        check_columns([name])
    assert str(caught.value).isprintable()
    if name:
        bad = mner.select(range(2)).rename_column("image", name)
        with pytest.raises(DataError, match="column name"):
            named_splits(bad)
        with pytest.raises(DataError, match="column name"):
            augment(bad, EDA(), progress=False)
        bad.to_parquet(folder / "eda_100pct" / "aaa-0.parquet")
        with pytest.raises(DataError, match="column name"):
            read_features(folder / "eda_100pct")


@pytest.mark.parametrize(
    "name", ["text: raw", "img (orig)", "句子", "Überschrift", "हिन्दी", "a.b", "likes%", "x,y", "#tags"]
)
def test_columns_that_public_sets_have(mner, name):
    check_columns([name])
    made = augment(mner.add_column(name, ["v"] * len(mner)), EDA(copies=1), keep=[name], progress=False)
    assert made.dataset[0][name] == "v"


# ---------------------------------------------------------------- what a card names as data


OUTSIDE = (
    "/etc/*.parquet", "../home/*.parquet", "data/../../home/*", "~/x.parquet", "https://127.0.0.1:9/x.parquet",
    "hf://datasets/other/one/x.parquet", "zip://*::x.zip", "..\\home\\x.parquet", "file:///etc/x.parquet",
)  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
def test_a_card_names_data_of_its_own_only(mner, tmp_path, path, card):
    home, data = tmp_path / "home", tmp_path / "set"
    for place in (home, data / "data"):
        place.mkdir(parents=True)
        mner.to_parquet(place / "train-0.parquet")
    yaml = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: ['data/*', '{path}']\n"
    (data / card).write_text(f"---\n{yaml}---\n# hello\n" if card == "README.md" else yaml)
    with pytest.raises(DataError, match="expected a path inside the repo"):
        load_source(str(data))
    with pytest.raises(DataError):
        check_repo_path(path)


@pytest.mark.parametrize("files", ["data/*", "[data/*]", "[{split: train, path: 'data/train-*'}]", "data/**/tra[i]n-*"])
def test_cards_that_load(mner, tmp_path, files):
    (tmp_path / "data").mkdir()
    mner.to_parquet(tmp_path / "data" / "train-0.parquet")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n")
    assert load_source(str(tmp_path))["train"].num_rows == len(mner)


class Listener:
    """A stranger's host, which records the requests with their headers."""

    def __enter__(self):
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append((self.path, self.headers.get("Authorization")))
                self.send_error(404)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_a_host_that_a_card_names_is_not_asked(hub_client, tmp_path):
    """With or without the Hub's name in front, by which datasets recognises the Hub's addresses."""
    hub = hub_client.server
    with Listener() as evil:
        for repo, files in (("a/a", f"http://{evil.host}/x.parquet"), ("b/b", f"{hub.url}@{evil.host}/x.parquet")):
            hub.repo(repo).create(private=False)
            card = f"---\nconfigs:\n- config_name: default\n  data_files: '{files}'\n---\n"
            hub.commit(repo, {"README.md": card})
        said = hub_client.run("answers += [attempt(load_source, repo) for repo in ('a/a', 'b/b')]", tmp_path / "aug")
        for line in said:
            assert line.startswith("DataError: ")
            assert "expected a path inside the repo" in line
        assert evil.seen == []


REPOS = (
    "http://{host}/x",
    "{host}/x",
    "//{host}/x",
    "org/aug@http://{host}/",
    "org/aug@../../../../{host}",
    "../{host}",
)


def test_the_token_goes_to_the_hub_only(hub_client, tmp_path):
    """Whatever a repo, a revision or a config is called, and wherever the Hub sends those who fetch a file."""
    hub = hub_client.server
    hub.repo("org/token").create(private=False)
    hub.commit("org/token", {"README.md": "# hello", "eda/augmentation.json": "{}"})
    with Listener() as other:
        places = [repo.format(host=other.host) for repo in REPOS]
        script = f"""
for place in {places}:
    repo, _, revision = place.partition("@")
    answers.append(attempt(load_source, place))
    answers.append(attempt(hub.verify, repo, "eda", revision=revision or None))
    answers.append(attempt(hub.withdraw, repo if not revision else f"{{repo}}@{{revision}}", ["p1"]))
answers.append(attempt(hub.verify, "org/token", "http://{other.host}/x"))
elsewhere = dict(Location="http://{other.host}/x")
order(kind="status", method="GET", path="/resolve/", status=302, headers=elsewhere, times=9)
answers.append(attempt(hub.verify, "org/token", "eda"))
"""
        said = hub_client.run(script, tmp_path / "aug")
        assert len(said) == 3 * len(REPOS) + 2
        refusals = ("UsageError", "DataError", "HubError", "OSError")
        assert {line.partition(":")[0] for line in said} <= set(refusals), said
        assert {token for _, token in other.seen} == {None}, "it was asked for a file's bytes, without the token"
        assert {path for path, _ in other.seen} == {"/x"}


@pytest.mark.parametrize(
    "source",
    ["/home/x/private", "../x", "a/b/c", "https://127.0.0.1/x", "~/x", "x/y@../../z", "x/y@main:../c", "", "x y/z"],
)
def test_a_published_recipe_names_no_folder_as_its_source(source):
    recipe = Recipe(method="eda", config="eda", source=source)
    with pytest.raises(UsageError, match="--source DIR"):
        source_posts(recipe)


def test_sources_that_a_published_recipe_names():
    for repo, revision, config in (("squad", None, None), ("org/x.y", "refs/convert/parquet", "lsms_10pct")):
        check_repo(repo, revision, config)


def test_a_hub_repo_with_hostile_splits_and_configs(mner, tmp_path):
    """An error of load_dataset itself is one line, too."""
    (tmp_path / "data").mkdir()
    mner.to_parquet(tmp_path / "data" / "train-0.parquet")
    for config, split in (("default", "../x"), ("a/../../b", "train")):
        (tmp_path / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: {split}\n    path: data/*\n---\n"
        )
        with pytest.raises(UsageError) as caught:
            load_source(str(tmp_path))
        assert len(str(caught.value).splitlines()) == 1


# ---------------------------------------------------------------- digests that are file names


BAD_DIGESTS = ("../../x", "/etc/passwd", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64, ".", 7, None)


@pytest.fixture
def secret():
    """A file beside the artifacts, whose bytes nobody may get."""
    path = artifacts.cache_folder() / "secret.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"method": "memory_hard", "learned": "key"}))
    yield path
    path.unlink()


@pytest.mark.parametrize("digest", ["../secret.json", *BAD_DIGESTS])
def test_what_is_no_digest_is_no_file(tmp_path, splits, secret, digest):
    with pytest.raises(Corrupt, match="64 hexadecimal digits"):
        artifacts.load(digest)
    with pytest.raises(Corrupt, match="64 hexadecimal digits"):
        artifacts.path_of(digest)
    with pytest.raises(Corrupt, match="64 hexadecimal digits"):
        artifacts.load_folder(digest, tmp_path / "to")
    if digest is not None:
        with pytest.raises(Corrupt, match="64 hexadecimal digits"):
            Recipe(method="eda", config="eda", artifact=digest)
    named = artifacts.save_json({"learned": {"files": {"posts": digest}}})
    with pytest.raises(Corrupt, match="64 hexadecimal digits"):
        artifacts.files(named)
    run = tmp_path / "run"
    (run / "fit").mkdir(parents=True)
    (run / "secret.json").write_text("{}")
    recipe = recipe_for(EDA(), config="eda")
    for stored in (digest, named):
        (run / "fit" / "artifact.json").write_text(json.dumps({"artifact": stored}))
        shutil.copyfile(artifacts.path_of(named), run / "fit" / named)
        with pytest.raises(Corrupt, match="64 hexadecimal digits"):
            fit_once(Folder(run), recipe, splits)
    (run / "fit" / "artifact.json").write_text(json.dumps({"artifact": digest}))
    with pytest.raises(Corrupt):
        _learned(run)


def packed(*members):
    """Store a tar with these members as an artifact."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return artifacts.save(file.getvalue())


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("../x"),
        member("/tmp/hf-mner-aug-attack"),
        member("a/../../x"),
        member(".ssh/authorized_keys"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("inside", tarfile.SYMTYPE, "weights.bin"),
        member("hard", tarfile.LNKTYPE, "weights.bin"),
        member("pipe", tarfile.FIFOTYPE),
        member("zero", tarfile.CHRTYPE),
        member("a b"),
    ],
    ids=lambda info: info.name,
)
def test_an_artifact_unpacks_to_plain_files_only(tmp_path, bad):
    digest = packed((member("weights.bin"), b"w"), (bad, b""))
    with pytest.raises(Corrupt, match="expected files with plain names"):
        artifacts.load_folder(digest, tmp_path / "to")
    assert not (tmp_path / "to").exists(), "nothing is unpacked"
    with pytest.raises(Corrupt, match="is not an archive"):
        artifacts.load_folder(artifacts.save(b"not a tar" * 100), tmp_path / "to")


def test_an_artifact_that_is_packed_twice_is_not_blown_up(tmp_path):
    """gzip makes 100 MB of 100 kB; what save_folder writes is never compressed."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 10_000_000
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(Corrupt, match="is not an archive"):
        artifacts.load_folder(artifacts.save(file.getvalue()), tmp_path / "to")


def test_what_a_method_stores_loads(tmp_path):
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "deep" / "model-00001.safetensors").write_bytes(b"w")
    (tmp_path / "from" / "config.json").write_text("{}")
    artifacts.load_folder(artifacts.save_folder(tmp_path / "from"), tmp_path / "to")
    assert tree(tmp_path / "to") == tree(tmp_path / "from")
