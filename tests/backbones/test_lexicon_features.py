"""Listed names as features of words: in the CRFs that read word features."""

import json
from dataclasses import replace

import pytest

from hf_mner_aug.backbones import splits
from hf_mner_aug.backbones.crf import CRF, name_features, post_features
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.schema import Entity, Post

SEEN, UNSEEN = ("Ann", "Bob", "Cleo", "Dan"), ("Zed", "Yara", "Xia", "Will")
PLACES, NEW_PLACES = ("Rome", "Oslo", "Bern", "Lima"), ("Kiev", "Riga", "Cork", "Bonn")
SPECS = ["crf:c1=0.0,c2=0.01", "frozen_encoder_crf:encoder=tiny,layers=2,device=cpu,words_l2=0.01,words=false"]


def posts_of(people, places):
    """Posts in which only the name tells its type."""
    return [
        Post(f"{kind}-{name}", ["we", "saw", name, "today"], (Entity(2, 3, kind),))
        for kind, names in (("PER", people), ("LOC", places))
        for name in names
    ]


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "names.tsv"
    lines = [f"a\t{name}" for name in (*SEEN, *UNSEEN)] + [f"b\t{name}" for name in (*PLACES, *NEW_PLACES)]
    path.write_text("\n".join(lines))
    return path


def test_features_of_names_stand_beside_the_others():
    lexicon = {"new york": ("LOC",)}
    tokens = ["in", "New", "York"]
    assert name_features(tokens, lexicon) == [
        ["1:lexicon=B-LOC"],
        ["lexicon=B-LOC", "1:lexicon=I-LOC"],
        ["lexicon=I-LOC", "-1:lexicon=B-LOC"],
    ]
    both = [plain + named for plain, named in zip(post_features(tokens), name_features(tokens, lexicon), strict=True)]
    assert post_features(tokens, lexicon) == both
    assert post_features([], lexicon) == []


@pytest.mark.parametrize("spec", SPECS)
def test_a_list_tells_the_types_of_unseen_names(spec, lexicon, tmp_path):
    pytest.importorskip("torch", reason="the models extra is not installed")
    train, test = posts_of(SEEN, PLACES), posts_of(UNSEEN, NEW_PLACES)
    fitted = replace(parse_backbone(spec), lexicon=str(lexicon)).fit(train)
    assert splits.entity_score(fitted.predict(test), test).f1 == 1.0
    assert splits.entity_score(parse_backbone(spec).fit(train).predict(test), test).f1 < 1.0
    fitted.save(tmp_path / "saved")
    lexicon.unlink()  # the saved one has the names itself
    assert type(fitted).load(tmp_path / "saved").predict(test) == fitted.predict(test)


def test_a_list_that_cannot_be_read_is_one_line(tmp_path):
    train = posts_of(SEEN, PLACES)
    with pytest.raises(UsageError, match="the list of names cannot be read"):
        CRF(lexicon=str(tmp_path / "none")).fit(train)
    (tmp_path / "empty").write_text("# nothing\n")
    with pytest.raises(UsageError, match="expected names in the file, found none"):
        CRF(lexicon=str(tmp_path / "empty")).fit(train)
    (tmp_path / "bad").write_text("PER Curry\n")
    with pytest.raises(DataError, match="line 1: expected TYPE<TAB>NAME"):
        CRF(lexicon=str(tmp_path / "bad")).fit(train)


def test_names_of_a_saved_one_are_checked(lexicon, tmp_path):
    CRF(lexicon=str(lexicon)).fit(posts_of(SEEN, PLACES)).save(tmp_path / "saved")
    path = tmp_path / "saved" / "backbone.json"
    record = json.loads(path.read_text())
    record["settings"]["names"] = {"ann": "PER"}
    path.write_text(json.dumps(record))
    with pytest.raises(Corrupt, match="names"):
        CRF.load(tmp_path / "saved")


def test_a_fitted_one_can_be_hashed(lexicon):
    fitted = CRF(lexicon=str(lexicon)).fit(posts_of(SEEN, PLACES))
    assert hash(fitted) == hash(replace(fitted))
