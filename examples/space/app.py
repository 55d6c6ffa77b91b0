"""A Space for trying a method: choose a set and a method, see posts before and after, take the recipe along.

    pip install -r requirements.txt && python app.py

Each click is a process in a folder of its own (worker.py), with a limit on time and memory and none of this process's
secrets; the folder is removed before the answer is sent.
"""

import base64
import html
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.untrusted.printable import excerpt

SAMPLE, UPLOAD, HUB = "the drawn sample set", "a file of mine", "a set on the Hub"
KINDS = (".jsonl", ".parquet")
UPLOAD_BYTES = 20 * 2**20
SECONDS = 120  # of a click
MOST_COPIES = 5
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w[\w.-]*)?(:\w[\w.-]*)?", re.ASCII)
WORKER = Path(__file__).with_name("worker.py")
KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SSL_CERT_FILE", "HF_ENDPOINT", "HF_HUB_OFFLINE")


class Refused(Exception):
    """What a visitor can correct, or has to be told, in one line."""


@dataclass(frozen=True)
class Made:
    """What a click made: what became of the posts in a line, the page of posts, and the recipe (YAML)."""

    line: str
    page: str
    recipe: str


def methods() -> dict[str, str]:
    """Return what each method does that makes posts without further packages and without a key, by its name."""
    found = {name: method_class(name).facts for name in METHODS}
    return {n: facts.does for n, facts in found.items() if facts.extra.startswith("core") and facts.key == "none"}


def place(source: str, upload: str | None, hub_name: str, folder: Path) -> str:
    """Return the name of the chosen set for the worker; an uploaded file is copied into its folder.

    Raises:
        Refused: nothing is chosen, or the file or name is not what is taken here.
    """
    if source == SAMPLE:
        return "sample"
    if source == HUB:
        if not HUB_NAME.fullmatch(hub_name.strip()):
            raise Refused("expected the name of a set on the Hub as ORG/NAME, optionally with @REVISION and :CONFIG")
        return hub_name.strip()
    if not upload or not Path(upload).is_file():
        raise Refused(f"expected a file, {' or '.join(KINDS)}: an uploaded one is removed after a while")
    kind, size = Path(upload).suffix.lower(), Path(upload).stat().st_size
    if kind not in KINDS:
        raise Refused(f"expected a file {' or '.join(KINDS)}, found {excerpt(kind) or 'no ending'}")
    if size > UPLOAD_BYTES:
        raise Refused(f"the file has {size / 2**20:.1f} MiB, at most {UPLOAD_BYTES / 2**20:.0f} are read here")
    shutil.copyfile(upload, folder / f"upload{kind}")
    return f"upload{kind}"


def environment(home: Path) -> dict[str, str]:
    """Return the variables of the worker: caches of its own, and no secret of the Space."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {"HOME": home, "TMPDIR": home, "HF_HOME": home / "hf", "HF_MNER_AUG_CACHE": home / "cache"}
    return {**kept, **{name: str(path) for name, path in own.items()}, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


def make(
    source: str, upload: str | None, hub_name: str, method: str, copies: float, seed: float, seconds: float = SECONDS
) -> Made:
    """Augment a set, and return what was made.

    Args:
        source: which set: ``SAMPLE``, ``UPLOAD`` or ``HUB``.
        upload: the uploaded file.
        hub_name: the name of the set on the Hub.
        method: one of ``methods()``.
        copies: of each post, at most ``MOST_COPIES``.
        seed: of the random choices.
        seconds: how long it may take.

    Raises:
        Refused: there is a fault in what the visitor chose, or it took too long.
    """
    if method not in methods():
        raise Refused(f"expected one of the methods {', '.join(methods())}")
    if copies not in range(1, MOST_COPIES + 1) or seed not in range(2**32):
        raise Refused(f"expected 1 to {MOST_COPIES} copies and a seed that is a whole number from 0 to {2**32 - 1}")
    with tempfile.TemporaryDirectory(prefix="space-") as folder:
        home, work = Path(folder, "home"), Path(folder, "work")
        home.mkdir()
        work.mkdir()
        chosen = [place(source, upload, hub_name, work), method, str(int(copies)), str(int(seed))]
        line = run([sys.executable, str(WORKER), *chosen], work, environment(home), seconds).replace(folder, "")
        page, recipe = ((work / name).read_text(encoding="utf-8") for name in ("page.html", "recipe.yaml"))
    return Made(line, page, recipe)


def run(command: list[str], work: Path, variables: dict[str, str], seconds: float) -> str:
    """Run the worker in its folder, and return the line that it prints; it is killed with all that it started.

    Raises:
        Refused: it says what is wrong, took too long, or failed.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    worker = subprocess.Popen(command, cwd=work, env=variables, start_new_session=True, text=True, **streams)
    try:
        said, error = worker.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Refused(f"it took longer than {seconds:.0f} seconds: take a smaller set or another method") from None
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.communicate()
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    if worker.returncode and lines:
        raise Refused(excerpt(lines[-1].removeprefix("error: ").replace(f"{work.parent}", ""), 400))
    if worker.returncode:
        logging.error("worker: exit code %d\n%s", worker.returncode, error)
        raise Refused("the set could not be worked on: this is a fault of the app, or it needs too much memory")
    return excerpt(said, 1000)


def answer(*chosen: Any) -> str:
    """Return the answer to a click as HTML: what was made, or why nothing was."""
    try:
        made = make(*chosen)
    except Refused as fault:
        return f'<p role="alert"><b>{html.escape(str(fault))}</b></p>'
    recipe = base64.b64encode(made.recipe.encode()).decode()
    link = f'<a id="recipe" download="recipe.yaml" href="data:application/yaml;base64,{recipe}">Download the recipe</a>'
    command = "hf-mner-aug augment SET --recipe recipe.yaml --out OUT"
    style = "width: 100%; height: 80vh; border: 0"
    posts = (
        f'<iframe title="Posts before and after" sandbox style="{style}" srcdoc="{html.escape(made.page)}"></iframe>'
    )
    return f"<p>{html.escape(made.line)}</p><p>{link}, and make the whole set: <code>{command}</code></p>{posts}"


def build() -> Any:
    """Return the page."""
    import gradio as gr

    names = [(f"{name}: {does}", name) for name, does in methods().items()]
    with gr.Blocks(title="Augment multimodal NER", delete_cache=(300, 600)) as page:
        gr.Markdown(
            "# Augment multimodal NER\nPosts with pictures and entities, before and after a method of "
            "`hf_mner_aug`. The first 200 posts of a set are read; nothing is kept."
        )
        source = gr.Radio([SAMPLE, UPLOAD, HUB], value=SAMPLE, label="Set")
        upload = gr.File(label=f"File ({', '.join(KINDS)}, at most 20 MiB)", file_types=list(KINDS), visible=False)
        hub_name = gr.Textbox(label="ORG/NAME of a public set", visible=False, max_length=200)
        method = gr.Radio(names, value="lsms", label="Method")
        with gr.Row():
            copies = gr.Slider(1, MOST_COPIES, value=1, step=1, label="Copies of each post")
            seed = gr.Number(0, precision=0, minimum=0, label="Seed")
        button = gr.Button("Augment", variant="primary")
        result = gr.HTML()
        source.change(
            lambda kind: (gr.update(visible=kind == UPLOAD), gr.update(visible=kind == HUB)), source, [upload, hub_name]
        )
        button.click(answer, [source, upload, hub_name, method, copies, seed], result, concurrency_limit=1)
    return page


if __name__ == "__main__":
    build().queue(max_size=20).launch(max_file_size=UPLOAD_BYTES)
