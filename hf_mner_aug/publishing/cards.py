"""The card (README.md) of a repo of augmented configs: YAML that loads, and a section for each config.

A section stands between two HTML comments, so that publishing a config replaces its own section only and keeps the rest
of the card.
"""

import copy
import functools
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from hf_mner_aug.exceptions import Corrupt, UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.publishing.stubs import stub_config, stub_features
from hf_mner_aug.runs.funnel import Funnel, asked_for, outcomes
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import Post
from hf_mner_aug.sources.facts import SourceFacts
from hf_mner_aug.storage.artifacts import write_atomically
from hf_mner_aug.storage.locks import lock
from hf_mner_aug.transform import Facts, Model
from hf_mner_aug.untrusted.cards import check_card, load_card
from hf_mner_aug.untrusted.names import STUBS
from hf_mner_aug.untrusted.printable import code_span, fenced, for_markdown, for_terminal, without_comments
from hf_mner_aug.untrusted.shapes import checked, fields_of

if TYPE_CHECKING:
    from datasets import DatasetInfo, Features
    from huggingface_hub import CardData, DatasetCard

TAGS = ("multimodal", "named-entity-recognition", "data-augmentation", "mner-aug")
AS_PUBLISHED = "take the file that was published with the config"
UNCHECKED = "not-for-all-audiences"
UNKNOWN = "unknown"  # the licence of a retrieved post that does not say its own
# Licences of models that set no conditions on the output of the models.
PERMISSIVE = ("apache-2.0", "bsd-3-clause", "mit")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class SplitFacts:
    """The numbers of gold and made posts in a published split, and its size."""

    gold: int
    made: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The facts about a method's class outside this package."""

    facts: Facts
    replaces: bool


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """The numbers of posts that reviewers accepted as they were, corrected, rejected, and did not decide on."""

    accepted: int = 0
    corrected: int = 0
    rejected: int = 0
    untouched: int = 0


@dataclass(frozen=True, kw_only=True)
class Review:
    """What people decided on the posts of a config, ``of``, in a tool.

    ``made`` are the posts that the method made, ``originals`` the others. ``snapped`` counts labels that began or ended
    inside a word. ``keeps_untouched`` says whether posts without a decision are kept. The config's fingerprints are
    those before the review, ``file`` is the sha256 of the reviewed file.
    """

    of: str
    content_fingerprint: str
    recipe_fingerprint: str
    file: str
    tool: str
    made: Verdicts
    originals: Verdicts
    keeps_untouched: bool
    snapped: int = 0
    reviewers: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of made posts in training, and what they are in words; gold posts have 1, or what they had."""

    meaning: str
    mean: float
    least: float
    most: float

    def told(self, *, earlier: bool) -> str:
        """Return a sentence for a card; ``earlier``: the source holds posts that a method made."""
        spread = f"{self.least:g}"
        if self.least < self.most:
            spread += f" to {self.most:g}, {self.mean:.3g} on average"
        kept = " (those that a method made earlier keep theirs)" if earlier else ""
        return (
            "The column weight says how much a post counts in training (backbones read it with weight=weight): gold "
            f"posts have 1{kept}, made posts {spread} ({self.meaning})."
        )


@dataclass(frozen=True)
class ConfigFacts:
    """Everything the card says of a config, from its run; augmentation.json holds the same."""

    recipe: Recipe
    source: SourceFacts
    splits: Mapping[str, SplitFacts]
    funnel: Funnel
    entities: Mapping[str, tuple[int, int]]
    examples: Sequence[str]
    content_fingerprint: str
    models: Sequence[Model] = ()
    cautions: Sequence[str] = ()
    retrieved: Literal["", "whole", "ids-only"] = ""  # how retrieved posts are published; "" if there are none
    licences: Mapping[str, int] = field(default_factory=dict)  # made posts by the licence of the retrieved post
    masked: Mapping[str, int] = field(default_factory=dict)  # masked words of retrieved posts, by kind
    inherited: Mapping[str, int] = field(default_factory=dict)  # the source's retrieved posts, by licence
    earlier: Mapping[str, int] = field(default_factory=dict)  # the source's made posts, by method: they count as gold
    pictures: Mapping[str, int] = field(default_factory=dict)  # gold posts with pictures, and made posts that show them
    columns: Mapping[str, list[str]] = field(default_factory=dict)  # other columns of the source, by treatment
    outside: Outside | None = None  # of a method outside this package, whose class is not imported to write a card
    review: Review | None = None
    weights: Weights | None = None
    listed: Mapping[str, int] = field(default_factory=dict)  # names of a user's list in made posts

    @property
    def told_weights(self) -> str:
        """A sentence on the weights; empty without any."""
        return self.weights.told(earlier=any(self.earlier.values())) if self.weights else ""

    @property
    def method_facts(self) -> Facts:
        """The facts of the method's class."""
        return self.outside.facts if self.outside else method_class(self.recipe.method).facts

    @property
    def replaces(self) -> bool:
        """Whether made posts stand in the places of gold posts."""
        return self.outside.replaces if self.outside else method_class(self.recipe.method).mode == "replace"

    @property
    def license(self) -> str:
        """The strictest licence of the source, the models and the published retrieved posts; if several, ``other``."""
        found = {self.source.license, *(model.license for model in self.models if model.license not in PERMISSIVE)}
        held = {*self.inherited, *(self.licences if self.retrieved == "whole" else ())}
        found |= {"other" if name == UNKNOWN else name.lower() for name in held}
        return found.pop() if len(found) == 1 else "other"

    @classmethod
    def from_note(cls, note: Mapping[str, Any], where: str = "augmentation.json") -> "ConfigFacts":
        """Return the facts of an augmentation.json.

        Raises:
            Corrupt: a value has another type than its field.
        """
        facts: ConfigFacts = checked(
            {name: note[name] for name in fields_of(cls) if name in note},
            cls,
            where,
            error=Corrupt,
            advice=AS_PUBLISHED,
        )
        return facts


class Note(TypedDict):
    """The fields of an augmentation.json that ``ConfigFacts`` does not have."""

    recipe: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    recipe_fingerprint: str
    digests: "Digests"
    artifact: NotRequired[str | None]
    libraries: NotRequired[Mapping[str, str]]
    withdrawn: NotRequired[int]
    hydrated_from: NotRequired[str]


class Digests(TypedDict):
    """Digests that locate differences, by split: one for each column, and in base64 the first bytes of each row's."""

    columns: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, str]


def mark_entities(post: Post) -> str:
    """Return a post's text with its entities marked: ``[Kevin Durant](PER) on Twitter``."""
    words = list(post.tokens)
    for entity in post.entities:
        kind = entity.type if entity.fine is None else f"{entity.type}/{entity.fine}"
        words[entity.start] = "[" + words[entity.start]
        words[entity.end - 1] += f"]({kind})"
    return " ".join(words)


def put_section(repo: str | Path, verb: str, name: str, section: str, *, after: str | None = None) -> None:
    """Put a section into the card of a repo folder, as ``with_section`` does, while holding the folder's lock.

    Raises:
        UsageError: there is no card.
        DataError: the card has YAML that does not parse.
        TimeoutError: another process did not let go of the folder.
    """
    path = Path(repo) / "README.md"
    if not path.is_file():
        raise UsageError(f"there is no card {path}: a table can only be written to the card of a local repo folder")
    with lock(repo, verb):
        card = load_card(path)
        card.text = with_section(card.text, name, section, after=after)
        write_atomically(path, str(card).encode())


def render(existing: str | None, facts: ConfigFacts, features: "Features", repo: str) -> str:
    """Return the card's text with a config's YAML and section added or replaced; the rest is kept.

    ``repo`` is the folder or Hub id for ``load_dataset``.

    Raises:
        DataError: the existing card's YAML block is not valid.
    """
    import yaml
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    config, source = facts.recipe.config, facts.source
    if existing is None:
        title = for_terminal(repo.rstrip("/").rpartition("/")[2])
        body = template("repo.md").render(title=title, source=source.name)
        card = DatasetCard(f"---\n{yaml.safe_dump({'pretty_name': title}, allow_unicode=True)}---\n{body}")
    else:
        card = _parse(existing)

    data = card.data
    data["language"] = _union(data.get("language"), source.language) or None
    data["license"] = facts.license if data.get("license") in (None, facts.license) else "other"
    data["annotations_creators"] = _union(data.get("annotations_creators"), ["machine-generated"])
    data["source_datasets"] = _union(data.get("source_datasets"), ["extended|other"] if source.local else [source.name])
    data["task_categories"] = _union(data.get("task_categories"), ["token-classification"])
    data["tags"] = _union(data.get("tags"), [*TAGS, facts.recipe.method])
    if not all(model.checked for model in facts.models):
        data["tags"] = _union(data["tags"], [UNCHECKED])
    infos = {config: _info(features, {split: rows for split, rows in facts.splits.items() if split != STUBS})}
    tables = {config: [{"split": split, "path": f"{config}/{split}-*"} for split in infos[config].splits or ()]}
    if STUBS in facts.splits:
        infos[stub_config(config)] = _info(stub_features(features), {"train": facts.splits[STUBS]})
        tables[stub_config(config)] = [{"split": "train", "path": f"{config}/{STUBS}-*"}]
    elif existing is not None:
        _forget(data, stub_config(config), f"{config}/{STUBS}-*")
    configs = MetadataConfigs.from_dataset_card_data(data)
    others = {name: entry for name, entry in configs.items() if name != config}
    has_default = "default" in others or any(entry.get("default") for entry in others.values())
    configs.update({name: {"data_files": files} for name, files in tables.items()})
    if not has_default:
        configs[config]["default"] = True
    configs.to_dataset_card_data(data)
    DatasetInfosDict(infos).to_dataset_card_data(data)
    data["size_categories"] = [size_category(_most_rows(data["dataset_info"]))]
    card.text = with_section(card.text, f"config {config}", _section(facts, repo))
    return str(card)


def _parse(text: str) -> "DatasetCard":
    """Return the card of a repo folder.

    Raises:
        DataError: its YAML block is not valid.
    """
    return copy.deepcopy(_parsed(text))


@functools.lru_cache(maxsize=4)
def _parsed(text: str) -> "DatasetCard":
    """Return a card, cached by its text, since its YAML is slow to parse; callers change a copy."""
    from huggingface_hub import DatasetCard

    check_card(text, "the existing README.md")
    return DatasetCard(text, ignore_metadata_errors=True)


def without_sizes(card: str, config: str, *, same_splits: bool = False) -> str:
    """Return a card that states no sizes and columns of a config, so that the old and the new files load with it.

    It is used while the config's folder is replaced. It states no splits either, unless old and new ones are the same.
    """
    loose = _parse(card)
    for info in _infos(loose.data):
        if info.get("config_name") in (config, stub_config(config)):
            for name in info.keys() - {"config_name"}:
                del info[name]
    for entry in loose.data.get("configs") or ():  # render has read these
        if entry.get("config_name") == config and not same_splits:
            entry.pop("data_files", None)
            entry["data_dir"] = config
    return str(loose)


def described(card: str) -> dict[str, Any]:
    """Return the columns and sizes of configs that a card's YAML declares; raises as ``render``."""
    infos = _infos(_parse(card).data)
    return {str(info.get("config_name")): info for info in infos if "features" in info}


def split_names(info: Mapping[str, Any]) -> list[Any]:
    """Return the names of the splits that an entry of ``dataset_info`` has."""
    splits = info.get("splits")
    return [split.get("name") for split in splits if isinstance(split, dict)] if isinstance(splits, list) else []


def _infos(data: "CardData") -> list[dict[str, Any]]:
    """Return the entries of ``dataset_info``, which may be one or a list."""
    infos = data.get("dataset_info") or []
    return [info for info in (infos if isinstance(infos, list) else [infos]) if isinstance(info, dict)]


def _info(features: "Features", splits: Mapping[str, SplitFacts]) -> "DatasetInfo":
    """Return the YAML entry of a config's columns and sizes."""
    from datasets import DatasetInfo, SplitDict, SplitInfo

    infos = SplitDict()
    for split, rows in splits.items():
        infos.add(SplitInfo(split, num_bytes=rows.num_bytes, num_examples=rows.gold + rows.made))
    size = sum(rows.num_bytes for rows in splits.values())
    return DatasetInfo(features=features, splits=infos, download_size=size, dataset_size=size)


def _forget(data: "CardData", config: str, path: str) -> None:
    """Remove a config from the YAML if it has these files."""
    entries = [entry for entry in data.get("configs") or () if entry.get("config_name") == config]
    if not any(files.get("path") == path for entry in entries for files in entry.get("data_files") or ()):
        return
    for name in ("configs", "dataset_info"):
        found = data.get(name)
        if isinstance(found, list):
            data[name] = [entry for entry in found if entry.get("config_name") != config]


def _section(facts: ConfigFacts, repo: str) -> str:
    """Return a config's section of the body."""
    recipe, source = facts.recipe, facts.source
    if recipe.ids_train is not None:
        subset = f"{len(recipe.ids_train)} of train by id, listed in augmentation.json"
    elif recipe.fraction < 1:
        subset = f"{100 * recipe.fraction:g}% of train and validation, subset seed {recipe.subset_seed}"
    else:
        subset = "all"
    return template("config.md").render(
        config=recipe.config,
        repo=repo,
        method=recipe.method,
        about=facts.method_facts,
        facts=facts,
        shown=shown_pictures(facts.pictures),
        listed=listed_names(facts.listed),
        recipe=recipe,
        subset=subset,
        asked=asked_for(facts.funnel, recipe.copies),
        outcomes=outcomes(facts.funnel, recipe.copies),
        source=source.name,
        local=source.local,
        license=facts.license,
        stub_config=stub_config(recipe.config) if STUBS in facts.splits else "",
        recipe_fingerprint=recipe.fingerprint,
    )


def shown_pictures(counts: Mapping[str, int]) -> str:
    """Return a sentence on the train pictures that made posts show; empty if they show none."""
    if not counts.get("made"):
        return ""
    return (
        f"{counts['made']} made posts show {counts['sources']} different train pictures, the most frequent of them in "
        f"{counts['most']} posts."
    )


def listed_names(counts: Mapping[str, int]) -> str:
    """Return sentences on the names of a user's list in made posts; empty if there are none."""
    if not counts.get("posts"):
        return ""
    told = (
        f"{counts['mentions']} mentions in {counts['posts']} made posts are names from a list that the user gave "
        f"({counts['names']} different ones)."
    )
    if "held_out" not in counts:
        return told
    if not counts["held_out"]:
        return f"{told} None of them is a mention of validation or test that train lacks."
    return (
        f"{told} {counts['held_out']} of them are mentions of validation or test that train lacks "
        f"({counts['held_out_mentions']} times in made posts), as the list has them: figures on these splits profit."
    )


def with_section(body: str, name: str, section: str, *, after: str | None = None) -> str:
    """Return a card's body with the section of that name replaced, or added behind another one or else at the end.

    Comments are removed from the section, so its text cannot end it, begin another one or hide what follows.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    whole = f"{begin}\n{without_comments(section.strip())}\n{end}"
    parts, done = [], 0
    while (start := body.find(begin, done)) >= 0 and (stop := body.find(end, start + len(begin))) >= 0:
        parts += [body[done:start], whole]
        done = stop + len(end)
    if parts:
        return "".join([*parts, body[done:]])
    before, found, rest = body.partition(f"<!-- end of {after} -->")
    if after is not None and found:
        return f"{before}{found}\n\n{whole}{rest}"
    return f"{body.rstrip()}\n\n{whole}\n"


def read_sections(body: str, kind: str) -> dict[str, str]:
    """Return the sections of a card's body of one kind (the first word of the name), by name; marks start a line."""
    lines = body.split("\n")
    ends: dict[str, list[int]] = {}  # the lines that end a section, by its name, the last line first
    for number in reversed(range(len(lines))):
        if lines[number].startswith("<!-- end of "):
            name = lines[number].removeprefix("<!-- end of ").partition(" -->")[0]
            ends.setdefault(name, []).append(number)
    found = {}
    number = 0
    while number < len(lines):
        line, number = lines[number], number + 1
        if not (line.startswith(f"<!-- {kind} ") and line.endswith(" -->")):
            continue
        name = line.removeprefix("<!-- ").removesuffix(" -->")
        ahead = ends.get(name, [])
        while ahead and ahead[-1] <= number:
            ahead.pop()
        if ahead:
            found[name] = "\n".join(lines[number : ahead[-1]])
            number = ahead[-1] + 1
    return found


def has_sections(body: str) -> bool:
    """Return whether a card holds a section that this package wrote."""
    return any(read_sections(body, kind) for kind in ("config", "quality", "study"))


def template(name: str) -> Any:
    """Return a Jinja template of ``cards/``: a folder of the package in the wheel, beside the package in a checkout."""
    import jinja2

    here = Path(__file__).parents[1]
    loader = jinja2.FileSystemLoader([str(here / "card_templates"), str(here.parent / "cards")])
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, finalize=_in_card, keep_trailing_newline=True
    )
    for made in (code_span, fenced):
        environment.filters[made.__name__] = _as_markdown(made)
    environment.filters["python"] = _as_markdown(lambda value: without_comments(json.dumps(value, ensure_ascii=False)))
    environment.filters["shell"] = _as_markdown(lambda value: without_comments(shlex.quote(for_terminal(value))))
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False, default=str)
    return environment.get_template(name)


def _in_card(value: Any) -> Any:
    """Return a value as Markdown, unless a filter has made it Markdown already."""
    return value if hasattr(value, "__html__") else for_markdown(value)


def _as_markdown(made: Callable[[Any], str]) -> Callable[[Any], Any]:
    """Return a filter whose result, Markdown, is not escaped again."""
    import markupsafe

    return lambda value: markupsafe.Markup(made(value))


def _union(existing: Any, more: Iterable[str]) -> list[str]:
    """Return the values of a YAML field that may be one or a list, and more, once each."""
    first = [existing] if isinstance(existing, str) else list(existing or [])
    return list(dict.fromkeys([*first, *more]))


def size_category(rows: int) -> str:
    """Return the Hub's size category for a number of rows."""
    return next((name for limit, name in _SIZES if rows < limit), "n>1M")


def _most_rows(dataset_info: Any) -> int:
    """Return the rows of the largest config."""
    infos = dataset_info if isinstance(dataset_info, list) else [dataset_info]
    return max(sum(split.get("num_examples") or 0 for split in info.get("splits") or ()) for info in infos)
