"""AMIA on the sample set: original pictures, synthesised ones, and their mixes by 0.3, 0.5, 0.7, cosine and the score.

python benchmarks/amia.py FOLDER [BACKBONE …]: a study of each backbone, over five seeds, split by matched posts. About
an hour on one core; cut short, it goes on where it was. The tiny tower learns first, from train's pictures alone, of
which type the mentions of a post are, and is then frozen: beside a text encoder it would not learn to see.
"""

import sys
from dataclasses import replace
from pathlib import Path

from hf_mner_aug import AMIA, augment, load_sample, publish
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.schema import Codec, Entity, Post
from hf_mner_aug.study_report import evaluate
from hf_mner_aug.transform import iterate_posts

CONFIGS = {"amia_100pct": "adaptive", **{f"amia_{mix}": mix for mix in ("0", "0.3", "0.5", "0.7", "cosine")}}
TINY = ["encoder=tiny", "image_size=64", "batch_size=32"]
SEEING = [*TINY, "tower=tiny", "freeze_vision=false", "epochs=30", "learning_rate=1e-3", "head_learning_rate=3e-3"]
READING = [*TINY, "learning_rate=1e-3", "dropout=0.3", "checks=6"]
# Chosen on validation with the original pictures and one seed.
BACKBONES = {
    "bert_resnet_crf": ["epochs=6", "head_learning_rate=3e-3"],
    "umt": ["epochs=6", "head_learning_rate=1e-3"],
    "maf": ["epochs=4", "head_learning_rate=2e-3"],
}


def teach_tower(folder: Path) -> None:
    """Save a tiny tower that has learnt from train's pictures of which type the mentions of a post are."""

    def wordless(split: str) -> list[Post]:
        rows = load_sample()[split]
        posts = [post for post in iterate_posts(rows, Codec(rows.features), images=True) if post.images]
        one_type = [post for post in posts if len({entity.type for entity in post.entities}) == 1]
        return [replace(post, tokens=["?"], entities=(Entity(0, 1, post.entities[0].type),)) for post in one_type]

    fitted = parse_backbone("bert_resnet_crf", SEEING).fit(wordless("train"), wordless("validation"))
    fitted.fitted.net.tower.body.save_pretrained(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    source, tower, repo = folder / "sample", folder / "tower", folder / "sample-amia"
    source.mkdir(parents=True, exist_ok=True)
    for split, rows in load_sample().items():
        rows.to_parquet(source / f"{split}-00000-of-00001.parquet")
    if not tower.exists():
        teach_tower(tower)
    for config, mix in CONFIGS.items():
        publish(augment(str(source), AMIA(mix=mix), out=repo, config=config), repo, source=str(source))
    for backbone in sys.argv[2:] or BACKBONES:
        settings = [*READING, *BACKBONES[backbone], f"tower={tower}"]
        seeds = (0, 1, 2, 3, 4)
        split_by = ("matched", "image_matches", "ambiguous")
        report = evaluate(
            repo, [*CONFIGS], backbone=backbone, settings=settings, seeds=seeds, split_by=split_by, source=source
        )
        print(report.to_markdown())


if __name__ == "__main__":
    main()
