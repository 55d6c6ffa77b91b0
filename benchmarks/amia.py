"""AMIA on the sample set: original pictures, synthesised ones, and their mixes by 0.3, 0.5, 0.7, cosine and the score.

python benchmarks/amia.py FOLDER [--page PAGE] [--backbones BACKBONE …]: a study of each backbone, over five seeds,
split by matched posts, put into a page of results. About an hour on one core; cut short, it goes on where it was. The
tiny tower learns first, from train's pictures alone, of which type the mentions of a post are, and is then frozen:
beside a text encoder it would not learn to see.
"""

import argparse
from pathlib import Path

from hf_mner_aug import AMIA, augment, load_sample, publish
from hf_mner_aug.backbones.taught_tower import teach_tower
from hf_mner_aug.studies.tables import evaluate

CONFIGS = {"amia_100pct": "adaptive", **{f"amia_{mix}": mix for mix in ("0", "0.3", "0.5", "0.7", "cosine")}}
READING = ["encoder=tiny", "image_size=64", "batch_size=32", "learning_rate=1e-3", "dropout=0.3", "checks=6"]
# Chosen on validation with the original pictures and one seed.
BACKBONES = {
    "bert_resnet_crf": ["epochs=6", "head_learning_rate=3e-3"],
    "umt": ["epochs=6", "head_learning_rate=1e-3"],
    "maf": ["epochs=4", "head_learning_rate=2e-3"],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--backbones", nargs="*", default=[*BACKBONES])
    chosen = parser.parse_args()
    folder = chosen.folder
    source, tower, repo = folder / "sample", folder / "tower", folder / "sample-amia"
    source.mkdir(parents=True, exist_ok=True)
    sample = load_sample()
    for split, rows in sample.items():
        rows.to_parquet(source / f"{split}-00000-of-00001.parquet")
    if not tower.exists():
        teach_tower(tower, sample["train"], sample["validation"])
    for config, mix in CONFIGS.items():
        publish(augment(str(source), AMIA(mix=mix), out=repo, config=config), repo, source=str(source))
    for backbone in chosen.backbones:
        settings = [*READING, *BACKBONES[backbone], f"tower={tower}"]
        seeds = (0, 1, 2, 3, 4)
        split_by = ("matched", "image_matches", "ambiguous")
        report = evaluate(
            repo, [*CONFIGS], backbone=backbone, settings=settings, seeds=seeds, split_by=split_by, source=source
        )
        print(report.to_markdown())
        if chosen.page:
            report.write_page(chosen.page)


if __name__ == "__main__":
    main()
