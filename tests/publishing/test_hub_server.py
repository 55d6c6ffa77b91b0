"""The test Hub against its real clients, huggingface_hub and datasets, each in a process of its own."""

import http.client
import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import hub_server
import pytest
from hub_server import HubServer

CARD = """---
configs:
- config_name: eda
  data_files: [{split: train, path: eda/train-*}]
  default: true
- config_name: gmda
  data_files: [{split: train, path: gmda/train-*}]
---
# Posts
"""

# What every client's script starts with; it ends by printing one line of JSON.
CLIENT = """
import json, os, sys, urllib.request
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem, hf_hub_download
api = HfApi()
REPO = {"repo_id": "org/posts", "repo_type": "dataset"}

def commit(files, **options):
    add = [CommitOperationAdd(path, data.encode()) for path, data in files.items() if data is not None]
    delete = [CommitOperationDelete(path) for path, data in files.items() if data is None]
    return api.create_commit(operations=add + delete, commit_message="write " + ", ".join(files), **REPO, **options)

def attempt(function, *arguments, **options):
    try:
        function(*arguments, **options)
        return "ok"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def finish(answer):
    print(json.dumps(answer))
"""


def client(hub, script, token="hf_write", **variables):
    """Run a script with the real clients against the hub and return the JSON that it printed last."""
    command = [sys.executable, "-c", CLIENT + script]
    environment = hub.env(token) | variables
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub", page_size=4) as server:
        yield server


@pytest.fixture
def posts(hub):
    """A private repo org/posts with a card."""
    hub.repo("org/posts").create(private=True)
    hub.commit("org/posts", {"README.md": CARD})
    return hub


def short(log):
    """Return the log as lines, without queries, ids as <sha>."""
    return [f"{r.method} {re.sub('[0-9a-f]{40,}', '<sha>', r.path.split('?')[0])} {r.status}" for r in log]


UPLOAD_TWICE = """
import pathlib, tempfile
from datasets import Dataset
folder = pathlib.Path(tempfile.mkdtemp())
for config, word in (("eda", "Rome"), ("gmda", "Oslo")):
    (folder / config).mkdir()
    posts = Dataset.from_dict({"id": ["a", "b"], "tokens": [[word, "!"], [word]]})
    posts.to_parquet(folder / config / "train-0.parquet")
(folder / "README.md").write_text(os.environ["CARD"])
api.create_repo("org/posts", repo_type="dataset", private=True)
finish([api.upload_folder(folder_path=folder, **REPO).oid for _ in range(2)])
"""


def test_an_upload_loads_plain_by_config_and_streamed_in_a_fresh_cache(hub):
    first, second = client(hub, UPLOAD_TWICE, CARD=CARD)
    assert hub.files("org/posts") == [".gitattributes", "README.md", "eda/train-0.parquet", "gmda/train-0.parquet"]
    assert hub.read("org/posts", "README.md").decode() == CARD
    assert hub.read("org/posts", "eda/train-0.parquet")[:4] == b"PAR1"
    assert [commit["title"] for commit in hub.commits("org/posts")] == [
        "Upload folder using huggingface_hub",
        "initial commit",
    ]
    assert first == second == hub.commits("org/posts")[0]["id"]  # the client leaves out what is there already
    requests = short(hub.log)
    assert requests[:5] + sorted(requests[5:9]) + requests[9:10] == [
        "POST /api/repos/create 200",
        "POST /api/validate-yaml 200",
        "POST /api/validate-yaml 200",
        "POST /api/datasets/org/posts/preupload/main 200",
        "POST /datasets/org/posts.git/info/lfs/objects/batch 200",
        "POST /lfs/<sha>/verify 200",
        "POST /lfs/<sha>/verify 200",
        "PUT /lfs/<sha> 200",
        "PUT /lfs/<sha> 200",
        "POST /api/datasets/org/posts/commit/main 200",
    ]

    hub.log.clear()
    hub.fault("truncate", "GET", "/eda/train-0.parquet")
    hub.fault("status", "GET", "/gmda/train-0.parquet", status=503)
    plain, refused, named, streamed = client(
        hub,
        """
from datasets import load_dataset
plain = load_dataset("org/posts", split="train").to_list()
refused = attempt(load_dataset, "org/posts", "gmda", split="train")  # no second try after a 5xx
named = load_dataset("org/posts", "gmda", split="train").to_list()
finish([plain, refused, named, list(load_dataset("org/posts", "gmda", split="train", streaming=True))])
""",
        token="hf_read",
    )
    assert plain == [{"id": "a", "tokens": ["Rome", "!"]}, {"id": "b", "tokens": ["Rome"]}]
    assert refused.startswith("HfHubHTTPError: Server error '503 Service Unavailable'")
    assert named == streamed == [{"id": "a", "tokens": ["Oslo", "!"]}, {"id": "b", "tokens": ["Oslo"]}]
    gets = Counter(line for line in short(hub.log) if line.startswith("GET") and ".parquet" in line)
    page = "GET /datasets/org/posts/resolve/<sha>"
    assert gets == {
        f"{page}/eda/train-0.parquet 200": 2,  # the first was cut half way
        f"{page}/gmda/train-0.parquet 503": 1,
        f"{page}/gmda/train-0.parquet 200": 1,
        f"{page}/gmda/train-0.parquet 206": 1,  # streamed
    }


def test_a_commit_on_an_old_parent_is_refused_and_lands_on_the_new_one(posts):
    posts.fault("race", "POST", "/commit/", files={"other.txt": "theirs"})
    head, refused, landed = client(
        posts,
        """
head = api.dataset_info("org/posts").sha
refused = attempt(commit, {"a.txt": "mine"}, parent_commit=head)
finish([head, refused, commit({"a.txt": "mine"}, parent_commit=api.dataset_info("org/posts").sha).oid])
""",
    )
    assert re.match("HfHubHTTPError: Client error '412 .*A commit has happened since", refused, re.DOTALL)
    mine, theirs, old = posts.commits("org/posts")[:3]
    assert (mine["id"], mine["parent"], theirs["parent"]) == (landed, theirs["id"], head)
    assert old["id"] == head
    assert posts.files("org/posts") == [".gitattributes", "README.md", "a.txt", "other.txt"]


def test_branches_pull_requests_deletions_and_squashed_history(posts):
    gone, before, pull, refs, missing = client(
        posts,
        """
old = api.dataset_info("org/posts").sha
api.super_squash_history(branch="main", commit_message="all in one", **REPO)
gone = attempt(hf_hub_download, filename="README.md", revision=old, **REPO)
before = api.dataset_info("org/posts").sha
pull = commit({"a.txt": "1", "d/b.parquet": "2"}, create_pr=True)
commit({"a.txt": "3"}, revision=pull.pr_revision)
api.create_branch("org/posts", repo_type="dataset", branch="v/1", revision=pull.oid)
commit({"a.txt": None}, revision="v/1")
api.delete_folder("d", revision="v/1", **REPO)
missing = attempt(commit, {"nothing.txt": None})
refs = api.list_repo_refs(include_pull_requests=True, **REPO)
refs = {ref.name: ref.target_commit for ref in refs.branches + refs.pull_requests}
finish([gone, before, pull.pr_url, refs, missing])
""",
    )
    assert gone.startswith("RevisionNotFoundError: 404")
    assert [commit["title"] for commit in posts.commits("org/posts")] == ["all in one"]
    assert posts.files("org/posts") == [".gitattributes", "README.md"]
    assert pull == f"{posts.url}/datasets/org/posts/discussions/1"
    assert list(refs) == ["main", "v/1", "refs/pr/1"]
    assert refs["main"] == before  # a pull request leaves it alone
    assert posts.read("org/posts", "a.txt", "refs/pr/1") == b"3"
    assert posts.files("org/posts", "refs/pr/1") == [".gitattributes", "README.md", "a.txt", "d/b.parquet"]
    assert posts.files("org/posts", "v/1") == [".gitattributes", "README.md"]
    assert missing.startswith("RemoteEntryNotFoundError: 404")


def test_the_tree_and_the_history_come_in_pages(posts):
    for n in range(9):
        posts.commit("org/posts", {f"d/{n}.txt": str(n), f"d/deep/{n}.txt": str(n)})
    deep, top, folder, info, history, nowhere = client(
        posts,
        """
def tree(path=None, **options):
    return [entry.path for entry in api.list_repo_tree(path_in_repo=path, **options, **REPO)]

info = [entry.path for entry in api.get_paths_info(paths=["d", "d/1.txt", "none"], **REPO)]
history = [commit.title for commit in api.list_repo_commits(**REPO)]
finish([tree(recursive=True), tree(), tree("d/deep"), info, history, attempt(tree, "none")])
""",
    )
    files = [f"d/{n}.txt" for n in range(9)] + [f"d/deep/{n}.txt" for n in range(9)]
    assert deep == sorted([".gitattributes", "README.md", "d", "d/deep", *files])
    assert top == [".gitattributes", "README.md", "d"]
    assert folder == files[9:]
    assert info == ["d", "d/1.txt"]
    assert history == ["somebody else's commit"] * 10 + ["initial commit"]
    pages = Counter(re.sub("\\?.*", "", request.path).removeprefix("/api/datasets/org/posts") for request in posts.log)
    assert pages["/tree/main"] == 6 + 1  # 22 entries and 3, four to a page
    assert pages["/tree/main/d%2Fdeep"] == pages["/commits/main"] == 3
    assert nowhere.startswith("RemoteEntryNotFoundError: 404")


def test_parts_of_a_file(posts):
    posts.commit("org/posts", {"a.txt": "0123456789"})
    seen = {}
    for asked in ("", "bytes=2-4", "bytes=7-", "bytes=-3", "bytes=8-99", "bytes=10-"):
        connection = http.client.HTTPConnection(posts.url.removeprefix("http://"), timeout=10)
        headers = {"Authorization": "Bearer hf_read"} | ({"Range": asked} if asked else {})
        connection.request("GET", "/datasets/org/posts/resolve/main/a.txt", headers=headers)
        answer = connection.getresponse()
        seen[asked] = (answer.status, answer.headers["Content-Range"], answer.read().decode())
        connection.close()
    assert seen == {
        "": (200, None, "0123456789"),
        "bytes=2-4": (206, "bytes 2-4/10", "234"),
        "bytes=7-": (206, "bytes 7-9/10", "789"),
        "bytes=-3": (206, "bytes 7-9/10", "789"),
        "bytes=8-99": (206, "bytes 8-9/10", "89"),
        "bytes=10-": (416, "bytes */10", ""),
    }


@pytest.mark.parametrize(
    ("token", "read", "write"),
    [
        (None, "RepositoryNotFoundError: 401", "RepositoryNotFoundError: 401"),
        ("hf_stranger", "RepositoryNotFoundError: 404", "RepositoryNotFoundError: 404"),
        ("hf_read", "ok", "HfHubHTTPError: 403 Forbidden: Forbidden: pass `create_pr=1`"),
        ("hf_expired", "HfHubHTTPError: Client error '401", "HfHubHTTPError: Client error '401"),
    ],
)
def test_who_may_do_what_with_a_private_repo(posts, token, read, write):
    seen = client(
        posts,
        """
finish([attempt(hf_hub_download, filename="README.md", **REPO), attempt(commit, {"a.txt": "1"}),
    attempt(api.auth_check, write=True, **REPO), attempt(api.create_repo, "org/other", repo_type="dataset")])
""",
        token=token,
    )
    flat = [re.sub(r"\s+", " ", text) for text in seen]
    assert [flat[0][: len(read)], flat[1][: len(write)], flat[2][: len(write)]] == [read, write, write]
    assert flat[3].startswith("HfHubHTTPError: ")
    assert posts.repo("org/other").info == {}
    assert posts.files("org/posts") == [".gitattributes", "README.md"]


def test_load_dataset_says_that_a_private_repo_cannot_be_accessed(posts):
    script = "from datasets import load_dataset\nfinish(attempt(load_dataset, 'org/posts'))"
    assert client(posts, script, token=None) == (
        "DatasetNotFoundError: Dataset 'org/posts' doesn't exist on the Hub or cannot be accessed."
    )


# What the client does, what goes wrong, how that ends, the statuses of the requests concerned, and the seconds waited.
# "ok" means that the client tried again by itself. It never does so for a commit: whoever pushes has to.
LATER = {"status": 429, "headers": {"Retry-After": "7"}}
FAULTS = [
    ("commit", ("status", "PUT", "/lfs/", {"status": 503, "times": 5}), "ok", [503] * 5 + [200], [1, 2, 4, 8, 8]),
    ("commit", ("status", "PUT", "/lfs/", {"status": 503, "times": 6}), "RuntimeError", [503] * 6, [1, 2, 4, 8, 8]),
    ("commit", ("status", "POST", "/batch", LATER), "ok", [429, 200], [8]),
    ("commit", ("status", "POST", "/preupload/", {"status": 500}), "ok", [500, 200], [1]),
    ("commit", ("drop", "PUT", "/lfs/", {}), "ok", [0, 200], [1]),
    ("commit", ("drop_after", "PUT", "/lfs/", {}), "ok", [0, 200], [1]),
    ("commit", ("status", "POST", "/commit/", {"status": 401}), "HfHubHTTPError", [401], []),
    ("commit", ("status", "POST", "/commit/", {"status": 412}), "HfHubHTTPError", [412], []),
    ("commit", ("status", "POST", "/commit/", LATER), "HfHubHTTPError", [429], []),
    ("commit", ("status", "POST", "/commit/", {"status": 503}), "HfHubHTTPError", [503], []),
    ("commit", ("drop", "POST", "/commit/", {}), "RemoteProtocolError", [0], []),
    ("commit", ("drop_after", "POST", "/commit/", {}), "RemoteProtocolError", [0], []),  # it was made all the same
    ("commit", ("status_after", "POST", "/commit/", {"status": 500}), "HfHubHTTPError", [500], []),  # and so was this
    ("card", ("status", "POST", "/validate-yaml", {"status": 502}), "JSONDecodeError", [502], []),
    ("info", ("status", "GET", "/posts$", {"status": 503}), "HfHubHTTPError", [503], []),
    ("tree", ("status", "GET", "/tree/", {"status": 503}), "ok", [503, 200], [1]),
    ("download", ("truncate", "GET", "/resolve/", {}), "ok", [200, 200], [1]),
    ("download", ("drop", "GET", "/resolve/", {}), "ok", [0, 200], [1]),
    ("download", ("status", "GET", "/resolve/", LATER), "ok", [429, 200], [8]),
    ("download", ("status", "GET", "/resolve/", {"status": 503}), "HfHubHTTPError", [503], []),
    ("part", ("truncate", "GET", "/resolve/", {}), "ok", [206, 206], [1]),
    ("part", ("status", "GET", "/resolve/", {"status": 503}), "ok", [503, 206], [1]),
    # It waits 1 s for an answer here, and asks again before the first one is answered and logged.
    ("download", ("delay", "GET", "/resolve/", {"seconds": 5.0}), "ok", [200], [1]),
]


def test_what_the_client_does_on_each_fault(hub):
    hub.repo("org/posts").create(private=True)
    seen = client(
        hub,
        """
import time
HUB, turn, waits = os.environ["HF_ENDPOINT"], 0, []
time.sleep = waits.append  # the server is real, the waiting is not

def log():
    return json.load(urllib.request.urlopen(f"{HUB}/_control/log"))

def write():
    commit({"a.parquet": f"{turn} " * 1_000_000, "a.txt": f"{turn} "})

def read_part():
    with HfFileSystem(skip_instance_cache=True).open("datasets/org/posts/a.parquet", "rb") as file:
        file.seek(10)
        file.read(10)

actions = {"commit": write, "part": read_part, "tree": lambda: list(api.list_repo_tree(**REPO)),
    "card": lambda: commit({"README.md": "# card"}), "info": lambda: api.dataset_info("org/posts"),
    "download": lambda: hf_hub_download(filename="a.parquet", force_download=True, **REPO)}
seen = []
write()
for action, (kind, method, path, options), *_ in json.loads(os.environ["FAULTS"]):
    fault = json.dumps({"kind": kind, "method": method, "path": path, **options}).encode()
    urllib.request.urlopen(f"{HUB}/_control/fault", fault).close()
    before, turn = len(log()), turn + 1
    waits.clear()
    outcome = attempt(actions[action])
    seen.append([outcome, log()[before:], list(waits)])
finish(seen)
""",
        FAULTS=json.dumps(FAULTS),
        HF_HUB_DOWNLOAD_TIMEOUT="1",
    )
    for case, (outcome, log, waits) in zip(FAULTS, seen, strict=True):
        _, (_, method, path, _), expected, statuses, expected_waits = case
        met = [r["status"] for r in log if r["method"] == method and re.search(path, r["path"])]
        assert (case, outcome.split(":")[0], met, waits) == (case, expected, statuses, expected_waits), outcome

    commits = hub.commits("org/posts")
    made = [case for case in FAULTS if case[0] == "commit" and (case[2] == "ok" or "_after" in case[1][0])]
    assert len(commits) == 2 + len(made)  # the first two without a fault
    for commit in commits[:-1]:  # none is half written
        assert hub.read("org/posts", "a.parquet", commit["id"]) == hub.read("org/posts", "a.txt", commit["id"]) * 10**6


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("PUT", f"/lfs/{'0' * 64}", b"other bytes", 400, "do not hash to"),
        (
            "POST",
            "/api/datasets/org/posts/commit/main",
            {"key": "file", "value": {"path": "../a"}},
            400,
            "Invalid path",
        ),
        (
            "POST",
            "/api/datasets/org/posts/commit/main",
            {"key": "lfsFile", "value": {"path": "a.parquet", "oid": "0" * 64}},
            400,
            "LFS pointer pointed to a file that does not exist",
        ),
        (
            "POST",
            "/api/repos/create",
            {"name": "..", "organization": "org", "type": "dataset"},
            400,
            "Invalid repo name",
        ),
        (
            "POST",
            "/api/repos/create",
            {"name": "posts", "organization": "org", "type": "dataset"},
            409,
            "already created",
        ),
        ("GET", "/api/models/org/posts", b"", 404, "Repository not found"),
        ("GET", "/api/datasets/org/posts/revision/none", b"", 404, "Invalid rev id"),
        ("GET", "/api/spaceships", b"", 404, "no such route"),
    ],
)
def test_what_the_server_refuses(posts, method, path, body, status, words):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        posts.url + path, data or None, {"Authorization": "Bearer hf_write"}, method=method
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == status
    assert words in json.load(caught.value)["error"]
    assert posts.files("org/posts") == [".gitattributes", "README.md"]


def test_a_request_too_large_is_refused_unread(hub, monkeypatch):
    monkeypatch.setattr(hub_server, "MAX_BLOB", 10)
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    connection.putrequest("PUT", f"/lfs/{'0' * 64}")
    connection.putheader("Content-Length", "11")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_environment_holds_nothing_of_the_user(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_real")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    environment = hub.env()
    assert {"HF_TOKEN", "https_proxy", "HF_HUB_OFFLINE"} & set(environment) == set()
    assert environment["HF_ENDPOINT"] == hub.url
    assert environment["HF_HOME"] != hub.env()["HF_HOME"]


def test_it_runs_by_hand(tmp_path):
    command = [sys.executable, hub_server.__file__, "--folder", str(tmp_path / "hub")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = re.search(r"HF_ENDPOINT=(\S+)", server.stdout.readline())[1]
        request = urllib.request.Request(f"{url}/api/whoami-v2", headers={"Authorization": "Bearer hf_write"})
        assert json.load(urllib.request.urlopen(request, timeout=10))["name"] == "tester"
        server.terminate()
    assert Path(tmp_path / "hub").is_dir()
