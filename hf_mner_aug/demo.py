"""The demo: the drawn sample set, augmented, published into a folder, loaded back and verified, offline."""

import json
from pathlib import Path


def run_demo(out: Path) -> None:
    """Augment the sample set with every method that needs no model, and print what a user would look at first."""
    from datasets import load_dataset

    from hf_mner_aug.cards import mark_entities
    from hf_mner_aug.ledger import augment
    from hf_mner_aug.methods import METHODS, method_class
    from hf_mner_aug.repo_folder import publish, verify_folder
    from hf_mner_aug.sample import load_sample
    from hf_mner_aug.schema import Codec

    sample = load_sample()
    print("sample set:", ", ".join(f"{split} {len(rows)} posts" for split, rows in sample.items()))
    for name in METHODS:
        cls = method_class(name)
        if cls.facts.extra != "core":
            continue
        run = augment(sample, cls(copies=2), out=out, fraction=0.5, progress=False)
        done = publish(run, out, overwrite=True)
        config = load_dataset(str(out), done.config)
        print(
            f'\nload_dataset("{out}", "{done.config}"): {config.num_rows}, {done.funnel["dropped"] or "none"} dropped'
        )
        codec = Codec(config["train"].features)
        rows = config["train"].with_format("arrow")[:].to_pylist()
        gold = {row["id"]: row for row in rows if row["method"] == "gold"}
        made = {row["source_id"]: row for row in rows if row["method"] != "gold"}
        for row in list(made.values())[:3]:
            operation = json.loads(row["provenance"]).get("details", {}).get("operation", "")
            print(f"  before  {mark_entities(codec.to_post(gold[row['source_id']]))}")
            print(f"  {operation:<8}{mark_entities(codec.to_post(row))}")
        found = verify_folder(out, done.config)
        print(f"  content fingerprint {found.found[:16]}… {'verified' if found.ok else 'DIFFERS'}")
