"""Push, verify and withdraw against a Hub over real HTTP, with the real clients in processes of their own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from hub_server import HubServer

from hf_mner_aug import EDA, LSMS, augment, publish
from hf_mner_aug.publishing.cards import with_section

REPO = "org/aug"
PRELUDE = """
import json, os, sys, urllib.request
import time
import hf_mner_aug.publishing.hub as hub
time.sleep = lambda seconds: None
folder = os.environ["FOLDER"]

def attempt(*arguments, **options):
    try:
        return str(hub.push(*arguments, **options))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def order(fault):
    url = os.environ["HF_ENDPOINT"] + "/_control/fault"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(fault).encode(), method="POST")).read()

def finish(answer):
    print(json.dumps(answer))
"""
CREATE = f"""
from huggingface_hub import HfApi
HfApi().create_repo("{REPO}", repo_type="dataset", private=True)
finish(0)
"""
CARD = """---
pretty_name: Mine
license: other
configs:
- config_name: older
  data_files:
  - split: train
    path: older/train-*
  default: true
---
# By hand

A word of mine.
"""


@pytest.fixture(scope="module")
def folder(mner, tmp_path_factory):
    """A repo folder with two configs."""
    from datasets import DatasetDict

    out = tmp_path_factory.mktemp("push") / "aug"
    splits = DatasetDict(
        train=mner.select(range(14)), validation=mner.select(range(14, 17)), test=mner.select([17, 18])
    )
    for method in (LSMS(copies=2), EDA(copies=1)):
        publish(augment(splits, method, out=out, progress=False), out)
    return out


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub") as server:
        yield server


def run(hub, script, folder, token="hf_write", **variables):
    """Run a script with the real clients and return the JSON it printed last, and all that it said."""
    environment = hub.env(token) | {"FOLDER": str(folder)} | variables
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert token not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def cli(hub, *arguments, token="hf_write"):
    """Run the command line: exit code and standard error."""
    script = "from hf_mner_aug.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=hub.env(token),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def yaml_of(card):
    return yaml.safe_load(card.split("---")[1])


def test_push_then_load_anywhere(hub, folder):
    plan = run(hub, f"finish(attempt(folder, '{REPO}', dry_run=True))", folder)
    assert "add " in plan
    assert "lsms_100pct/train-00000-of-00001.parquet" in plan
    assert plan.index("+# aug") < plan.index("\nadd "), "the card, which may be long, and then the plan"
    assert not [line for line in hub.log if line[0] == "POST"], "a dry run sends nothing"

    first, again = run(hub, f"finish([attempt(folder, '{REPO}'), attempt(folder, '{REPO}')])", folder)
    *files, url = first.splitlines()
    assert "/commit/" in url
    assert all(re.match(r"add +[\d,]+ bytes  ", line) for line in files), "a push says what it sent, and no more"
    n_lines = len((folder / "README.md").read_text().splitlines())
    assert next(line for line in files if "README.md" in line).endswith(f"README.md ({n_lines} lines added, 0 removed)")
    assert again == f"{REPO} holds all of this already: nothing to push"
    assert len(hub.commits(REPO)) == 2, "the empty repo's commit, and one for data and card"
    card = hub.read(REPO, "README.md").decode()
    assert f'load_dataset("{REPO}", "lsms_100pct")' in card
    assert [entry["config_name"] for entry in yaml_of(card)["configs"]] == ["eda_100pct", "lsms_100pct"]
    for path in hub.files(REPO):
        assert b"hf_write" not in hub.read(REPO, path)
        if path.endswith((".parquet", ".json")):
            assert hub.read(REPO, path) == (folder / path).read_bytes()

    script = f"""
from datasets import load_dataset
plain = load_dataset("{REPO}", "lsms_100pct")
streamed = load_dataset("{REPO}", "lsms_100pct", streaming=True)
default = load_dataset("{REPO}")
found = hub.verify("{REPO}", "lsms_100pct")
finish([plain.num_rows, plain["train"]["id"][:], [row["id"] for row in streamed["train"]],
        plain["train"].features["ner_tags"].feature.names, plain["train"][0]["image"].size,
        default.num_rows, found.ok, found.found])
"""
    rows, ids, streamed, names, size, default, verified, fingerprint = run(hub, script, folder, "hf_read")
    local = load_dataset(str(folder), "lsms_100pct")
    assert rows == local.num_rows
    assert ids == streamed == local["train"]["id"][:]
    assert names == local["train"].features["ner_tags"].feature.names
    assert size == [16, 12]
    assert default == rows, "the config published first is the default"
    assert verified
    assert fingerprint in card


def test_what_others_put_there_is_kept(hub, folder, tmp_path):
    run(hub, CREATE, folder)
    stale = "lsms_100pct/train-00001-of-00002.parquet"
    theirs = with_section(CARD, "quality of lsms_100pct", "measured long ago")
    hub.commit(REPO, {"README.md": theirs, "older/train-00000-of-00001.parquet": "theirs", stale: "stale"})
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    text = (mine / "README.md").read_text() + "\n<!-- study of x -->\nΔ +0.1\n<!-- end of study of x -->\n"
    for config, said in (("lsms_100pct", "| words | 7 |"), ("eda_100pct", "| words | 8 |"), ("gone", "| words | 9 |")):
        text = with_section(text, f"quality of {config}", said, after=f"config {config}")
    (mine / "README.md").write_text(text)
    plan = run(hub, f"finish(attempt(folder, '{REPO}'))", mine)
    assert f"delete            5 bytes  {stale}" in plan
    assert plan.count("README.md") == 1
    assert "A word of mine" not in plan, "only a dry run shows the card's lines"
    changed = re.search(r"^update +[\d,]+ bytes  README.md \((\d+) lines added, (\d+) removed\)$", plan, re.MULTILINE)
    after = hub.read(REPO, "README.md").decode().splitlines()
    assert int(changed[1]) - int(changed[2]) == len(after) - len(theirs.splitlines())
    assert stale not in hub.files(REPO)
    assert hub.read(REPO, "older/train-00000-of-00001.parquet") == b"theirs"
    card = hub.read(REPO, "README.md").decode()
    assert "# By hand\n\nA word of mine.\n" in card
    assert "<!-- study of x -->\nΔ +0.1\n<!-- end of study of x -->" in card, "a study's table goes along"
    measured = "<!-- quality of lsms_100pct -->\n| words | 7 |\n<!-- end of quality of lsms_100pct -->"
    assert measured in card, "so does what was measured of a config"
    assert "<!-- end of config eda_100pct -->\n\n<!-- quality of eda_100pct -->\n| words | 8 |\n" in card
    assert "measured long ago" not in card
    assert "quality of gone" not in card, "there is no such config"
    data = yaml_of(card)
    assert data["pretty_name"] == "Mine"
    configs = {entry["config_name"]: entry.get("default") for entry in data["configs"]}
    assert configs == {"older": True, "eda_100pct": None, "lsms_100pct": None}


def test_two_pushes_at_once_lose_neither(hub, folder, tmp_path, splits):
    other = tmp_path / "other"
    publish(augment(splits, EDA(copies=2), out=other, config="eda_twice", progress=False), other)
    run(hub, CREATE, folder)
    environment = [hub.env("hf_write") | {"FOLDER": str(place)} for place in (folder, other)]
    script = PRELUDE + f"finish(attempt(folder, '{REPO}'))"
    both = [
        subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True)
        for env in environment
    ]
    for process in both:
        said, _ = process.communicate(timeout=120)
        assert "/commit/" in said
    configs = {entry["config_name"] for entry in yaml_of(hub.read(REPO, "README.md").decode())["configs"]}
    assert configs == {"eda_100pct", "lsms_100pct", "eda_twice"}
    assert {path.partition("/")[0] for path in hub.files(REPO) if "/" in path} == configs


FAULTS = {
    "race": dict(kind="race", method="POST", path="/commit/", files={"other.txt": "theirs"}),
    "412": dict(kind="status", method="POST", path="/commit/", status=412),
    "429": dict(kind="status", method="POST", path="/preupload/", status=429, headers={"Retry-After": "0"}),
    "500 on the commit": dict(kind="status", method="POST", path="/commit/", status=500),
    "landed, answer lost": dict(kind="drop_after", method="POST", path="/commit/"),
    "dropped upload": dict(kind="drop", method="PUT", path="/"),
    "500 on the tree": dict(kind="status", method="GET", path="/tree/", status=500),
    "cut card": dict(kind="truncate", method="GET", path="/resolve/.*README"),
    "no connection for the head": dict(kind="drop", method="GET", path="/revision/|/api/datasets/"),
}


def test_every_fault_ends_in_a_whole_repo(hub, folder):
    script = """
answers = {}
for name, fault in json.loads(os.environ["FAULTS"]).items():
    repo = "org/" + "".join(c for c in name if c.isalnum())
    from huggingface_hub import HfApi
    HfApi().create_repo(repo, repo_type="dataset", private=True)
    if name == "cut card":
        attempt(folder, repo)
        HfApi().delete_file("eda_100pct/augmentation.json", repo, repo_type="dataset")
    order(fault)
    answers[name] = [repo, attempt(folder, repo)]
finish(answers)
"""
    answers = run(hub, script, folder, FAULTS=json.dumps(FAULTS))
    whole = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name, (repo, said) in answers.items():
        assert "/commit/" in said or "nothing to push" in said, (name, said)
        assert whole <= set(hub.files(repo)), name
    assert "other.txt" in hub.files(answers["race"][0])
    assert len(hub.commits(answers["landed, answer lost"][0])) == 2, "what landed is not sent twice"


def test_a_hub_that_stays_away_is_one_line_and_the_push_can_be_repeated(hub, folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    script = f"""
first = attempt(folder, "{REPO}")
order(dict(kind="status", method="POST", path="/commit/", status=503, times=50))
finish([first, attempt(folder, "org/second")])
"""
    first, second = run(hub, script, folder)
    assert "/commit/" in first
    assert second == "HubError: org/second: the Hub answered 503"
    assert hub.files("org/second") == [] or set(hub.files("org/second")) <= {".gitattributes"}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_config_on_the_hub_is_a_source(hub, folder, tmp_path):
    assert cli(hub, "push", folder, REPO)[0] == 0
    head = hub.commits(REPO)[0]
    head = head if isinstance(head, str) else head["id"]
    source = f"{REPO}@{head}:lsms_100pct"
    code, out, error = cli(hub, "augment", source, "--method", "eda", "--copies", 1, "--out", tmp_path / "eda")
    assert code == 0, error
    note = json.loads((tmp_path / "eda" / "eda_100pct" / "augmentation.json").read_text())
    assert note["recipe"]["source"] == source
    assert note["source"]["local"] is False
    code, out, error = cli(hub, "verify", tmp_path / "eda", "eda_100pct", "--rerun")
    assert (code, out.splitlines()[-1]) == (0, "the same"), error
    for wrong, said in {
        f"{REPO}:lsms_5pct": "name a config as org/aug:CONFIG",
        f"{REPO}@nowhere:lsms_100pct": "org/aug@nowhere:lsms_100pct is neither",
        "org/nothing": "neither a folder nor a dataset on the Hub",
    }.items():
        code, _, error = cli(hub, "augment", wrong, "--method", "eda", "--out", tmp_path / "eda")
        assert code == 2, error
        assert said in error
        assert len(error.strip().splitlines()) == 1


def test_augment_pushes(hub, folder, tmp_path):
    options = ["--method", "eda", "--copies", 1, "--out", tmp_path / "again", "--push-to-hub", "org/again"]
    code, _, error = cli(hub, "augment", folder, *options, "--config-name", "twice")
    assert code == 0, error
    assert "twice/train-00000-of-00001.parquet" in hub.files("org/again")


def test_pull_request(hub, folder):
    script = f"""
from huggingface_hub import HfApi
HfApi().create_repo("{REPO}", repo_type="dataset", private=True)
finish(attempt(folder, "{REPO}", create_pr=True))
"""
    said = run(hub, script, folder)
    assert said.splitlines()[-1].endswith("/discussions/1")
    assert "README.md" not in hub.files(REPO)
    assert "README.md" in hub.files(REPO, "refs/pr/1")


def test_an_open_repo_needs_the_rights(hub, folder):
    refused = f"""
refused = attempt(folder, "{REPO}", private=False)
from huggingface_hub import HfApi
HfApi().create_repo("org/open", repo_type="dataset", private=False)
finish([refused, attempt(folder, "org/open"), attempt(folder, "{REPO}", private=False, rights=True)])
"""
    new, existing, allowed = run(hub, refused, folder)
    expected = "UsageError: eda_100pct: the licence is 'other'; push to a private repo, or pass --i-have-the-rights"
    assert new.startswith(expected)
    assert existing.startswith(expected)
    assert "/commit/" in allowed


def test_withdraw_takes_posts_and_what_was_made_of_them(hub, folder, splits, tmp_path):
    (tmp_path / "ids.txt").write_text("p3\np18\nnot-here\n")
    assert cli(hub, "push", folder, REPO)[0] == 0
    code, out, error = cli(hub, "withdraw", REPO, "--ids", tmp_path / "ids.txt", "--squash")
    assert code == 0, error
    assert "lsms_100pct: 3 rows withdrawn" in out
    assert len(hub.commits(REPO)) == 1, "squashed"
    script = f"""
from datasets import load_dataset
answer = {{}}
for config in ("lsms_100pct", "eda_100pct"):
    data = load_dataset("{REPO}", config)
    answer[config] = [sorted(set(data["train"]["source_id"])), data["test"]["id"][:], hub.verify("{REPO}", config).ok]
finish(answer)
"""
    for sources, test, verified in run(hub, script, folder).values():
        assert "p3" not in sources
        assert len(sources) == 13
        assert test == ["p17"]
        assert verified
    code, _, error = cli(hub, "withdraw", REPO, "--ids", tmp_path / "ids.txt")
    assert code == 2
    assert "holds none of the 3 ids" in error


@pytest.mark.parametrize(
    ("token", "repo", "more", "said"),
    [
        ("hf_read", "org/new", [], "the Hub refused this token (403)"),
        ("hf_expired", "org/new", [], "the Hub refused this token (401)"),
        ("hf_write", "not a name", [], "is not a repo id: expected ORG/NAME"),
        ("hf_write", "org/there", ["--revision", "nowhere"], "no such revision"),
        ("hf_write", "org/broken", [], "README.md: expected YAML, found malformed text"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(hub, folder, token, repo, more, said):
    prepare = """
from huggingface_hub import HfApi
for name in ("there", "broken"):
    HfApi().create_repo("org/" + name, repo_type="dataset", private=True)
finish(0)
"""
    if repo in ("org/there", "org/broken"):
        run(hub, prepare, folder)
        hub.commit("org/broken", {"README.md": "---\nlicense: [mit\n---\nhello\n"})
    code, _, error = cli(hub, "push", folder, repo, *more, token=token)
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert token not in error


def test_a_repo_that_is_no_dataset(hub, folder):
    run(
        hub, "from huggingface_hub import HfApi; HfApi().create_repo('org/model', repo_type='model'); finish(0)", folder
    )
    code, _, error = cli(hub, "verify", "org/model", "lsms_100pct")
    assert (code, error) == (2, "error: org/model: no such dataset repo, or this token may not see it\n")


def test_a_network_that_goes_away_is_exit_1(folder, tmp_path):
    with HubServer(tmp_path / "hub") as server:
        environment = server.env("hf_write")
    script = (
        PRELUDE + "import sys; sys.argv = ['x', 'push', folder, 'org/aug']\nfrom hf_mner_aug.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"FOLDER": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: org/aug: the Hub could not be reached")
    assert len(done.stderr.strip().splitlines()) == 1
    assert Path(folder, "lsms_100pct").exists()
