"""Names of a user's list in published posts: how many, and those that validation or test have and train lacks."""

import json

import pytest
from conftest import as_dataset, parse
from datasets import DatasetDict, load_dataset

from hf_mner_aug import GMDA, LSMS, augment, publish, verify
from hf_mner_aug.publishing.cards import listed_names
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import Post, mner_features

TRAIN = [
    "[PER Ann] visits [LOC Rome] again today",
    "we saw [PER Ann] at the old station",
    "[PER Bob] went to [LOC Paris] for work",
    "people from [LOC Rome] like the sea",
]


def dataset(texts, name):
    return as_dataset([Post(f"{name}{i}", *parse(text)) for i, text in enumerate(texts)], mner_features())


@pytest.fixture(scope="module")
def gold():
    return DatasetDict(
        train=dataset(TRAIN, "g"),
        validation=dataset(["the sun of [PER Eve Moon] today with [PER Ann]"], "v"),
        test=dataset(["[LOC #Berlin] and [LOC Paris] by night"], "t"),
    )


def published(gold, tmp_path, lines, method=LSMS, **params):
    path = tmp_path / "secret-place.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    options = {"mentions": str(path), **params}
    out = tmp_path / "aug"
    publish(augment(gold, method(**options), out=out, progress=False), out)
    (config,) = [place.name for place in out.iterdir() if place.is_dir() and (place / "augmentation.json").exists()]
    return out, config, read_note(out / config), (out / "README.md").read_text(encoding="utf-8")


def listed_in(gold_rows):
    return [name for note in gold_rows for name in json.loads(note).get("details", {}).get("listed", ())]


def test_names_of_held_out_posts_that_the_list_has_are_counted_and_told(gold, tmp_path):
    from datasets import load_dataset

    lines = ["PER\tEve Moon", "PER\tZed", "LOC\tBerlin", "LOC\tParis"]
    out, config, note, card = published(gold, tmp_path, lines, operations=("mention",), ratio=1.0, copies=6)
    names = listed_in(load_dataset(str(out), config)["train"]["provenance"])
    counted = note["listed"]
    assert counted["mentions"] == len(names)
    assert counted["names"] == len(set(names)) == 4
    assert counted["held_out"] == 2, "Eve Moon and Berlin; train has Paris"
    assert counted["held_out_mentions"] == sum(name in ("Eve Moon", "Berlin") for name in names)
    assert "2 of them are mentions of validation or test that train lacks (" in " ".join(card.split())
    assert "figures on these splits profit" in card
    for told in (card, json.dumps(note), (out / config / "croissant.json").read_text()):
        assert "secret-place" not in told
    assert note["recipe"]["params"]["mentions"][7:19] in card
    assert "the list's licence is not known here" in card
    assert verify(out, config, source=gold, rerun=True).ok


def test_a_list_without_held_out_names_says_so(gold, tmp_path):
    *_, note, card = published(gold, tmp_path, ["PER\tZed", "LOC\tOslo"], method=GMDA, image=False, detector=None)
    assert note["listed"]["held_out"] == 0
    assert note["listed"]["mentions"] > 0
    assert "None of them is a mention of validation or test that train lacks" in card


def test_no_list_and_no_held_out_split_are_not_told(gold, tmp_path):
    out = tmp_path / "plain"
    publish(augment(gold, LSMS(), out=out, progress=False), out)
    assert "list that the user gave" not in (out / "README.md").read_text()
    train = DatasetDict(train=gold["train"])
    *_, note, card = published(train, tmp_path, ["PER\tZed", "LOC\tOslo"], operations=("mention",))
    assert note["listed"].keys() == {"posts", "mentions", "names"}
    assert "validation or test that train" not in card
    assert listed_names({}) == ""


def test_a_withdrawn_post_takes_its_rows_and_the_config_stays_whole(gold, tmp_path):
    lines = ["PER\tZed", "LOC\tOslo"]
    out, config, *_ = published(gold, tmp_path, lines, operations=("mention",), copies=3)
    before = read_note(out / config)["listed"]
    withdraw_posts(out, ["g0"])
    assert verify(out, config).ok
    names = listed_in(load_dataset(str(out), config)["train"]["provenance"])
    after = read_note(out / config)["listed"]
    assert 0 < after["mentions"] == len(names) < before["mentions"]
    assert after["names"] == len(set(names))
    assert f"{len(names)} mentions in {after['posts']} made posts" in (out / "README.md").read_text()


def test_names_that_a_withdrawn_post_had_in_train_are_held_out_then(gold, tmp_path):
    out, config, *_ = published(gold, tmp_path, ["PER\tAnn"], operations=("mention",), copies=12)
    assert read_note(out / config)["listed"]["held_out"] == 0, "train has Ann, as validation has"
    withdraw_posts(out, ["g0", "g1"])
    assert read_note(out / config)["listed"]["held_out"] == 1
