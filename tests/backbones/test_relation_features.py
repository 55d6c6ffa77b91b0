import io
import json

import numpy as np
import pytest
from text_posts import PAIRS

from hf_mner_aug.backbones import checkpoint
from hf_mner_aug.backbones.relation_features import WEIGHTS, RelationFeatures, pair_features
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.schema import Post, Relation


def test_the_features_of_a_pair_by_hand():
    tokens = ["RT", "Ann", "Lee", "lives", "in", "#Rome", "!"]
    assert pair_features(tokens, (1, 3), (5, 6)) == {
        *("order=head first", "apart=2"),
        *("head=ann lee", "head:last=lee", "head:word=ann", "head:word=lee", "head:shape=Xx"),
        *("head:before=rt", "head:after=lives", "head:after=lives in"),
        *("tail=#rome", "tail:last=#rome", "tail:word=#rome", "tail:shape=#Xx"),
        *("tail:before=in", "tail:before=lives in", "tail:after=!"),
        *("between=lives", "between=in", "head first:between=lives", "head first:between=in"),
        "head first:between=lives in",
        *("word=rt", "word=lives", "word=in", "word=!"),
    }
    turned = pair_features(tokens, (5, 6), (1, 3))
    assert {"order=tail first", "tail first:between=lives", "between=lives"} <= turned
    assert {"order=nested", "apart=0"} <= pair_features(tokens, (1, 3), (2, 3))


def test_probabilities_are_those_of_scikit_learn():
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    for posts in (PAIRS, PAIRS[:4]):  # of three relations, and of two, for which scikit-learn has one row of weights
        rows = [dict.fromkeys(pair_features(p.tokens, p.relation.head, p.relation.tail), 1) for p in posts]
        kinds = [post.relation.type for post in posts]
        matrix = DictVectorizer()
        expected = LogisticRegression(C=2).fit(matrix.fit_transform(rows), kinds).predict_proba(matrix.transform(rows))
        found = RelationFeatures(l2=0.5).fit(posts).predict(posts)
        assert [p.relation.confidence for p in found] == pytest.approx(expected.max(axis=1), abs=1e-4)


def test_a_seed_changes_nothing():
    assert RelationFeatures(seed=5).fit(PAIRS).model == RelationFeatures().fit(PAIRS).model


def test_one_relation_is_nothing_to_learn():
    with pytest.raises(UsageError, match=r"every post has the relation None: there is nothing to learn"):
        RelationFeatures().fit(PAIRS[4:6])


def test_spans_that_do_not_fit_are_one_line():
    fitted = RelationFeatures().fit(PAIRS)
    for head in ((2, 4), (1, 1), (-1, 1)):
        post = Post("x", ["a", "b", "c"], relation=Relation(head, (0, 1), ""))
        with pytest.raises(DataError, match=r"post x: span \[-?\d, \d\) does not fit 3 words"):
            fitted.predict([post])
    assert fitted.predict([]) == []


def arrays(fitted, **instead):
    with np.load(io.BytesIO(fitted.model)) as found:
        return {**dict(found), **instead}


@pytest.mark.parametrize("fault", ["no zip", "no array", "shape", "text", "nan", "names", "objects"])
def test_a_forged_model_is_one_line(fault, tmp_path):
    fitted = RelationFeatures().fit(PAIRS)
    fitted.save(tmp_path)
    weights = arrays(fitted)["weights"]
    names = np.frombuffer(json.dumps({"features": 3, "relations": []}).encode(), np.uint8)
    forged = {
        "no array": {"other": weights},
        "shape": arrays(fitted, weights=weights[:, :3]),
        "text": arrays(fitted, weights=weights.astype(str)),
        "nan": arrays(fitted, weights=weights * np.float32("nan")),
        "names": arrays(fitted, names=names),
        "objects": arrays(fitted, weights=weights.astype(object)),
    }
    if fault == "no zip":
        (tmp_path / WEIGHTS).write_bytes(b"PK\x03\x04 and no more")
    else:
        np.savez(tmp_path / WEIGHTS, **forged[fault])
    record = json.loads((tmp_path / checkpoint.RECORD).read_text())
    about = {"labels": record["labels"], "settings": record["settings"]}
    checkpoint.write(tmp_path, "relation_features", WEIGHTS, about)
    with pytest.raises(Corrupt, match=r"^model\.npz: .*fit and save again") as error:
        RelationFeatures.load(tmp_path)
    assert "\n" not in str(error.value)
