"""The name, languages and licence that a source's own card declares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_mner_aug.sources.places import local_name, split_source
from hf_mner_aug.untrusted.cards import Structure, load_card


@dataclass(frozen=True)
class SourceFacts:
    """The declarations of a source's card."""

    name: str
    language: Sequence[str] = ()
    license: str = "other"
    local: bool = True


def read_source(name: str) -> SourceFacts:
    """Return the declarations of a folder's or Hub dataset's card; without a card, those of an empty one."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    if not name or name.startswith("local:"):
        return SourceFacts(name.removeprefix("local:") or "a dataset in memory")
    local = bool(local_name(name))
    place, title = split_source(name)[0], local_name(name) or name
    path: str | Path = Path(place) / "README.md" if local else place
    if local and not Path(path).is_file():
        return SourceFacts(title)
    try:
        data = load_card(path, Structure).data
    except (EntryNotFoundError, HfHubHTTPError):
        return SourceFacts(title, local=local)
    language, licence, named = data.get("language"), data.get("license") or "other", data.get("pretty_name")
    languages = language if isinstance(language, list) else [language]
    return SourceFacts(
        str(named) if isinstance(named, str | int | float) and named else title,
        [name for name in languages if isinstance(name, str)],
        licence if isinstance(licence, str) and licence != "unknown" else "other",
        local,
    )
