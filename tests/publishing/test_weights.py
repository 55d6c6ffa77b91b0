"""The weights of made posts in configs: their column, the card, and what is done with configs afterwards."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import as_dataset, parse
from datasets import DatasetDict, load_dataset

from hf_mner_aug import EDA, GMDA, LSMS, RMDA, MemoryHard, augment, publish
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.hydration import hydrate
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import Post, mner_features
from hf_mner_aug.studies.study import Study
from hf_mner_aug.transform.weights import weigh

TRAIN = [
    "[PER Ann] visits [LOC Rome] again today",
    "we saw [PER Ann] at the old station",
    "[PER Bob] went to [LOC Paris] for work",
    "people from [LOC Rome] like the sea",
    "[PER Bob] met [PER Ann] at a cafe",
    "nobody knew what to do there",
]
FOUND = ["Ann and Bob went from Paris to Rome", "so we like Rome very much", "Ann went away for a while"]
UNFILTERED = {"filter": False, "image": False, "copies": 2}


def dataset(texts, name):
    return as_dataset([Post(f"{name}{i}", *parse(text)) for i, text in enumerate(texts)], mner_features())


@pytest.fixture(scope="module")
def gold():
    held = dataset(["the [LOC Berlin] sun of [PER Eve] today"], "v")
    return DatasetDict(train=dataset(TRAIN, "g"), validation=held, test=held)


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "found.txt").write_text("".join(f"{text}\n" for text in FOUND))
    index(str(tmp_path / "found.txt"), tmp_path / "found.db")
    return str(tmp_path / "found.db")


def published(method, gold, out, **how):
    """Publish a method's config, and return its name and its augmentation.json."""
    done = publish(augment(gold, method, out=out, progress=False), out, **how)
    return done.config, read_note(Path(out) / done.config)


def weights_of(out, config, split="train"):
    rows = load_dataset("parquet", data_files=f"{out}/{config}/{split}-*.parquet", split="train")
    return {row["id"]: (row["method"], round(row["weight"], 6)) for row in rows}


def test_gold_posts_have_weight_1_and_the_card_says_what_the_others_have(gold, tmp_path):
    config, note = published(LSMS(weight=0.5), gold, tmp_path / "out")
    found = weights_of(tmp_path / "out", config)
    assert set(found.values()) == {("gold", 1.0), ("lsms", 0.5)}
    assert set(weights_of(tmp_path / "out", config, "test").values()) == {("gold", 1.0)}
    told = "gold posts have 1, made posts 0.5 (weight=0.5)."
    assert told in (tmp_path / "out" / "README.md").read_text()
    assert told in (tmp_path / "out" / config / "croissant.json").read_text()
    assert note["weights"] == {"meaning": "weight=0.5", "mean": 0.5, "least": 0.5, "most": 0.5}
    assert note["recipe"]["params"]["weight"] == 0.5
    assert verify_folder(tmp_path / "out", config, rerun=True, source=gold).ok


def test_a_config_without_weights_says_nothing_of_them(gold, tmp_path):
    config, note = published(LSMS(), gold, tmp_path / "out")
    assert note["weights"] is None
    assert "weight" not in note["recipe"]["params"]
    assert "column weight" not in (tmp_path / "out" / "README.md").read_text()
    assert verify_folder(tmp_path / "out", config, rerun=True, source=gold).ok


def test_a_chain_keeps_and_multiplies_the_weights_of_its_source(gold, tmp_path):
    first, _ = published(LSMS(weight=0.5), gold, tmp_path / "one")
    chained = DatasetDict(
        {
            split: load_dataset("parquet", data_files=f"{tmp_path}/one/{first}/{split}-*.parquet", split="train")
            for split in gold
        }
    )
    for method, own in ((EDA(weight=0.5), 0.5), (EDA(), 1.0)):
        config, note = published(method, chained, tmp_path / f"two{own}")
        found = weights_of(tmp_path / f"two{own}", config)
        before = weights_of(tmp_path / "one", first)
        assert {name: value for name, value in found.items() if name in before} == before
        made = {name: weight for name, (method, weight) in found.items() if method == "eda"}
        assert made
        assert all(weight == own * before[name.rpartition("+")[0]][1] for name, weight in made.items())
        assert note["weights"]["meaning"].endswith("the weight of the post it is made from")
        told = "gold posts have 1 (those that a method made earlier keep theirs), made posts"
        assert told in (tmp_path / f"two{own}" / "README.md").read_text()
        assert (note["weights"]["least"], note["weights"]["most"]) == (0.5 * own, own)


def test_nulls_of_a_chains_gold_posts_become_1(gold, tmp_path):
    first, _ = published(LSMS(weight=0.5), gold, tmp_path / "one")
    rows = load_dataset("parquet", data_files=f"{tmp_path}/one/{first}/train-*.parquet", split="train")
    holed = rows.map(lambda row: {"weight": None if row["method"] == "gold" else 0.5}, features=rows.features)
    config, _ = published(EDA(weight=1), DatasetDict(train=holed), tmp_path / "two")
    assert set(weights_of(tmp_path / "two", config).values()) == {
        ("gold", 1.0),
        ("lsms", 0.5),
        ("eda", 1.0),
        ("eda", 0.5),
    }


def test_withdrawing_posts_counts_the_weights_of_those_that_stay(gold, corpus, tmp_path):
    method = RMDA(corpus=corpus, image=False, copies=2, labels="teacher", teacher=("crf:c1=0,c2=0.01",))
    method = replace(method, min_confidence=0.0, weight="confidence")
    out = tmp_path / "out"
    config, before = published(method, gold, out)
    made = {name: weight for name, (method, weight) in weights_of(out, config).items() if method == "rmda"}
    assert len(set(made.values())) > 1
    assert (before["weights"]["least"], before["weights"]["most"]) == pytest.approx(
        (min(made.values()), max(made.values())), abs=1e-4
    )
    assert f"{before['weights']['least']:g} to" in (out / "README.md").read_text()
    lightest = min(made, key=made.get)
    withdraw_posts(out, [lightest.partition("+")[0]])
    after = read_note(out / config)["weights"]
    left = [weight for name, weight in made.items() if not name.startswith(lightest.partition("+")[0] + "+")]
    assert after["least"] == pytest.approx(min(left), abs=1e-4)
    assert after["mean"] == pytest.approx(sum(left) / len(left), abs=1e-4)


def test_stubs_keep_their_weights_and_are_put_back_with_them(gold, corpus, tmp_path):
    method = RMDA(corpus=corpus, weight=0.25, **UNFILTERED)
    whole, _ = published(method, gold, tmp_path / "whole")
    config, note = published(method, gold, tmp_path / "ids", retrieved="ids-only")
    assert note["weights"]["meaning"] == "weight=0.25"
    again = hydrate(tmp_path / "ids", config, tmp_path / "again", corpus=corpus)
    assert again.content_fingerprint == read_note(tmp_path / "whole" / whole)["content_fingerprint"]
    assert read_note(tmp_path / "again" / config)["weights"] == note["weights"]


# ---------------------------------------------------------------- scores as weights


def details_of(method, gold):
    fitted = method.fit(gold["train"])
    made = fitted.map(gold["train"])
    told = [json.loads(row["provenance"]).get("details", {}) for row in made]
    return [(round(weight, 6), details) for weight, details in zip(made["weight"], told, strict=True)]


def test_the_share_of_agreeing_detectors_is_a_weight_of_gmda(gold):
    settings = {"image": False, "detector": "crf:iterations=4", "detectors": 4, "agreement": 0.01, "least_words": 1}
    found = details_of(GMDA(weight="agreement", **settings, copies=3), gold)
    assert {weight for weight, _ in found} > {0.25} or len({weight for weight, _ in found}) > 1
    assert all(weight == details["agreement"] and 4 * weight == int(4 * weight) > 0 for weight, details in found)
    plain = GMDA(**settings, copies=3).fit(gold["train"]).map(gold["train"])
    assert len(plain) == len(found), "the bound rejects what it rejects without a weight"
    assert "agreement" not in plain[0]["provenance"].partition('"details"')[2]


@pytest.mark.parametrize("score", ["agreement", "support"])
def test_the_share_of_detectors_is_a_weight_of_rmda(gold, corpus, score):
    shares = {"detector": "crf:iterations=3", "detectors": 4, "agreement": 0.0, "support": 0.0}
    loose = {"consistency": 0.0, "letters": 0, "capitals": False, "least_words": 1, "image": False, "copies": 3}
    found = details_of(RMDA(corpus=corpus, weight=score, **shares, **loose), gold)
    assert all(weight == details[score] and 4 * weight == int(4 * weight) for weight, details in found)
    assert len({weight for weight, _ in found}) > 1


@pytest.mark.parametrize(
    ("method", "settings", "says"),
    [
        (GMDA, {"weight": "agreement", "detector": None}, "posts have no agreement: name a number"),
        (GMDA, {"weight": "confidence"}, "posts have no confidence: name one of agreement, or a number"),
        (MemoryHard, {"weight": "confidence"}, "posts have no confidence: name a number"),
        (RMDA, {"weight": "support", "filter": False}, "posts have no support: name a number"),
        (
            RMDA,
            {"weight": "support", "labels": "teacher"},
            "posts have no support: name one of agreement, confidence, or a number",
        ),
    ],
)
def test_a_score_that_posts_do_not_have_is_refused_at_once(method, settings, says):
    with pytest.raises(UsageError, match=says):
        method(**settings)


def test_a_made_post_without_the_score_or_with_a_wrong_one():
    method = GMDA(weight="agreement")
    with pytest.raises(UsageError, match=r"weight=agreement, but with these parameters posts have no agreement"):
        weigh(method, Post("g0+gmda.0", ["a"]), 1.0)
    with pytest.raises(RuntimeError, match=r"post g0\+gmda\.0: the score agreement must be in \[0, 1\], found 1\.5"):
        weigh(method, Post("g0+gmda.0", ["a"], details={"agreement": 1.5}), 1.0)
    assert weigh(GMDA(weight=10), Post("p", ["a"]), 10.0) == 10.0, "no post weighs more than the backbones read"


# ---------------------------------------------------------------- studies


def test_words_are_no_weights(gold):
    with pytest.raises(DataError, match=r"column tokens: expected a number from 0 to 10, found \["):
        parse_backbone("crf:weight=tokens").fit(gold["train"])


def test_a_study_reads_the_weights_of_its_configs(gold, tmp_path):
    out = tmp_path / "out"
    light, _ = published(LSMS(weight=0.0), gold, out)
    study = Study.open(out, [light], settings=["weight=weight"], split="validation")
    study.run(progress=False)
    scores = {cell.kind: study.read(cell)["predictions"] for cell in study.cells()}
    assert scores["augmented"] == scores["gold"], "posts of no weight teach nothing"
    plain, _ = published(EDA(), gold, out)
    with pytest.raises(UsageError, match=rf"{plain} has no column weight, read by weight=weight: augment it with"):
        Study.open(out, [light, plain], settings=["weight=weight"], split="validation")
