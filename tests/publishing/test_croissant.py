"""croissant.json says of a config what augmentation.json does, and goes where the config goes."""

import json
from dataclasses import replace

import pytest

from hf_mner_aug import EDA, augment, publish
from hf_mner_aug.publishing import croissant
from hf_mner_aug.publishing.cards import ConfigFacts
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.selection import choose
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.publishing.withdraw import withdraw_posts


@pytest.fixture
def folder(splits, tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        run = augment(splits, EDA(copies=1, seed=seed), out=tmp_path / "aug", progress=False, config=name)
        publish(run, tmp_path / "aug")
    return tmp_path / "aug"


def read(folder, config="one"):
    return json.loads((folder / config / croissant.NAME).read_text())


def test_it_says_what_the_note_says(folder):
    note, found = read_note(folder / "one"), read(folder)
    assert found["name"] == "one"
    assert (found["license"], found["identifier"]) == ("other", note["content_fingerprint"])
    gold, made = (sum(rows[kind] for rows in note["splits"].values()) for kind in ("gold", "made"))
    assert made
    assert found["description"].startswith(f"{gold} gold posts of a dataset in memory and {made} made posts: eda ")
    rejected = "; ".join(f"rejected: {name} {n}" for name, n in note["funnel"]["rejected"].items())
    assert found["rai:dataCollectionMissingData"].startswith(rejected)
    assert "alpha=0.1" in found["rai:dataPreprocessingProtocol"]
    generated = found["prov:wasGeneratedBy"]
    assert generated["identifier"] == note["recipe_fingerprint"]
    assert generated["prov:used"][0] == found["prov:wasDerivedFrom"]
    assert found["prov:wasDerivedFrom"]["identifier"] == note["recipe"]["source_fingerprint"]
    assert "@id" not in found["prov:wasDerivedFrom"], "a dataset in memory has no address"


def test_a_source_and_models_of_the_hub_are_named(folder):
    facts = ConfigFacts.from_note(read_note(folder / "one"))
    source = replace(facts.source, name="org/set", local=False, language=["en"])
    found = croissant.describe(replace(facts, source=source, retrieved="whole"))
    assert found["prov:wasDerivedFrom"]["@id"] == "https://huggingface.co/datasets/org/set"
    assert found["inLanguage"] == ["en"]
    assert found["rai:dataCollectionType"] == ["Secondary Data Analysis", "Web Scraping"]


def test_it_is_sent_withdrawn_and_made_again_with_its_config(folder, splits):
    assert {"one/croissant.json", "two/croissant.json"} <= choose(folder).files.keys()
    before = read(folder)
    lost = splits["train"]["id"][0]
    assert withdraw_posts(folder, [lost])["one"]
    after = read(folder)
    assert after["identifier"] == read_note(folder / "one")["content_fingerprint"] != before["identifier"]
    assert "dropped: withdrawn 1" in after["rai:dataCollectionMissingData"]
    publish(augment(splits, EDA(copies=1), out=folder, progress=False, config="one"), folder, overwrite=True)
    assert read(folder) == before


def test_a_folder_of_before_is_read_and_sent_without_it(folder):
    for config in ("one", "two"):
        (folder / config / croissant.NAME).unlink()
    assert verify_folder(folder, "one").ok
    chosen = choose(folder)
    assert [*chosen.notes] == ["one", "two"]
    assert not chosen.left_out
    assert not any(path.endswith(croissant.NAME) for path in chosen.files)


def test_mlcroissant_takes_it(folder):
    mlcroissant = pytest.importorskip("mlcroissant", reason="not a dependency")
    metadata = mlcroissant.Dataset(jsonld=str(folder / "one" / croissant.NAME)).metadata
    assert not metadata.issues.errors
    assert metadata.name == "one"
