"""The Space of ``examples/space``: what a click makes, what a hostile visitor is told, and the page itself."""

import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from places import ROOT
from typer.testing import CliRunner

import hf_mner_aug
from hf_mner_aug.cli import app as cli
from hf_mner_aug.methods import METHODS
from hf_mner_aug.sources.loading import load_source

FOLDER = ROOT / "examples" / "space"
ROW = {
    "tokens": ["Ann", "Lee", "visits", "Rome", "so", "very", "often"],
    "ner_tags": ["B-PER", "I-PER", "O", "B-LOC", "O", "O", "O"],
}
ROWS = [{"id": f"p{i}", **ROW, "tokens": [*ROW["tokens"][:-1], f"n{i}"]} for i in range(12)]


@pytest.fixture(scope="module")
def space():
    spec = importlib.util.spec_from_file_location("space_app", FOLDER / "app.py")
    module = sys.modules["space_app"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["space_app"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which the app makes its folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_file_is_augmented_and_its_recipe_makes_the_same_posts(space, temporary, tmp_path):
    made = space.make(space.UPLOAD, write(tmp_path / "my set.JSONL", ROWS), "", "eda", 2, 7)
    found = re.fullmatch(r"(\d+) posts made by eda\.", made.line)
    assert int(found[1]) > 5
    assert made.page.count("<article>") == int(found[1])
    assert yaml.safe_load(made.recipe) == {"method": "eda", "copies": 2, "seed": 7}
    assert not any(temporary.iterdir()), "its folder is removed"
    (tmp_path / "recipe.yaml").write_text(made.recipe, encoding="utf-8")
    command = ["augment", str(tmp_path / "my set.JSONL"), "--recipe", str(tmp_path / "recipe.yaml")]
    done = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    rows = load_source(str(tmp_path / "out"))["train"]
    marked = re.findall('<h4>after</h4>.*?<p class="text"[^>]*>(.*?)</p>', made.page, re.DOTALL)
    shown = [html.unescape(re.sub("&nbsp;<small>.*?</small>|<[^>]+>", "", text)) for text in marked]
    assert shown == [" ".join(row["tokens"]) for row in rows if row["method"] == "eda"]


def test_the_first_posts_of_a_large_set_are_read(space, temporary, tmp_path):
    rows = [{**row, "id": f"{row['id']}-{i}"} for i in range(20) for row in ROWS]
    made = space.make(space.UPLOAD, write(tmp_path / "a.jsonl", rows), "", "lsms", 1, 0)
    assert made.line.endswith("of the first 200 of 240.")
    assert made.page.count("<article>") <= 30


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"id": "a", "tokens": [', "upload.jsonl: expected a dataset that datasets loads"),
        (json.dumps({**ROW, "id": "z", "ner_tags": ["O"]}), "post z: 1 tags for 7 tokens"),
        ("", "upload.jsonl"),
        (json.dumps({"a": 1}), "expected the columns id and tokens, found a"),
    ],
)
def test_a_broken_file_is_one_line_without_a_path(space, temporary, tmp_path, content, told):
    upload = tmp_path / "secret name.jsonl"
    upload.write_text(content, encoding="utf-8")
    with pytest.raises(space.Refused) as refused:
        space.make(space.UPLOAD, str(upload), "", "eda", 1, 0)
    line = str(refused.value)
    assert told in line
    assert "\n" not in line
    assert "secret name" not in line
    assert str(temporary) not in line
    assert not any(temporary.iterdir())


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "./a", "a/../b", "a b/c", "a/b/c", "-x/y", "org/", "", "a/b@", "s3://b/c"]
)
def test_only_names_of_the_hub_are_taken(space, tmp_path, name):
    with pytest.raises(space.Refused, match="expected the name of a set on the Hub as ORG/NAME"):
        space.place(space.HUB, None, name, tmp_path)
    assert space.place(space.HUB, None, " org/a-set@v1:small ", tmp_path) == "org/a-set@v1:small"


def test_files_that_are_not_taken(space, tmp_path):
    large = tmp_path / "a.parquet"
    with large.open("wb") as file:
        file.truncate(space.UPLOAD_BYTES + 1)
    (tmp_path / "a.exe").touch()
    for upload, told in [
        (None, r"expected a file, \.jsonl or \.parquet"),
        (str(tmp_path / "gone.jsonl"), "an uploaded one is removed after a while"),
        (str(tmp_path / "a.exe"), r"expected a file .jsonl or .parquet, found \.exe"),
        (str(large), "the file has 20.0 MiB, at most 20 are read here"),
    ]:
        with pytest.raises(space.Refused, match=told):
            space.place(space.UPLOAD, upload, "", tmp_path)


CHOICES = [("daga", 1, 0), ("x", 1, 0), ("eda", 0, 0), ("eda", 6, 0), ("eda", 1.5, 0), ("eda", None, 0)]


@pytest.mark.parametrize(("method", "copies", "seed"), [*CHOICES, ("eda", 1, -1), ("eda", 1, 0.5), ("eda", 1, "x")])
def test_choices_that_the_page_does_not_offer(space, temporary, method, copies, seed):
    """An answer may be asked for without the page."""
    with pytest.raises(space.Refused, match=r"^expected"):
        space.make(space.SAMPLE, None, "", method, copies, seed)
    assert not any(temporary.iterdir())


def test_methods_are_those_that_need_nothing_more(space):
    assert {*METHODS} - {*space.methods()} == {"daga", "melm", "rmda"}


def test_the_worker_has_no_secret_and_a_home_of_its_own(space, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("MY_KEY", "also secret")
    found = space.environment(tmp_path)
    assert not {"hf_secret", "also secret"} & {*found.values()}
    assert {found["HOME"], str(Path(found["HF_HOME"]).parent)} == {str(tmp_path)}


def test_what_takes_too_long_is_killed_with_what_it_started(space, tmp_path):
    started = tmp_path / "pid"
    child = "import subprocess as s; p = s.Popen(['sleep', '60']); open('pid', 'w').write(str(p.pid)); p.wait()"
    with pytest.raises(space.Refused, match="it took longer than 2 seconds"):
        space.run([sys.executable, "-c", child], tmp_path, {"PATH": os.environ["PATH"]}, 2)
    state = Path(f"/proc/{started.read_text()}/stat")
    until = time.monotonic() + 20  # what is killed may take a moment to end, and nobody here waits for it
    while is_running(state) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(state)


def is_running(state):
    """Return whether a process runs, by its file in /proc: it neither ended nor waits to be collected."""
    try:
        return state.read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_fault_of_the_worker_is_told_without_its_traceback(space, tmp_path, caplog):
    with pytest.raises(space.Refused, match="this is a fault of the app"):
        space.run([sys.executable, "-c", "raise ValueError('/private')"], tmp_path, {}, 60)
    assert "/private" in caplog.text, "the log has it"


def test_answers_are_text_and_the_page_is_in_a_sandbox(space, monkeypatch):
    made = space.Made("<b>1</b>", '<p title="x">&lt;</p></iframe><script>', "a: 1\n")
    monkeypatch.setattr(space, "make", lambda *_: made)
    found = space.answer()
    assert "&lt;b&gt;1&lt;/b&gt;" in found
    assert found.count("<iframe") == found.count("</iframe>") == 1
    assert "<script" not in found
    assert re.search("<iframe [^>]*sandbox style", found)
    assert "base64,YTogMQo=" in found

    def refuse(*_):
        raise space.Refused("<i>no")

    monkeypatch.setattr(space, "make", refuse)
    assert space.answer() == '<p role="alert"><b>&lt;i&gt;no</b></p>'


def test_the_card_names_what_is_installed():
    card = yaml.safe_load((FOLDER / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    lines = (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    needed = {one.name: one.specifier for one in map(Requirement, lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert str(needed["gradio"]) == f"=={card['sdk_version']}"
    assert needed[project["name"]].contains(hf_mner_aug.__version__)
    assert card["license"] == project["license"].lower()
    assert (FOLDER / card["app_file"]).is_file()
    assert card["python_version"] in project["requires-python"]


@pytest.mark.slow
def test_the_page_in_a_browser(space, temporary):
    """Gradio's server gives the page to Chromium, and an answer to its client; paths of the machine are refused."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -r examples/space/requirements.txt")
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    page = space.build()
    _, url, _ = page.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True)
    try:
        client = Client(url, verbose=False)
        chosen = {"upload": None, "hub_name": "", "method": "mixgen", "copies": 1, "seed": 0}
        assert "200 posts made by mixgen" in client.predict(space.SAMPLE, *chosen.values(), api_name="/answer")
        stolen = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
        with pytest.raises(AppError):
            client.predict(space.UPLOAD, stolen, "", "eda", 1, 0, api_name="/answer")
        if chromium := shutil.which("chromium"):
            flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --dump-dom"
            command = [chromium, *flags.split(), "--virtual-time-budget=20000", f"--user-data-dir={temporary / 'user'}"]
            shown = subprocess.run([*command, url], capture_output=True, text=True, timeout=120).stdout
            assert all(f"{name}: " in shown for name in space.methods())
    finally:
        page.close()
