"""The demo: the drawn sample set, augmented, published into a folder, loaded back and verified, offline."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.untrusted.printable import say

if TYPE_CHECKING:
    from datasets import DatasetDict

FRACTION = 0.2


def run_demo(out: Path) -> None:
    """Augment the sample set with every method, without a model, and print what a user would look at first."""
    from datasets import load_dataset

    from hf_mner_aug.exceptions import MissingExtra
    from hf_mner_aug.methods import METHODS, method_class
    from hf_mner_aug.publishing.cards import mark_entities
    from hf_mner_aug.publishing.folder import publish
    from hf_mner_aug.publishing.verify import verify_folder
    from hf_mner_aug.runs.ledger import augment
    from hf_mner_aug.sample import load_sample
    from hf_mner_aug.schema import Codec, read_provenance

    sample = load_sample()
    say("sample set:", ", ".join(f"{split} {len(rows)} posts" for split, rows in sample.items()))
    for name in METHODS:
        cls = method_class(name)
        method = cls(copies=1 if cls.mode == "replace" else 2, **_params(cls, sample))
        try:
            run = augment(sample, method, out=out, fraction=FRACTION, progress=False)
        except MissingExtra as error:
            say(f"\n{name} is left out: {error}")
            continue
        done = publish(run, out, overwrite=True)
        config = load_dataset(str(out), done.config)
        say(f'\nload_dataset("{out}", "{done.config}"): {config.num_rows}, {done.funnel["dropped"] or "none"} dropped')
        codec = Codec(config["train"].features)
        rows = config["train"].with_format("arrow")[:].to_pylist()
        gold = {row["id"]: row for row in sample["train"].with_format("arrow")[:].to_pylist()}
        made = {row["source_id"] or row["id"]: row for row in rows if row["method"] != "gold"}
        for row in list(made.values())[:3]:
            details = read_provenance(row["provenance"], f"post {row['id']}").get("details", {})
            score = f"θ {details['matching_score']:.2f}" if "matching_score" in details else ""
            operation = details.get("operation", score)
            before = gold.get(row["source_id"])
            say(f"  before  {mark_entities(codec.to_post(before)) if before else '(made of no single post)'}")
            say(f"  {operation:<8}{mark_entities(codec.to_post(row))}")
        found = verify_folder(out, done.config)
        say(f"  content fingerprint {found.found[:16]}… {'verified' if found.ok else 'DIFFERS'}")
    say(f"\na config as a page:  hf-mner-aug show {shlex.quote(str(out))} {done.config}")
    say("your own posts:      hf-mner-aug augment FOLDER_OR_HUB_ID --method eda --out OUT")


def _params(cls: Any, sample: "DatasetDict") -> dict[str, Any]:
    """Return a method's parameters besides its defaults: for one that retrieves, a corpus of unused posts."""
    if cls().content.retrieval is None:
        return {}
    from hf_mner_aug.corpus import index
    from hf_mner_aug.runs.recipe import Recipe
    from hf_mner_aug.runs.subset import choose_subset
    from hf_mner_aug.storage.artifacts import cache_folder
    from hf_mner_aug.storage.locks import stage

    used = set(choose_subset(sample, Recipe(method=cls.name, fraction=FRACTION))["train"]["id"])
    others = sample["train"].select([i for i, name in enumerate(sample["train"]["id"]) if name not in used])
    corpus = cache_folder() / "demo" / "corpus.db"
    with stage(corpus.parent, corpus.name) as room:
        (room / "others").mkdir()
        others.to_parquet(room / "others" / "train.parquet")
        found = index(str(room / "others"), room / corpus.name, name="sample")
        found.path.replace(corpus)
    say(f"\n{replace(found, path=corpus)}")
    return {"corpus": str(corpus), "detectors": 2}
