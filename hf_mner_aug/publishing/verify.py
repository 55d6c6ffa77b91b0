"""Checks that a config matches its augmentation.json, and that its recipe makes it again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.publishing.folder import fingerprint_of, read_note, run_and_publish, split_files
from hf_mner_aug.runs.recipe import Recipe, computed_on
from hf_mner_aug.runs.subset import source_posts
from hf_mner_aug.storage.fingerprint import Fingerprint
from hf_mner_aug.untrusted.names import STUBS


@dataclass(frozen=True)
class Verification:
    """The result of a verification; ``difference`` names the first row that does not match."""

    config: str
    expected: str
    found: str
    rerun: str | None = None
    difference: str = ""

    @property
    def ok(self) -> bool:
        """True if every computed fingerprint is the expected one."""
        return self.found == self.expected and self.rerun in (None, self.expected)


def verify_folder(folder: str | Path, config: str, *, rerun: bool = False, source: Any = None) -> Verification:
    """Recompute a config's content fingerprint, and with ``rerun`` make the config again and compare.

    Args:
        folder: the repo folder.
        config: the config's name.
        rerun: make it again in a temporary folder, from ``source`` or the Hub id it was made from; answers from the
            web are taken from the record, and no request is sent; pictures are drawn anew.
        source: the folder or Hub id of the source, or its splits; its content is checked.

    Raises:
        UsageError: there is no such config, a rerun needs ``source``, or people reviewed the config that is to be made
            again.
        Corrupt: a file does not parse or is truncated.
        DataError: the source has another content than the one the config was made from.
    """
    import tempfile

    place = Path(folder) / config
    note = read_note(place)
    found = fingerprint_of(place, note["splits"])
    digests = note["digests"]
    expected = Fingerprint(note["content_fingerprint"], digests["columns"], digests["rows"])
    if rerun and (review := note.get("review")):
        raise UsageError(
            f"{config} was reviewed by people, which no rerun repeats: verify it without --rerun, and with --rerun the "
            f"config that was reviewed, {review['of']}"
        )
    difference = "" if found.total == expected.total else _spell_difference(place, expected, found)
    again = None
    if rerun:
        from hf_mner_aug.models.image.kept import drawing_anew
        from hf_mner_aug.models.search.fetching import replaying

        recipe = Recipe.from_dict(note["recipe"])
        recipe, gold = source_posts(recipe, source)
        with tempfile.TemporaryDirectory() as temporary, replaying(), drawing_anew():
            run_and_publish(recipe, gold, Path(temporary) / "again", retrieved=note.get("retrieved") or "whole")
            made = fingerprint_of(Path(temporary) / "again" / config, note["splits"])
            again = made.total
            if again != expected.total:
                difference = "rerun: " + _spell_difference(Path(temporary) / "again" / config, expected, made)
                made_on, here = (recipe.device, recipe.dtype), computed_on(recipe.build())
                if made_on != here:
                    difference += f"; made on {' in '.join(made_on)}, here on {' in '.join(here)}"
    return Verification(config, expected.total, found.total, again, difference)


def _spell_difference(folder: Path, expected: Fingerprint, found: Fingerprint) -> str:
    """Return where the rows of a folder differ from the expected ones, as text."""
    import pyarrow.dataset as pads

    difference = expected.difference(found)
    if difference is None:
        return "the features differ"
    split, row, columns = difference
    if row is None:
        return f"{split}: the columns {', '.join(columns)} are not the same"
    stubs = sorted(folder.glob(f"{STUBS}-*.parquet")) if split == "train" else []
    rows = pads.dataset([*split_files(folder, [split])[split], *stubs]).to_table(columns=["id"]).column("id")
    name = rows[row].as_py() if row < len(rows) else "absent"
    return f"{split}, row {row} (post {name}) is the first that differs; columns that differ: {', '.join(columns)}"
