"""Reports on backbones' errors: their kinds, confusions, and errors shared with other backbones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.metrics.span_errors import NOTHING, Error, find_errors, model_specific, overlap
from hf_mner_aug.metrics.spans import Labelled, PlainSpan, score_spans
from hf_mner_aug.schema import Codec, Post
from hf_mner_aug.sources.loading import with_pictures
from hf_mner_aug.studies.configs import read_config, read_gold
from hf_mner_aug.studies.tables import table, write_report
from hf_mner_aug.studies.tasks import ENTITIES, choose_task, found_in, task_in, viewed
from hf_mner_aug.transform import iterate_posts
from hf_mner_aug.untrusted.printable import for_markdown


@dataclass(frozen=True)
class ErrorReport:
    """The error counts of some backbones on one split as plain data; ``listed`` has each error with its post."""

    data: dict[str, Any]
    listed: list[dict[str, Any]]

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        backbones = self.data["backbones"]
        names, task = list(backbones), task_in(self.data)
        parts = [
            f"Errors on {self.data['split']} of {for_markdown(self.data['config'])}: {self.data['posts']} posts, "
            f"{self.data[task.entities]} {task.entities}.",
            table(
                ["backbone", "F1", *(f"{view} F1" for view in task.views), "errors", *task.errors],
                [
                    [
                        *(name, f"{b['f1']:.4f}", *(f"{b[view]:.4f}" for view in task.views), b["errors"]),
                        *(b["kinds"][kind] for kind in task.errors),
                    ]
                    for name, b in backbones.items()
                ],
            ),
            f"Most frequent confusions ({task.entity} → predicted):",
            table(
                ["backbone", "confusions"],
                [
                    [name, ", ".join(_confused(found, task.nothing) for found in b["confusions"][:10])]
                    for name, b in backbones.items()
                ],
            ),
        ]
        if len(names) > 1:
            parts += [
                "Share of the row's errors where the column errs too:",
                table(
                    ["backbone", *names], [[a, *(_percent(backbones[a]["overlap"][b]) for b in names)] for a in names]
                ),
                "Errors of its own:",
                table(
                    ["backbone", "some other backbone is right there", "every other backbone is right there"],
                    [[name, *map(_percent, b["model_specific"].values())] for name, b in backbones.items()],
                ),
            ]
        return "\n\n".join(parts) + "\n"

    def write(self, folder: str | Path) -> None:
        """Write errors.json (counts, and each error with its words) and errors.md."""
        write_report(Path(folder) / "errors", {**self.data, "listed": self.listed}, self.to_markdown())


def errors(
    repo: str | Path,
    configs: str | Sequence[str],
    backbones: Sequence[str],
    *,
    split: str = "validation",
    seed: int = 0,
    source: Any = None,
    images: str | Path | None = None,
) -> dict[str, ErrorReport]:
    """Train backbones on each config's train split and report their errors, by config.

    Args:
        repo: a repo folder that ``publish`` wrote, or a Hub id.
        configs: a config or several; ``gold_10pct`` stands for the gold posts of one that ends in ``_10pct``.
        backbones: names, optionally with settings: ``token_classifier:encoder=DIR,epochs=5``.
        split: the posts to predict.
        seed: the models' seed.
        source: the source of a method that replaces posts, if it is not a Hub dataset.
        images: a further folder that pictures named by ``source`` may be read from.

    Raises:
        UsageError: a name or value is wrong, the split is not there, or a config has nothing of what the backbones
            predict.
    """
    source = with_pictures(source, images)
    names = [configs] if isinstance(configs, str) else list(configs)
    return {name: analyse(repo, name, backbones, split=split, seed=seed, source=source) for name in names}


def analyse(
    repo: str | Path,
    config: str,
    backbones: Sequence[str],
    *,
    split: str = "validation",
    seed: int = 0,
    source: Any = None,
) -> ErrorReport:
    """Return the report of one config; arguments and exceptions are those of ``errors``."""
    if not backbones or len(set(backbones)) != len(backbones):
        raise UsageError(f"expected different backbones, found {', '.join(backbones) or 'none'}")
    models = {spec: replace(parse_backbone(spec), seed=seed) for spec in backbones}
    images = any(model.reads_images for model in models.values())
    if config.startswith("gold_"):
        data = read_gold(repo, config, images=images, source=source)
    else:
        data = read_config(repo, config, images=images).splits
    for needed in ("validation", split):
        if needed not in data:
            raise UsageError(f"{config} has no {needed} split, found {', '.join(data)}")
    task = choose_task({config: data["train"].features}, [*models.values()])
    rows = data[split]
    posts = list(iterate_posts(rows, Codec(rows.features)))
    predictions = {}
    for spec, model in models.items():
        fitted = model.fit(data["train"], data["validation"])
        predictions[spec] = found_in(task, fitted.predict(rows), posts)
    about = {"config": config, "split": split, **({} if task == ENTITIES else {"task": task.name})}
    return report_errors(predictions, [task.gold(post) for post in posts], posts, **about)


def report_errors(
    predictions: Mapping[str, Sequence[Sequence[Labelled]]],
    references: Sequence[Sequence[Labelled]],
    posts: Sequence[Post],
    **about: Any,
) -> ErrorReport:
    """Return the report of predictions by backbone; ``about`` goes into the data."""
    task = task_in(about)
    errors = {name: find_errors(found, references) for name, found in predictions.items()}
    backbones = {}
    listed = []
    for name, found in errors.items():
        kinds = Counter(error.kind for error in found)
        confusions = Counter(error.confusion for error in found if error.kind != "boundary")
        others = {other: theirs for other, theirs in errors.items() if other != name}
        backbones[name] = {
            "f1": score_spans(predictions[name], references).micro.f1,
            **{
                view: score_spans(viewed(of, predictions[name]), viewed(of, references)).micro.f1
                for view, of in task.views.items()
            },
            "errors": len(found),
            "kinds": {kind: kinds[kind] for kind in task.errors},
            "confusions": [
                {"gold": gold, "predicted": predicted, "count": n}
                for (gold, predicted), n in sorted(confusions.items(), key=lambda item: (-item[1], item[0]))
            ],
            "overlap": {other: overlap(found, theirs) for other, theirs in errors.items()},
            "model_specific": model_specific(found, others),
        }
        listed += [_spelled(name, error, posts[error.post]) for error in found]
    counted = {"posts": len(posts), task.entities: sum(map(len, references))}
    return ErrorReport({**about, **counted, "backbones": backbones}, listed)


# ---------------------------------------------------------------- inside


def _spelled(backbone: str, error: Error, post: Post) -> dict[str, Any]:
    """Return an error with its words, and the head and tail of a relation."""
    words = list(post.tokens)

    def spell(span: PlainSpan | None, region: str) -> dict[str, Any] | None:
        if span is None:
            return None
        told = {"start": span[0], "end": span[1], "type": span[2], "text": " ".join(words[span[0] : span[1]])}
        return {**told, "region": region} if region else told

    relation = post.relation
    pair = (("head", relation.head), ("tail", relation.tail)) if relation else ()
    return {
        "backbone": backbone,
        "post": post.id,
        "kind": error.kind,
        "gold": spell(error.gold, error.regions[0]),
        "predicted": spell(error.predicted, error.regions[1]),
        **{side: " ".join(words[slice(*span)]) for side, span in pair},
        "text": " ".join(words),
    }


def _confused(found: Mapping[str, Any], nothing: str) -> str:
    """Return a confusion with its count; ``nothing`` is written where there is no label."""
    gold, predicted = (nothing if found[side] == NOTHING else found[side] for side in ("gold", "predicted"))
    return f"{gold} → {predicted} {found['count']}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
