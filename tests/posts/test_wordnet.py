import pytest

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.posts.lexicon import wordnet_synonyms
from hf_mner_aug.posts.wordnet import PARTS_OF_SPEECH, wordnet_lemmas
from hf_mner_aug.schema import Entity, Post

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
# As in wndb(5WN): the number of words is hexadecimal, an adjective may have the mark of its position.
SYNSETS = {
    "noun": ["03 n 02 dog 0 domestic_dog 0 001 @ 00000001 n 0000 | a member of Canis", "03 n 01 cad 0 000 | a rake"],
    "verb": ["30 v 02 chase 0 dog 2 000 01 + 08 00 | go after"],
    "adj": ["00 a 0b " + " ".join(f"Word{i} 0" for i in range(9)) + " galore(ip) 0 Aplenty 0 000 | many"],
    "adv": [],
}


def write(folder):
    folder.mkdir(exist_ok=True)
    for part in PARTS_OF_SPEECH:
        data, index = LICENCE, {}
        for synset in SYNSETS[part]:
            offset = len(data.encode())
            fields = synset.split(" ")
            for word in fields[3 : 3 + 2 * int(fields[2], 16) : 2]:
                index.setdefault(word.partition("(")[0].lower(), []).append(offset)
            data += f"{offset:08} {synset}  \n"
        (folder / f"data.{part}").write_text(data)
        lines = [
            f"{word} {part[0]} {len(places)} 1 @ {len(places)} 0 {' '.join(f'{place:08}' for place in places)}  \n"
            for word, places in sorted(index.items())
        ]
        (folder / f"index.{part}").write_text(LICENCE + "".join(lines))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "wordnet")


def test_the_words_of_all_synsets_are_found(folder):
    found = wordnet_lemmas(folder, {"dog", "galore", "dogs", "this"})
    assert found["dog"] == {"dog", "domestic_dog", "chase"}
    assert found["galore"] == {"galore", "aplenty", *(f"word{i}" for i in range(9))}
    assert found.keys() == {"dog", "galore"}  # no base forms, and no word of the licence


def test_synonyms_of_the_words_of_posts(folder):
    posts = [Post("a", ["Dog", "food", "galore"]), Post("b", ["cad"], (Entity(0, 1, "PER"),))]
    found = wordnet_synonyms(posts, str(folder))
    assert found["dog"] == ["chase"]
    assert "aplenty" in found["galore"]
    assert found.keys() == {"dog", "galore"}


def test_files_that_do_not_fit_are_one_line(folder, tmp_path):
    with pytest.raises(UsageError, match=r"data\.noun cannot be read \(No such file.*expected the folder of WordNet"):
        wordnet_lemmas(tmp_path, {"dog"})
    (folder / "index.verb").write_text("dog v 3\n")
    with pytest.raises(DataError, match=r"index\.verb line 1: expected an entry of WordNet's index, found dog"):
        wordnet_lemmas(folder, {"dog"})
    write(folder)
    (folder / "data.noun").write_text("\n" + (folder / "data.noun").read_text())
    with pytest.raises(DataError, match=r"data\.noun: expected a synset at byte \d+: are index and data of one"):
        wordnet_lemmas(folder, {"dog"})
    write(folder)
    (folder / "index.adv").unlink()
    with pytest.raises(UsageError, match=r"index\.adv cannot be read"):
        wordnet_lemmas(folder, {"dog"})
