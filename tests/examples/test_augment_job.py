"""The script of ``examples`` as ``uv run`` starts it, against a Hub over real HTTP."""

import re
import subprocess
import sys
import tomllib

import pytest
from hub_server import HubServer
from packaging.requirements import Requirement
from places import ROOT

import hf_mner_aug

SCRIPT = ROOT / "examples" / "augment_job.py"
UPLOAD = "import sys; from datasets import load_from_disk as load; load(sys.argv[1]).push_to_hub('org/set')"


@pytest.fixture(scope="module")
def hub(splits, tmp_path_factory):
    """A Hub with the set org/set."""
    folder = tmp_path_factory.mktemp("job")
    splits.save_to_disk(folder / "set")
    with HubServer(folder / "hub") as server:
        command = [sys.executable, "-c", UPLOAD, str(folder / "set")]
        subprocess.run(command, env=server.env("hf_write"), check=True, capture_output=True, timeout=120)
        yield server


@pytest.fixture
def job(hub, tmp_path):
    """Run the script in a folder of its own: exit code, standard output, last line of standard error."""

    def run(*arguments, token="hf_write"):
        command = [sys.executable, str(SCRIPT), *arguments]
        done = subprocess.run(command, env=hub.env(token), cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, (done.stderr.splitlines() or [""])[-1]

    return run


def test_the_header_asks_for_this_package_as_it_is():
    header = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    asked = tomllib.loads("".join(line[2:] for line in header[1].splitlines(keepends=True)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (needed,) = map(Requirement, asked["dependencies"])
    assert asked["requires-python"] == project["requires-python"]
    assert needed.name == project["name"]
    assert str(needed.specifier) == ">=0.1"
    assert needed.specifier.contains(hf_mner_aug.__version__)


def test_a_config_is_made_and_pushed_once(hub, job, tmp_path):
    asked = ("org/set", "org/aug", "--method", "eda:copies=2", "--fraction", "0.5")
    code, said, _ = job(*asked)
    assert code == 0
    kept = int(re.search(r"eda_50pct: (\d+) made posts", said)[1])
    assert kept > 5
    assert "/datasets/org/aug/commit/" in said
    assert hub.repo("org/aug").info["private"]
    commits = len(hub.commits("org/aug"))

    code, said, _ = job(*asked)
    assert (code, said.splitlines()[-1]) == (0, "org/aug holds all of this already: nothing to push")
    assert len(hub.commits("org/aug")) == commits
    made = hf_mner_aug.verify(tmp_path / "augmented", "eda_50pct")
    assert made.ok
    for path in hub.files("org/aug"):
        assert b"hf_write" not in hub.read("org/aug", path)


@pytest.mark.parametrize(
    ("source", "repo", "token", "said"),
    [
        ("org/nothing", "org/other", "hf_write", "org/nothing is neither a folder nor a dataset on the Hub"),
        ("org/set", "other", "hf_write", "error: other: expected ORG/NAME"),
        ("org/set", "or g/other", "hf_write", "error: Repo id must use alphanumeric chars"),
        ("org/set", "org/third", None, "error: Token is required"),
        ("org/set", "org/third", "hf_read", "error: 403 Forbidden: You don't have the rights to create org/third"),
        ("org/set", "org/set", "hf_read", "error: 403 Forbidden"),
    ],
)
def test_what_cannot_end_well_is_one_line_before_anything_is_made(hub, job, tmp_path, source, repo, token, said):
    commits = len(hub.commits("org/set"))
    code, out, line = job(source, repo, token=token)
    assert (code, out) == (1, "")
    assert said in line
    assert not (tmp_path / "augmented").exists()
    assert len(hub.commits("org/set")) == commits
