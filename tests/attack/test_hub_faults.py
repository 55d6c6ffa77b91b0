"""Push, withdraw, verify and hydrate against a Hub that fails, stalls or sends something else.

Each call ends in success or in one line, in time, and the repo is whole: its card, notes and data agree.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hub_server import HubServer

from hf_mner_aug.publishing.folder import NOTE
from hf_mner_aug.publishing.verify import verify_folder

PATIENCE = 3.0  # seconds that a step with the Hub may take here
# A call is a few steps, each may be tried again: far less than this is the rule, nothing takes longer.
LONGEST = 60.0
CLIENT = f"""
import json, os, sys, time
import hf_mner_aug.publishing.hub as hub
from hf_mner_aug.publishing import hub_repo
from hf_mner_aug.publishing.hydration import hydrate
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 600) / 600 if seconds < 600 else seconds)
hub_repo.PATIENCE_S = {PATIENCE}
verbs = {{
    "push": lambda repo, turn: hub.push(os.environ["FOLDER"], repo, private=True),
    "withdraw": lambda repo, turn: hub.withdraw(repo, [f"p{{turn % 14}}"], squash=turn % 2 == 0),
    "verify": lambda repo, turn: hub.verify(repo, "eda_100pct").ok,
    "hydrate": lambda repo, turn: hydrate(repo, "eda_100pct", os.environ["FOLDER"] + f"-whole{{turn}}", posts="none"),
}}
for line in sys.stdin:
    verb, repo, turn = json.loads(line)
    begun = time.monotonic()
    try:
        said = ["ok", str(verbs[verb](repo, turn))]
    except BaseException as error:
        said = [type(error).__name__, str(error)]
    print("\\n" + json.dumps([*said, time.monotonic() - begun]), flush=True)
"""
# What goes wrong, and what else is to be said of it.
KINDS = {
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    "429 for a day": {"kind": "status", "status": 429, "headers": {"Retry-After": "86400"}},
    "401": {"kind": "status", "status": 401},
    "404": {"kind": "status", "status": 404},
    "412": {"kind": "status", "status": 412},
    "cut": {"kind": "drop"},
    "cut half way": {"kind": "truncate"},
    "landed, 500": {"kind": "status_after", "status": 500},
    "landed, no answer": {"kind": "drop_after"},
    "half a body": {"kind": "half"},
    "other bytes": {"kind": "flip"},
    "length too long": {"kind": "long"},
    "length too short": {"kind": "short"},
    "slow drip": {"kind": "drip", "seconds": 0.3},
    "silent": {"kind": "delay", "seconds": 8.0},
    "raced": {"kind": "race", "files": {"other.txt": "theirs"}},
}
ROUTES = {
    "info": ("GET", "/api/datasets/org/[^/]+(/revision/[^/]+)?$"),
    "tree": ("GET", "/tree/"),
    "head of a file": ("HEAD", "/resolve/"),
    "card": ("GET", r"/resolve/.*README\.md"),
    "note": ("GET", r"/resolve/.*augmentation\.json"),
    "data": ("GET", r"/resolve/.*\.parquet"),
    "yaml": ("POST", "/validate-yaml"),
    "preupload": ("POST", "/preupload/"),
    "batch": ("POST", "/objects/batch"),
    "upload": ("PUT", "/lfs/"),
    "commit": ("POST", "/commit/"),
    "create": ("POST", "/repos/create"),
    "squash": ("POST", "/super-squash/"),
}


class Client:
    """A process with the real client that does what it is told, one call at a time."""

    def __init__(self, server, folder):
        environment = server.env("hf_write") | {"FOLDER": str(folder), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        environment |= {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen([sys.executable, "-c", CLIENT], env=environment, stderr=self.errors, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()

    def do(self, verb, repo, turn=0):
        """Return how a call ended (ok, or the exception's name), what it said, and its seconds."""
        print(json.dumps([verb, repo, turn]), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("["):
                return json.loads(line)
        self.errors.seek(0)
        raise AssertionError(self.errors.read()[-2000:])


def upload(server, repo, folder, *, without=()):
    """Make a repo of a folder's files on the server's own disk."""
    to = server.repo(repo)
    to.create(private=True)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    chosen = {name: path for name, path in files.items() if name.partition("/")[0] not in without}
    entries = {name: to.add(path.read_bytes(), lfs=name.endswith(".parquet")) for name, path in chosen.items()}
    if entries:
        to.commit("main", entries, "as it was")


_whole: set[str] = set()  # what was found whole before


def check_whole(server, repo):
    """See that a repo's card, notes and data agree."""
    if not server.repo(repo).info:
        return
    files = {path: entry["sha256"] for path, entry in server.repo(repo).manifest("main")["files"].items()}
    key = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    if key in _whole:
        return
    configs = {path.partition("/")[0] for path in files if path.endswith(f"/{NOTE}")}
    card = server.read(repo, "README.md").decode() if "README.md" in files else ""
    named = yaml.safe_load(card.split("---")[1])["configs"] if card else []
    assert {entry["config_name"] for entry in named} == configs
    assert {path.partition("/")[0] for path in files if path.endswith(".parquet")} == configs
    with tempfile.TemporaryDirectory() as temporary:
        for path in files:
            (Path(temporary) / path).parent.mkdir(exist_ok=True)
            shutil.copyfile(server.folder / "blobs" / files[path], Path(temporary) / path)
        for config in configs:
            found = verify_folder(temporary, config)
            assert found.ok, found
            assert found.expected in card, f"the card says another fingerprint of {config}"
    _whole.add(key)


def is_one_line(said):
    return len(said.strip().splitlines()) == 1 and "Traceback" not in said and "hf_write" not in said


def ended_well(outcome, said):
    """Return whether a call ended as it should: in success, or in one line of ours."""
    if outcome == "ok":
        return True
    if outcome == "UsageError" and "holds its posts whole" in said:
        return True  # hydrate has read what the Hub has to say
    return outcome in ("HubError", "GaveUp", "Raced", "UsageError", "DataError") and is_one_line(said)


# What the default run tries: verb, kind, route, how often, and how it ends.
CASES = [
    ("push", "silent", "commit", 1, "GaveUp"),
    ("withdraw", "other bytes", "data", 1, "ok"),
    ("withdraw", "landed, no answer", "squash", 1, "ok"),
    ("verify", "other bytes", "data", 99, "HubError"),
    ("verify", "length too short", "data", 99, "HubError"),
    ("hydrate", "half a body", "tree", 99, "HubError"),
]


def test_faults_end_in_time_and_in_one_line(two_configs, tmp_path):
    with HubServer(tmp_path / "hub") as server, Client(server, two_configs) as client:
        client.do("verify", "org/none")  # imports
        for turn, (verb, kind, route, times, expected) in enumerate(CASES):
            repo = f"org/{verb}{turn}"
            upload(server, repo, two_configs, without=("lsms_100pct", "README.md") if verb == "push" else ())
            if verb == "push":
                server.commit(
                    repo, {f"eda_100pct/{name.name}": None for name in (two_configs / "eda_100pct").iterdir()}
                )
            method, path = ROUTES[route]
            server.fault(method=method, path=path, times=times, **KINDS[kind])
            outcome, said, seconds = client.do(verb, repo, turn)
            server.faults.clear()
            assert (verb, kind, route, outcome) == (verb, kind, route, expected), said
            assert ended_well(outcome, said), said
            assert seconds < PATIENCE + 12, (verb, kind, route, seconds)
            check_whole(server, repo)


@pytest.mark.attack
def test_campaign_of_hub_faults(two_configs, tmp_path):
    """300 calls of four verbs, each met by one to three faults of 18 kinds at 13 routes."""
    drawn = random.Random(17)
    ends: dict[str, Counter] = {}
    slowest: Counter = Counter()
    bad: list[str] = []
    with HubServer(tmp_path / "hub") as server, Client(server, two_configs) as client:
        client.do("verify", "org/none")
        for turn in range(300):
            verb = ("push", "withdraw", "verify", "hydrate")[turn % 4]
            repo = f"org/{verb}{turn}"
            if verb != "push" or turn % 8:
                upload(server, repo, two_configs)
            if verb == "push" and turn % 8:  # another config is there, or one with other rows
                gone = {path: None for path in server.files(repo) if path.startswith("lsms_100pct/")}
                card = server.read(repo, "README.md").decode()
                server.commit(repo, gone | {"README.md": forget(card, "lsms_100pct")})
            kinds = []
            for _ in range(drawn.choice((1, 1, 1, 2, 3))):
                kind, route = drawn.choice(list(KINDS)), drawn.choice(list(ROUTES))
                if kind == "raced":
                    route = "commit"
                kinds.append(kind)
                method, path = ROUTES[route]
                server.fault(method=method, path=path, times=drawn.choice((1, 1, 2, 7, 99)), **KINDS[kind])
            outcome, said, seconds = client.do(verb, repo, turn)
            server.faults.clear()
            if outcome == "UsageError" and "holds its posts whole" in said:
                outcome = "ok"  # all that hydrate asks of the Hub has come
            for kind in kinds:
                ends.setdefault(kind, Counter())[outcome if ended_well(outcome, said) else "BAD"] += 1
            slowest[verb] = max(slowest[verb], seconds)
            where = f"{verb} {kinds} -> {outcome} in {seconds:.1f} s: {said[-300:]}"
            if not ended_well(outcome, said) or seconds > LONGEST:
                bad.append(where)
            try:
                check_whole(server, repo)
            except AssertionError as error:
                bad.append(f"not whole: {where}: {error}")
    columns = ["ok", "Raced", "HubError", "GaveUp", "UsageError", "DataError", "BAD"]
    print("\n" + " | ".join(["fault".ljust(18), *columns]))
    for kind in KINDS:
        counts = ends.get(kind, Counter())
        print(" | ".join([kind.ljust(18), *(str(counts[name]).rjust(len(name)) for name in columns)]))
    print("slowest, in seconds:", {verb: round(seconds, 1) for verb, seconds in slowest.items()})
    assert bad == []
    assert sum(map(Counter.total, ends.values())) > 300


def forget(card, config):
    """Return a card without a config, as if it had never been there."""
    from huggingface_hub import DatasetCard

    found = DatasetCard(card)
    for name in ("configs", "dataset_info"):
        found.data[name] = [entry for entry in found.data[name] if entry["config_name"] != config]
    before, _, rest = found.text.partition(f"<!-- config {config} -->")
    found.text = before + rest.partition(f"<!-- end of config {config} -->")[2]
    return str(found)
