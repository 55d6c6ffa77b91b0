"""WordNet's synonyms from its own files, ``index.POS`` and ``data.POS`` as wndb(5WN) describes them, without nltk.

A word is looked up as it is written, not by its base form: a synonym of "dog" does not fit where "dogs" stands.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from hf_mner_aug.exceptions import DataError, UsageError

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")


def wordnet_lemmas(folder: str | Path, words: Collection[str]) -> dict[str, set[str]]:
    """Return the words of all synsets of each lower-case word, itself among them; unknown words have no entry.

    Several words are joined by ``_``, as in the files.

    Raises:
        UsageError: the folder does not have WordNet's files.
        DataError: one of them is damaged.
    """
    found: dict[str, set[str]] = {}
    for part in PARTS_OF_SPEECH:
        data = Path(folder) / f"data.{part}"
        try:
            with data.open("rb") as file:
                for word, offsets in _indexed(Path(folder) / f"index.{part}", words):
                    for offset in offsets:
                        file.seek(offset)
                        found.setdefault(word, set()).update(_synset(file.readline(), offset, data))
        except OSError as error:
            raise UsageError(
                f"{error.filename or data} cannot be read ({error.strerror}): expected the folder of WordNet's files, "
                "index.noun, data.noun and so on"
            ) from error
    return found


def _indexed(path: Path, words: Collection[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the words that an index has, and the offsets of their synsets in bytes."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            word, _, rest = line.partition(" ")
            if not word or word not in words:  # the lines of the licence begin with spaces
                continue
            fields = rest.split()
            try:
                offsets = [int(offset) for offset in fields[2:][-int(fields[1]) :]]
                if len(offsets) != int(fields[1]):
                    raise ValueError
            except (IndexError, ValueError) as error:
                raise DataError(f"{path} line {number}: expected an entry of WordNet's index, found {word}") from error
            yield word, offsets


def _synset(line: bytes, offset: int, path: Path) -> list[str]:
    """Return the words of a synset, in lower case and without the mark of a position, as in ``galore(ip)``."""
    fields = line.decode("utf-8", "replace").split(" ")
    try:
        if int(fields[0]) != offset:
            raise ValueError
        n_words = int(fields[3], 16)
        return [fields[4 + 2 * i].partition("(")[0].lower() for i in range(n_words)]
    except (IndexError, ValueError) as error:
        raise DataError(f"{path}: expected a synset at byte {offset}: are index and data of one version?") from error
