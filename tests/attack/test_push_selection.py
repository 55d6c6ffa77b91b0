"""Push sends and withdraw touches what the card's configs name, and nothing else of the user's or a stranger's."""

import json
import os
import shutil
import time

import pytest

import hf_mner_aug.publishing.hub as hub_module
from hf_mner_aug import EDA, augment, publish
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.publishing.folder import NOTE
from hf_mner_aug.publishing.hub_repo import GaveUp, Raced, persist
from hf_mner_aug.publishing.selection import choose

REPO = "org/aug"
SECRET = b"hf_mner_aug-attack-secret-key"
KEPT = b"a file of the repo that no config names"


@pytest.fixture
def folder(two_configs, tmp_path):
    """A copy of it, and beside it a key of the user."""
    shutil.copytree(two_configs, tmp_path / "aug")
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "key").write_bytes(SECRET)
    return tmp_path / "aug"


def litter(folder):
    """Put into a repo folder what must not leave this machine; return each path with its reason."""
    key = folder.parent / "ssh" / "key"
    config = folder / "eda_100pct"
    for path in (".env", "notes.txt", "README.md~", "dump.tmp", "eda_100pct/.env", "eda_100pct/train.parquet.bak"):
        (folder / path).write_bytes(SECRET)
    for path in ("eda_100pct/secrets.json", "eda_100pct/page.html", "eda_100pct/#note#", "eda_100pct/lsms_100pct.html"):
        (folder / path).write_bytes(SECRET)
    for path in (".git", ".cache", "notes", "eda_100pct/sub", "data", ".eda.abc.tmp"):
        (folder / path).mkdir()
        (folder / path / "train-00000-of-00001.parquet").write_bytes(SECRET)
    (folder / "ssh").symlink_to(key.parent)
    (folder / "key").symlink_to(key)
    (folder / "dangling").symlink_to(folder / "nowhere")
    (config / "key").symlink_to(key)
    (config / "eda_100pct.html").symlink_to(key)
    os.mkfifo(config / "pipe")
    shutil.copytree(config, folder / ".eda_100pct.publishing", ignore=lambda *_: ["pipe"])
    return {
        ".cache/": "hidden",
        ".eda.abc.tmp/": "hidden",
        ".eda_100pct.publishing/": "hidden",
        ".env": "hidden",
        ".git/": "hidden",
        "README.md~": "temporary",
        "dangling": "a link",
        "data/": f"it has no {NOTE}",
        "dump.tmp": "temporary",
        "eda_100pct/#note#": "temporary",
        "eda_100pct/.env": "hidden",
        "eda_100pct/eda_100pct.html": "a link",
        "eda_100pct/key": "a link",
        "eda_100pct/lsms_100pct.html": "the config does not name it",
        "eda_100pct/page.html": "the config does not name it",
        "eda_100pct/pipe": "no file",
        "eda_100pct/secrets.json": "the config does not name it",
        "eda_100pct/sub/": "the config does not name it",
        "eda_100pct/train.parquet.bak": "temporary",
        "key": "a link",
        "notes.txt": "no config names it",
        "notes/": f"it has no {NOTE}",
        "ssh/": "a link",
    }


def sent(folder):
    return sorted(choose(folder).files)


def test_what_is_sent_is_what_the_configs_name(folder):
    clean = sent(folder)
    assert clean == [
        f"{config}/{name}"
        for config in ("eda_100pct", "lsms_100pct")
        for name in (
            NOTE,
            "croissant.json",
            *(f"{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")),
        )
    ]
    expected = litter(folder)
    (folder / "lsms_100pct" / "lsms_100pct.html").write_text("<p>made by show")
    chosen = choose(folder)
    assert sorted(chosen.files) == sorted([*clean, "lsms_100pct/lsms_100pct.html"])
    assert dict(line[:-1].split(" (", 1) for line in chosen.left_out) == expected, "all of it is listed"


@pytest.mark.parametrize("name", ["train-00000-of-00001.parquet", "train-00001-of-00002.parquet"])
def test_data_that_is_a_link_is_refused_not_left_out(folder, name):
    """If it were left out, card and data would disagree."""
    place = folder / "eda_100pct" / name
    place.unlink(missing_ok=True)
    place.symlink_to(folder.parent / "ssh" / "key")
    with pytest.raises(DataError, match="expected a file, found a link"):
        choose(folder)


def test_a_config_without_its_data_is_refused(folder):
    (folder / "eda_100pct" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(Corrupt, match=r"no test-\*\.parquet"):
        choose(folder)


def test_a_note_or_folder_that_is_a_link_is_no_config(folder, tmp_path):
    shutil.move(folder / "eda_100pct" / NOTE, tmp_path / NOTE)
    (folder / "eda_100pct" / NOTE).symlink_to(tmp_path / NOTE)
    shutil.move(folder / "lsms_100pct", tmp_path / "lsms_100pct")
    (folder / "lsms_100pct").symlink_to(tmp_path / "lsms_100pct")
    chosen = choose(folder)
    assert chosen.files == {}
    assert chosen.left_out == (f"eda_100pct/ (it has no {NOTE})", "lsms_100pct/ (a link)")
    with pytest.raises(UsageError, match=r"holds no config \(left out: eda_100pct/"):
        hub_module.push(folder, REPO)


def test_a_folder_that_the_card_does_not_name_stays_here(folder):
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("config_name: lsms_100pct", "config_name: other"))
    chosen = choose(folder)
    assert set(chosen.notes) == {"eda_100pct"}
    assert chosen.left_out == ("lsms_100pct/ (the card names no such config: publish it again)",)


def test_a_card_that_is_a_link_is_not_read(folder):
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(folder.parent / "ssh" / "key")
    chosen = choose(folder)
    assert chosen.card is None
    assert set(chosen.notes) == {"eda_100pct", "lsms_100pct"}, "their notes say what the card has to"
    assert chosen.left_out == ("README.md (a link)",)


def test_pages_of_a_config_of_ids_stay_here(folder):
    """A page may have been made while the posts were whole."""
    note = json.loads((folder / "eda_100pct" / NOTE).read_text())
    (folder / "eda_100pct" / NOTE).write_text(json.dumps(note | {"retrieved": "ids-only"}))
    (folder / "eda_100pct" / "eda_100pct.html").write_bytes(SECRET)
    assert "eda_100pct/eda_100pct.html" not in sent(folder)


def test_a_card_whose_yaml_is_broken_is_one_line(folder):
    (folder / "README.md").write_text("---\nconfigs: [a\n---\n")
    with pytest.raises(DataError, match=r"README.md: expected YAML, found malformed text at line 1"):
        choose(folder)


# ---------------------------------------------------------------- with a Hub


def upload(server, repo, folder, more=None):
    """Make a repo of a folder's files as they are, and others, on the server's own disk."""
    to = server.repo(repo)
    to.create(private=False)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    entries = {name: to.add(data, lfs=name.endswith(".parquet")) for name, data in (files | (more or {})).items()}
    to.commit("main", entries, "as it was")


def notes_of(server, repo):
    """Return the rows that each config of a repo has, by its augmentation.json."""
    return {
        path.partition("/")[0]: sum(
            rows["gold"] + rows["made"] for rows in json.loads(server.read(repo, path))["splits"].values()
        )
        for path in server.files(repo)
        if path.endswith(NOTE)
    }


def test_nothing_of_the_user_leaves_and_all_that_stays_is_listed(folder, hub_client):
    expected = litter(folder)
    script = """
for dry in (True, False, False):
    answers.append(attempt(hub.push, folder, REPO, dry_run=dry))
"""
    plan, first, again = hub_client.run(script, folder)
    for said in (plan, first, again):
        listed = [line.removeprefix("left out: ") for line in said.splitlines() if line.startswith("left out: ")]
        assert dict(line[:-1].split(" (", 1) for line in listed) == expected
    assert "nothing to push" in again
    held = [path for path in (hub_client.server.folder / "blobs").iterdir() if SECRET in path.read_bytes()]
    assert held == [], "not one byte of it came to the server"
    assert set(hub_client.server.files(REPO)) == {".gitattributes", "README.md", *sent(folder)}


def test_withdraw_keeps_a_push_in_between_and_fetches_its_configs_only(folder, splits, tmp_path, hub_client):
    """A config is pushed after all was read and before the commit; in the other repo the commit's answer is lost."""
    other = tmp_path / "other"
    publish(augment(splits, EDA(copies=2), out=other, config="twice", progress=False), other)
    server = hub_client.server
    server.log.clear()
    for repo in ("org/one", "org/two"):
        upload(server, repo, folder, {"big.bin": b"x" * 1000, "notes/a.parquet": b"x", ".env": KEPT})
    before = notes_of(server, "org/one")
    script = f"""
withdraw_posts, pushes = hub.withdraw_posts, ["org/one"]

def meanwhile(*arguments):
    gone = withdraw_posts(*arguments)
    while pushes:
        hub.push({str(other)!r}, pushes.pop(), rights=True)
    return gone

hub.withdraw_posts = meanwhile
answers.append(attempt(hub.withdraw, "org/one", ["p3"]))
order(kind="drop_after", method="POST", path="org/two/commit/")
answers.append(attempt(hub.withdraw, "org/two", ["p3"]))
answers += [hub.verify("org/one", config).ok for config in ("eda_100pct", "lsms_100pct", "twice")]
"""
    one, two, *verified = hub_client.run(script, folder)
    assert one == "{'eda_100pct': 2, 'lsms_100pct': 2, 'twice': 3}", "what was pushed in between is gone through, too"
    assert two == "{'eda_100pct': 2, 'lsms_100pct': 2}"
    assert verified == [True] * 3
    for repo in ("org/one", "org/two"):
        assert {name: rows + 2 for name, rows in notes_of(server, repo).items() if name != "twice"} == before
        assert server.read(repo, ".env") == KEPT, "a file outside all configs is kept"
    made = [(commit["title"], commit["parent"]) for commit in server.commits("org/one")]
    assert [title for title, _ in made][:2] == ["Withdraw posts", "Publish twice"], "the push in between is kept"
    assert made[0][1] == server.commits("org/one")[1]["id"]
    assert len(server.commits("org/two")) == 3, "what landed is not sent twice"
    fetched = {request.path for request in server.log if request.method == "GET" and "/resolve/" in request.path}
    assert not [path for path in fetched if "big.bin" in path or "notes/" in path or ".env" in path]


HOSTILE = {
    "a config that names another folder": ("eda_100pct/augmentation.json", "config name '../home'"),
    "a config's folder with a space": (f"a b/{NOTE}", "file name 'a b'"),
    "a config's folder with a line's end": (f"a\nb/{NOTE}", r"file name 'a\nb'"),
    "a config's folder that is hidden": (f".git/{NOTE}", "file name '.git'"),
    "a file that leaves its folder": ("eda_100pct/../../home/train-0.parquet", "no commit can delete"),
    "a file that leaves the repo": ("../home/thesis.txt", ""),
    "a pattern": ("eda_100pct/train-*.parquet", r"file name 'train-*.parquet'"),
}


def test_a_repo_with_hostile_names_moves_nothing(folder, tmp_path, hub_client):
    """Names that the Hub itself would refuse, from a server that does not."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    note = json.loads((folder / "eda_100pct" / NOTE).read_text())
    hostile = json.dumps(note | {"recipe": note["recipe"] | {"config": "../home"}}).encode()
    server = hub_client.server
    heads = {}
    for i, (path, _) in enumerate(HOSTILE.values()):
        data = hostile if path.endswith(NOTE) else b"theirs"
        upload(server, f"org/hostile{i}", folder, {path: data})
        heads[i] = server.commits(f"org/hostile{i}")[0]["id"]
    script = f"""
for i in range({len(HOSTILE)}):
    answers.append([attempt(hub.withdraw, f"org/hostile{{i}}", ["p3"]),
                    attempt(hub.verify, f"org/hostile{{i}}", "eda_100pct"),
                    attempt(hub.verify, f"org/hostile{{i}}", "../home"), attempt(hub.verify, f"org/hostile{{i}}", "*")])
"""
    answers = hub_client.run(script, folder)
    for i, ((path, said), (withdrew, verified, *others)) in enumerate(zip(HOSTILE.values(), answers, strict=True)):
        for other in others:
            assert other.startswith("DataError: config name "), other
        if said:
            assert withdrew.startswith("DataError: "), withdrew
            assert said in withdrew
            assert len(withdrew.splitlines()) == 1
            assert server.commits(f"org/hostile{i}")[0]["id"] == heads[i], "nothing was sent"
        else:  # it is no part of a config: not fetched, not touched
            assert withdrew == "{'eda_100pct': 2, 'lsms_100pct': 2}"
            assert verified.startswith("Verification(config='eda_100pct'")
            assert path in server.files(f"org/hostile{i}")
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]
    assert (home / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aug", "home", "ssh"]


def test_another_try_is_bounded(monkeypatch):
    waits, tries = [], []
    monkeypatch.setattr(time, "sleep", waits.append)

    def fails(error):
        tries.append(error)
        raise error

    for error, n in ((Raced("x"), 5), (GaveUp("x"), 1), (UsageError("x"), 1)):
        tries.clear()
        with pytest.raises(type(error)):
            persist(lambda error=error: fails(error))
        assert len(tries) == n
    assert sum(waits) == 15
