"""What the card of a source declares: its name, languages and licence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_mner_aug.runs.recipe import local_name, split_source
from hf_mner_aug.untrusted.cards import Structure, load_card


@dataclass(frozen=True)
class SourceFacts:
    """What the source's own card declares."""

    name: str
    language: Sequence[str] = ()
    license: str = "other"
    local: bool = True


def read_source(name: str) -> SourceFacts:
    """Return what the card of a folder or Hub dataset declares; an absent card declares nothing."""
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
