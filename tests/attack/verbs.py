"""The verbs that write, on a small set: their commands, the state that must be equal in the end, and leftovers."""

import contextlib
import json
import random
import re
import sqlite3
import time
from pathlib import Path

import yaml
from PIL import Image

from hf_mner_aug.publishing.verify import verify_folder

SECONDS = 5.0  # from a signal to the end; promised are 3
LSMS = ("augment", "set", "--method", "lsms", "--copies", "2", "--part-size", "10")
RMDA = ("--set", "corpus=corpus.db", "--set", "detectors=2", "--set", "image=false", "--retrieved", "ids-only")
WEAK = ("--set", "target=crf:iterations=3")  # a whole CRF gets no post of the small set wrong
# The verbs that write, and how often each is killed in the campaign.
VERBS = {
    "convert": (("convert", "conll", "raw", "--images", "images", "--out", "converted"), 20),
    "convert again": (("convert", "conll", "raw", "--images", "images", "--out", "set"), 10),
    "augment": ((*LSMS, "--out", "new"), 24),
    "augment in workers": ((*LSMS, "--out", "new", "--num-proc", "2"), 14),
    "augment into a folder": (("augment", "set", "--method", "eda", "--out", "aug"), 20),
    "augment over a config": ((*LSMS, "--seed", "7", "--overwrite", "--out", "aug"), 20),
    "memory_hard": (("augment", "set", "--method", "memory_hard", *WEAK, "--out", "aug", "--yes"), 20),
    "ids only": (("augment", "set", "--method", "rmda", *RMDA, "--out", "aug", "--yes"), 12),
    "hydrate": (("hydrate", "ids", "rmda_100pct", "--corpus", "corpus.db", "--out", "aug"), 20),
    "export": (("export", "aug", "lsms_100pct", "--to", "label-studio", "--out", "converted"), 10),
    "import-review": (("import-review", "aug", "lsms_100pct", "reviewed.jsonl"), 14),
    "index": (("index", "posts.txt", "--out", "new.db"), 20),
    "index more": (("index", "set", "--out", "corpus.db"), 14),
    "evaluate": (("evaluate", "aug", "--configs", "lsms_100pct", "--seeds", "0", "1", "--quiet", "--write-card"), 14),
    "quality": (("quality", "aug", "lsms_100pct", "--write-card"), 14),
    "show": (("show", "aug", "lsms_100pct", "--out", "page.html"), 10),
    "errors": (("errors", "aug", "--backbones", "crf", "--configs", "lsms_100pct", "--out", "wrong"), 10),
    "curve": (("curve", "set", "--ids", "ids10", "--methods", "lsms", "--out", "new", "--seeds", "0", "--quiet"), 10),
    "demo": (("demo", "--out", "new"), 6),
}
# What a run says of itself, not of the rows.
OWN = {"seconds", "seconds_in_parts", "parts_made", "hardware", "fit_seconds"}
LEFT = re.compile(r"\.(tmp|stage|old|new|lock|db-journal|publishing|hydrating|withdrawing)$")
SENTENCES = ["so happy to see {} in {} today", "{} beats {} again tonight", "watch {} with {} now", "we love {} and {}"]
NAMES = (
    "Kobe_Bryant/PER Lionel_Messi/PER Paris/LOC New_York/LOC Apple/ORG Lakers/ORG The_Office/MISC Adele/PER Oslo/LOC"
)


def write_raw(folder):
    """Write a raw set with pictures, other posts to retrieve, and the ids of subsets."""
    chance = random.Random(3)
    names = [(name.replace("_", " "), kind) for name, _, kind in (word.partition("/") for word in NAMES.split())]
    (folder / "raw").mkdir(parents=True)
    (folder / "images").mkdir()
    for split, n in (("train", 80), ("valid", 16), ("test", 16)):
        text = ""
        for i in range(n):
            text += f"IMGID:{split}{i}\n"
            for word in f"{chance.choice(SENTENCES)} w{i}".split():
                name, kind = chance.choice(names) if word == "{}" else (word, "")
                for j, part in enumerate(name.split()):
                    text += f"{part}\t{'BI'[j > 0]}-{kind}\n" if kind else f"{part}\tO\n"
            text += "\n"
            if i % 3:
                Image.effect_noise((24 + i % 5, 20), 50 + i).convert("RGB").save(folder / "images" / f"{split}{i}.jpg")
        (folder / "raw" / f"{split}.txt").write_text(text)
    for share in (10, 40):
        (folder / "ids10" / f"{share}pct").mkdir(parents=True)
        ids = {"train": range(share * 8 // 10 + 1), "dev": range(share // 4 + 1)}
        for name, rows in ids.items():
            lines = "".join(f"{'valid' if name == 'dev' else name}{i}\n" for i in rows)
            (folder / "ids10" / f"{share}pct" / f"{name}.txt").write_text(lines)
    pairs = [(chance.choice(names)[0], chance.choice(names)[0]) for _ in range(200)]
    told = [f"big news : {one} goes to {other} with number {i}\n" for i, (one, other) in enumerate(pairs)]
    (folder / "posts.txt").write_text("".join(told))


def plain(value):
    """Return JSON without the facts of a run about itself."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if name not in OWN}
    return [plain(item) for item in value] if isinstance(value, list) else value


def state(folder):
    """Return what must be the same in the end, by file; hidden files and caches are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.startswith(("cache/", "tmp/")) or path.name.startswith((".", "run")):
            continue
        if path.suffix == ".json" and path.name != "augmentation.json":
            found[name] = plain(json.loads(path.read_text()))
        elif path.suffix == ".db":
            with sqlite3.connect(path) as file:
                tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                kept = [table for table in tables if not table.startswith("post_words_")]
                found[name] = {table: sorted(map(repr, file.execute(f"SELECT * FROM {table}"))) for table in kept}
        else:
            found[name] = path.read_bytes()
    return found


def leftovers(folder):
    """Return the files that a run made for itself and did not delete."""
    paths = (path for path in folder.rglob("*") if not str(path.relative_to(folder)).startswith(("cache/", "tmp/")))
    return sorted(str(path.relative_to(folder)) for path in paths if LEFT.search(path.name))


def check_published(folder, final):
    """See that what a reader meets is whole: no visible name but those of the end, all configs of the card verified."""
    for out in (folder / name for name in ("new", "aug", "ids", "set", "converted") if (folder / name).is_dir()):
        visible = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        assert visible <= {name.split("/")[1] for name in final if name.startswith(f"{out.name}/")}, (out, visible)
        card = out / "README.md"
        if out.name in ("set", "converted") or not card.exists():
            continue
        listed = yaml.safe_load(card.read_text().split("---\n")[1]).get("configs", [])
        for name in {file["path"].partition("/")[0] for config in listed for file in config["data_files"]}:
            assert verify_folder(out, name).ok, (out, name)


def check_alone(pid):
    """See that no process of a command's group is left; it may be dead and not yet buried."""
    deadline = time.monotonic() + SECONDS
    while left := list(alive(pid)):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def alive(group):
    """Yield the processes of a group that are not dead, by id and command."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                yield path.parent.name, (path.parent / "cmdline").read_bytes()
