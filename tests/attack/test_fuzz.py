"""Damaged and hostile files of every kind that is read: each ends in success or in one line, never in a traceback.

The default run has a few mutations of each mechanism; the campaign (``make attack``) has thousands, with fixed seeds.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mutations as m
import pytest
from conftest import as_dataset, parse, picture
from datasets import DatasetDict

from hf_mner_aug import EDA, RMDA, MemoryHard, augment, cli, publish
from hf_mner_aug.corpus import index
from hf_mner_aug.models.endpoint.budget import Usage
from hf_mner_aug.models.endpoint.responses import Record, write_record
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Post, mner_features

SECONDS = 60  # that one command may take, on a machine that does other things too
SHARE = float(os.environ.get("FUZZ", "1"))  # of the campaign
TEXTS = [
    "what a day to see [PER Lionel Messi] in [LOC Barcelona] with @ana",
    "we all love [PER Adele] so very much",
    "some more rain in [LOC London] today and much of it",
    "nothing happens here at all with @bob",
    "very glad to meet [PER Taylor Swift] at [ORG Apple] tonight !",
    "watch [MISC The Office] with [PER Steve Carell] of [ORG NBC] today",
]
POOL = [
    {"id": "901", "text": "so glad to see Lionel Messi with @carla99 today", "image": "1.png", "licence": "CC0-1.0"},
    {"id": "902", "text": "call me for Adele tickets or so", "url": "https://x.com/d/status/902"},
    {"id": "903", "text": "we all heard Adele sing it @ erik 's party", "date": "2015-01-02"},
    {"id": "904", "text": "gloomy rain in London once more so unhappy", "url": "https://x.com/g/4"},
]
IMGID = "IMGID:7\nNew\tB-LOC\nYork\tI-LOC\nloves\tO\nAdele\tB-PER\n\nIMGID:8\nParis\tB-LOC\nis\tO\nnice\tO\n\n"
MNRE = {
    "token": ["Bill", "Cosby", "in", "Hollywood"],
    "h": {"name": "Bill Cosby", "pos": [0, 2]},
    "t": {"name": "Hollywood", "pos": [3, 4]},
    "img_id": "twitter_1.jpg",
    "relation": "/per/misc/present_in",
}
MANY = {"id": 53, "text": ["for", "jaebeom", "of"], "label": ["O", "B-PER", "O"], "images": ["5_0.jpg"]}
VOC = (
    "<annotation><filename>7.jpg</filename><size><width>100</width><height>80</height><depth>3</depth></size>"
    "<object><name>New York</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>"
    "</annotation>"
)
RECIPE = """method: eda
params: {alpha: 0.2}
seed: 1
copies: 2
fraction: 0.9
subset_seed: 3
part_size: 4
preset: embedded
config: eda_x
models: {}
device: cpu
dtype: float32
"""


class Kind(NamedTuple):
    """A kind of file: where some lie in a tree, how they are mutated, what reads them, and how often."""

    name: str
    tree: str
    files: tuple[str, ...]
    mutate: tuple[Callable[[random.Random, bytes], bytes], ...]
    commands: tuple[str, ...]
    times: int


RAW = (m.flip, m.cut, m.splice)
JSON = (m.change_json, m.change_json, m.change_json, *RAW)
KINDS = (
    Kind("recipe YAML", "base", ("recipe.yaml",), (m.change_yaml,) * 4 + RAW, ("recipe",), 500),
    Kind("recipe JSON", "base", ("out/eda/augmentation.json",), JSON, ("config as recipe",), 150),
    Kind("source's card", "base", ("src/README.md",), (m.change_card,) * 5 + RAW, ("validate", "plan"), 350),
    Kind("source's Parquet", "base", ("src/train.parquet", "src/test.parquet"), (m.change_parquet,) * 3 + RAW,
         ("validate", "make", "index set"), 300),
    Kind("published Parquet", "base", ("out/eda/*.parquet",), (m.change_parquet,) * 3 + RAW,
         ("verify", "show", "validate config", "withdraw"), 250),
    Kind("augmentation.json", "base", ("out/eda/augmentation.json",), JSON,
         ("verify", "show", "again", "withdraw", "memory", "rerun", "merge"), 500),
    Kind("OUT's card", "base", ("out/README.md",), (m.change_card,) * 4 + (m.lines, *RAW),
         ("another", "card", "merge"), 250),
    Kind("notes of a run", "base",
         ("out.runs/eda-*/parts/00000.json", "out.runs/eda-*/recipe.json", "out.runs/eda-*/fit/*",
          "out.runs/eda-*/run.json"), JSON, ("again", "show"), 250),
    Kind("parts of a run", "base", ("out.runs/eda-*/parts/00001.parquet", "out.runs/eda-*/rejected/00001.parquet"),
         (m.change_parquet, *RAW), ("again", "show"), 100),
    Kind("ids", "base", ("ids.txt",), (m.lines, *RAW), ("ids",), 150),
    Kind("corpus input", "base", ("pool/posts.jsonl", "pool/posts.txt"), (m.lines, *RAW), ("index pool",), 300),
    Kind("corpus JSON", "base", ("pool/posts.jsonl",), (m.change_line,), ("index pool",), 300),
    Kind("corpus.db", "stubs", ("corpus.db",), RAW, ("hydrate", "rmda"), 100),
    Kind("stubs", "stubs", ("out/rmda/augmentation.json",), JSON, ("hydrate",), 150),
    Kind("Parquet of stubs", "stubs", ("out/rmda/retrieved-*.parquet", "out/rmda/train-*.parquet"),
         (m.change_parquet, *RAW), ("hydrate",), 80),
    Kind("IMGID files", "raw", ("imgid/txt/train.txt",), (m.lines, *RAW), ("convert imgid",), 250),
    Kind("XML of boxes", "raw", ("imgid/xml/7.xml",), RAW, ("convert imgid",), 150),
    Kind("literals", "raw", ("mnre/train.txt",), (m.lines, *RAW), ("convert mnre",), 200),
    Kind("JSON posts", "raw", ("many/train.txt",), (m.change_line, *RAW), ("convert many",), 200),
    Kind("convert.json", "raw", ("done/convert.json", "done/README.md"), (*JSON[3:], m.lines),
         ("convert again", "validate done"), 50),
    Kind("memory", "memory", ("out.runs/*/fit/*", "out.runs/*/fit/artifact.json"), JSON, ("show memory",), 150),
    Kind("study cells", "study", ("out.studies/crf-*/cells/*.json", "out.studies/crf-*/study.json"), JSON,
         ("evaluate",), 40),
    Kind("recorded answers", "base", ("answers/ab/*.json",), JSON, ("answer",), 500),
    Kind("pooling", "base", ("encoder/1_Pooling/config.json",), JSON, ("pooling",), 300),
    Kind("backbone", "base", ("crf/backbone.json",), JSON, ("backbone",), 300),
)  # fmt: skip


# ---------------------------------------------------------------- trees


def posts(prefix: str = "g") -> list[Post]:
    return [Post(f"{prefix}{i}", *parse(text), (picture(i, "PNG"),)) for i, text in enumerate(TEXTS)]


def splits() -> DatasetDict:
    test = [Post("t0", *parse("such a [LOC Rome] test"), ()), Post("t1", *parse("[PER Ann] and [PER Bob] test"), ())]
    valid = [Post("v0", *parse("so [LOC Oslo] it is"), ()), Post("v1", *parse("[PER Eve] was here"), ())]
    sets = {"train": posts(), "validation": valid, "test": test}
    return DatasetDict({name: as_dataset(found, mner_features()) for name, found in sets.items()})


def write_source(folder: Path) -> Path:
    """Write a source with a card as ``convert`` writes them."""
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    folder.mkdir(parents=True)
    found = splits()
    for split, data in found.items():
        data.to_parquet(folder / f"{split}.parquet")
    data = DatasetCardData(language="en", license="cc-by-4.0", pretty_name="A set", tags=["mner"])
    files = [{"split": split, "path": f"{split}.parquet"} for split in found]
    MetadataConfigs({"default": {"data_files": files}}).to_dataset_card_data(data)
    info = found["train"].info.copy()
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    (folder / "README.md").write_text(f"---\n{data.to_yaml(line_break=chr(10))}\n---\n# A set\n")
    return folder


def build_base(folder: Path) -> None:
    source = write_source(folder / "src")
    run = augment(splits(), EDA(copies=2), out=folder / "out", progress=False, config="eda", part_size=2)
    publish(run, folder / "out", source=str(source))
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "ids.txt").write_text("g0\ng1\ng2\ng4\n")
    pool = folder / "pool"
    pool.mkdir()
    (pool / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in POOL))
    (pool / "posts.txt").write_text("".join(post["text"] + "\n" for post in POOL))
    (pool / "1.png").write_bytes(picture(1, "PNG")["bytes"])
    usage = Usage()
    record = Record("ab" * 32, "chat", "m", None, {"text": "x", "refusal": None, "finish_reason": "stop"}, usage)
    write_record(folder / "answers" / "ab" / f"{'ab' * 32}.json", record)
    pooling = folder / "encoder" / "1_Pooling" / "config.json"
    pooling.parent.mkdir(parents=True)
    pooling.write_text(json.dumps({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}))
    from hf_mner_aug.backbones.crf import CRF

    CRF(iterations=3).fit(splits()["train"], splits()["validation"]).save(folder / "crf")


def build_stubs(folder: Path) -> None:
    pool = folder / "pool"
    pool.mkdir(parents=True)
    (pool / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in POOL))
    (pool / "1.png").write_bytes(picture(1, "PNG")["bytes"])
    index(str(pool / "posts.jsonl"), folder / "corpus.db")
    write_source(folder / "src")
    method = RMDA(copies=2, filter=False, require="any", corpus=str(folder / "corpus.db"), image=False)
    run = augment(splits(), method, out=folder / "run", progress=False, config="rmda")
    publish(run, folder / "out", retrieved="ids-only")


def build_raw(folder: Path) -> None:
    files = {
        "imgid/txt/train.txt": IMGID,
        "imgid/txt/test.txt": IMGID.replace("IMGID:", "IMGID:1"),
        "imgid/xml/7.xml": VOC,
        "mnre/train.txt": f"{MNRE}\n{MNRE}\n",
        "many/train.txt": f"{json.dumps(MANY)}\n{json.dumps({**MANY, 'id': 54})}\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    from hf_mner_aug.conversion import convert

    convert("twitter_gmner", folder / "imgid", folder / "done")


def build_memory(folder: Path) -> None:
    quick = {"target": "crf:iterations=10", "detector": "crf:iterations=15", "detectors": 2, "folds": 2, "seeds": 1}
    drawn = [d.post for d in draw_posts()["train"][:40]]
    train = as_dataset([Post(p.id, p.tokens, p.entities) for p in drawn], mner_features())
    augment(DatasetDict(train=train), MemoryHard(**quick), out=folder / "out", progress=False)


def build_study(folder: Path) -> None:
    source = write_source(folder / "src")
    run = augment(splits(), EDA(copies=1), out=folder / "out", progress=False, config="eda")
    publish(run, folder / "out", source=str(source))
    code, said, _ = call(arguments("evaluate", folder))
    assert code == 0, said


BUILDERS: dict[str, Callable[[Path], None]] = {
    "base": build_base,
    "stubs": build_stubs,
    "raw": build_raw,
    "memory": build_memory,
    "study": build_study,
}


# ---------------------------------------------------------------- what reads them


def withdraw(w: Path) -> None:
    from hf_mner_aug.publishing.withdraw import withdraw_posts

    withdraw_posts(w / "out", ["g0"])


def merge(w: Path) -> None:
    from hf_mner_aug.publishing.hub import _check_rights, _merged_card
    from hf_mner_aug.publishing.selection import choose

    local = choose(w / "out")
    with contextlib.suppress(cli.UsageError):
        _check_rights(local.notes)
    _merged_card(local, None, "org/name")


def card(w: Path) -> None:
    from hf_mner_aug.studies.tables import Report

    row = {"name": "eda", "kind": "augmented", "per_type": {}, "train_posts": 1, "cells": 1}
    score = {"mean": 0.5, "sd": None}
    row |= {name: score for name in ("precision", "recall", "f1", "validation_f1")}
    data = {"rows": [row], "backbone": "crf", "verdict": "", "settings": {}, "seeds": [0], "split": "test"}
    data |= {"posts": 1, "entities": 1, "resamples": 1, "comparisons": [], "controls": [], "split_by": {}}
    Report(w, {**data, "tried": [], "notes": []}).write_card(w / "out")


def answer(w: Path) -> None:
    from hf_mner_aug.models.endpoint.responses import read_record

    read_record(next((w / "answers/ab").glob("*.json")))


def pooling(w: Path) -> None:
    from hf_mner_aug.models.words.sentence import _pooling

    _pooling(str(w / "encoder"))


def backbone(w: Path) -> None:
    from hf_mner_aug.backbones.crf import CRF

    CRF.load(w / "crf")


CALLS = {call.__name__: call for call in (withdraw, merge, card, answer, pooling, backbone)}


def arguments(command: str, w: Path) -> list[str] | Callable[[], Any]:
    """Return the command line (or the call) that reads a mutated file in the tree ``w``; it writes beside."""
    if called := CALLS.get(command):
        return partial(called, w)
    source, out = str(w / "src"), str(w / "out")
    evaluate = ["evaluate", out, "--configs", "eda", "--seeds", "0", "--set", "iterations=3", "--quiet"]
    return {
        "recipe": ["augment", source, "--recipe", str(w / "recipe.yaml"), "--out", str(w / "new"), "--dry-run"],
        "config as recipe": ["augment", source, "--recipe", str(w / "out/eda/augmentation.json"), "--out",
                             str(w / "new"), "--dry-run"],
        "validate": ["validate", source],
        "plan": ["augment", source, "--method", "eda", "--out", str(w / "new"), "--yes"],
        "make": ["augment", source, "--method", "lsms", "--out", str(w / "new"), "--yes"],
        "index set": ["index", source, "--out", str(w / "new.db")],
        "verify": ["verify", out, "eda"],
        "rerun": ["verify", out, "eda", "--rerun", "--source", source],
        "show": ["show", out, "eda", "--out", str(w / "page.html")],
        "validate config": ["validate", out],
        "again": ["augment", source, "--method", "eda", "--set", "alpha=0.1", "--copies", "2", "--part-size", "2",
                  "--config-name", "eda", "--out", out, "--yes", "--overwrite"],
        "another": ["augment", source, "--method", "eda", "--out", out, "--yes"],
        "memory": ["memory", out],
        "show memory": ["memory", out],
        "ids": ["augment", source, "--method", "eda", "--ids-train", str(w / "ids.txt"), "--out", str(w / "new"),
                "--dry-run"],
        "index pool": ["index", str(w / "pool"), "--out", str(w / "new.db")],
        "hydrate": ["hydrate", out, "rmda", "--corpus", str(w / "corpus.db"), "--out", str(w / "whole")],
        "rmda": ["augment", source, "--method", "rmda", "--set", f"corpus={w / 'corpus.db'}", "--set", "image=false",
                 "--out", str(w / "new"), "--yes"],
        "convert imgid": ["convert", "twitter_gmner", str(w / "imgid"), "--out", str(w / "new")],
        "convert mnre": ["convert", "mnre", str(w / "mnre"), "--out", str(w / "new")],
        "convert many": ["convert", "mner_mi", str(w / "many"), "--out", str(w / "new")],
        "convert again": ["convert", "twitter_gmner", str(w / "imgid"), "--out", str(w / "done")],
        "validate done": ["validate", str(w / "done")],
        "evaluate": evaluate,
    }[command]  # fmt: skip


class Hang(BaseException):
    """The command took too long."""


def _ring(*_: object) -> None:
    raise Hang


def call(command: list[str] | Callable[[], Any]) -> tuple[int, str, str]:
    """Run a command as a process would; return its exit status, standard error, and a traceback if there is one."""
    out, err = io.StringIO(), io.StringIO()
    code, trace = 0, ""
    before = sys.argv, warnings.formatwarning, cli.app
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if callable(command):
                cli.app = command
                sys.argv = ["hf-mner-aug"]
            else:
                sys.argv = ["hf-mner-aug", *command]
            try:
                cli.main()
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
                cause = error.__context__
                trace = "".join(traceback.format_exception(cause)) if "unexpected" in err.getvalue() and cause else ""
    except Hang:
        code, trace = -1, "hang"
    except BaseException as error:  # noqa: BLE001 - what is looked for
        code, trace = -2, "".join(traceback.format_exception(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.argv, warnings.formatwarning, cli.app = before
    if code == 2 and not err.getvalue() and out.getvalue():  # validate and verify say what is wrong as their result
        return code, "error: told", ""
    return code, err.getvalue(), trace


def judge(code: int, said: str, trace: str) -> str:
    """Return the outcome of a command: ok, told, or what is wrong with it."""
    lines = said.strip().splitlines()
    if code == -1:
        return "hang"
    if code < 0:
        return "traceback"
    if code == 0:
        return "ok" if "Traceback" not in said else "traceback"
    errors = [line for line in lines if line.startswith("error: ")]
    if code not in (1, 2) or len(errors) != 1 or errors[0] != lines[-1]:
        return f"said in {len(lines)} lines"
    if errors[0].startswith("error: unexpected"):
        return "unexpected"
    if code == 1 and "run the same command again" in errors[0]:
        return "wrong advice"
    return "told"


class Found(NamedTuple):
    """A mutation that was not dealt with."""

    what: str
    seed: str
    said: str
    trace: str


def campaign(kind: Kind, tree: Path, place: Path, seeds: Iterable[int]) -> tuple[Counter[str], list[Found]]:
    """Mutate a kind of file once for each seed, and return the outcomes and the failures."""
    counts: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        rng = random.Random(f"{kind.name}/{seed}")
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tree, place, symlinks=True)
        files = [path for name in kind.files for path in sorted(place.glob(name)) if path.is_file()]
        path = rng.choice(files)
        mutate = rng.choice(kind.mutate)
        data = path.read_bytes()
        try:
            data = mutate(rng, data)
        except UnicodeDecodeError:  # a binary file among text
            data = m.flip(rng, data)
        path.write_bytes(data)
        command = kind.commands[seed % len(kind.commands)]
        code, said, trace = call(arguments(command, place))
        verdict = judge(code, said, trace)
        counts[verdict] += 1
        if verdict not in ("ok", "told"):
            wrong.append(Found(verdict, f"{kind.name}/{seed} {mutate.__name__} {path.name}: {command}", said, trace))
    return counts, wrong


def spell(found: Found) -> str:
    """Return a failure with the end of its traceback."""
    trace = [line for line in found.trace.splitlines() if line.strip()]
    frames = [line.strip() for line in trace if "hf_mner_aug/" in line and "cli/" not in line]
    return f"{found.what}: {found.seed}: {found.said.strip()[:300]} @ {' < '.join(frames[-2:][::-1])}"


# ---------------------------------------------------------------- the tests


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the tree of a name, built at its first call."""
    built: dict[str, Path] = {}
    base = tmp_path_factory.mktemp("fuzz")

    def get(name: str) -> Path:
        if name not in built:
            BUILDERS[name](base / name)
            built[name] = base / name
        return built[name]

    return get


@pytest.fixture(scope="session")
def table() -> Iterator[dict[str, Counter[str]]]:
    """Collect the outcomes of each kind, and print them at the end."""
    found: dict[str, Counter[str]] = {}
    yield found
    heads = ["ok", "told", *sorted({v for c in found.values() for v in c} - {"ok", "told"})]
    print(f"\n{'kind':<20}{'all':>6}" + "".join(f"{head:>16}" for head in heads))
    for name, counts in {**found, "all": sum(found.values(), Counter())}.items():
        print(f"{name:<20}{counts.total():>6}" + "".join(f"{counts[head]:>16}" for head in heads))


# Seeds that ended in "unexpected …", in several lines or with wrong advice once, one of each mechanism.
ONCE_UNEXPECTED = {
    "recipe YAML": (3, 6, 7, 16, 44, 57, 66, 92),
    "recipe JSON": (33, 41, 57),
    "source's card": (2, 3, 7, 15, 27, 35, 314),
    "source's Parquet": (3, 24),
    "published Parquet": (2, 3, 10, 12, 153, 217, 233),
    "augmentation.json": (15, 32, 46, 87, 90, 125, 129, 134),
    "OUT's card": (6, 11, 14),
    "notes of a run": (13, 14, 36),
    "parts of a run": (3, 9),
    "ids": (8,),
    "stubs": (12, 13, 25, 103),
    "Parquet of stubs": (1, 9),
    "IMGID files": (7, 10),
    "literals": (3, 15),
    "JSON posts": (0, 7),
    "pooling": (3, 5, 60),
    "backbone": (5, 7, 8, 17),
}


@pytest.mark.parametrize("name", ONCE_UNEXPECTED)
def test_what_was_unexpected_is_told_in_one_line(name: str, trees: Callable[[str], Path], tmp_path: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    _, wrong = campaign(kind, trees(kind.tree), tmp_path / "w", ONCE_UNEXPECTED[name])
    assert not wrong, "\n".join(map(spell, wrong))


@pytest.mark.attack
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_campaign(kind: Kind, trees: Callable[[str], Path], table: dict[str, Counter[str]], tmp_path: Path) -> None:
    counts, wrong = campaign(
        kind,
        trees(kind.tree),
        tmp_path / "w",
        range(round(kind.times * SHARE)),
    )
    table[kind.name] = counts
    assert not wrong, "\n".join(map(spell, wrong))
