"""What every backbone of the table promises: one test, run for each."""

import ast
import json
import re
import subprocess
import sys
import warnings
from dataclasses import fields, replace
from typing import Literal, get_origin, get_type_hints

import pytest
import text_posts
from datasets import Dataset, Value
from picture_posts import eight_pairs, eight_posts
from places import ROOT

from hf_mner_aug.backbones import BACKBONES, Backbone, backbone_class, splits, training
from hf_mner_aug.backbones.settings import fit_named, parse_backbone, settings_of
from hf_mner_aug.cli.parameters import parameters_of
from hf_mner_aug.exceptions import Corrupt, DataError, NotFitted, UnknownName, UsageError
from hf_mner_aug.schema import Codec, Post, mner_features

pytest.importorskip("torch", reason="the models extra is not installed")

# Small settings of each backbone, with which it has eight posts by heart; a second line where a setting makes another
# network or another task of it.
NET = "encoder=tiny,dropout=0.0,batch_size=8,warmup=0.0,checks=5,device=cpu"
SEEING = f"{NET},tower=tiny,freeze_vision=false,image_size=64"
SMALL = {
    "crf": "c1=0.0,c2=0.01",
    "frozen_encoder_crf": "encoder=tiny,layers=2,device=cpu,l2=0.01,words_l2=0.01",
    "frozen_encoder_crf words=false": "encoder=tiny,layers=2,device=cpu,l2=0.01,words=false,cache=false",
    "token_classifier": f"{NET},steps=25,learning_rate=3e-3,head_learning_rate=2e-2",
    "token_classifier head=softmax": f"{NET},steps=25,learning_rate=3e-3,head_learning_rate=2e-2,head=softmax",
    "pgim": f"{NET},steps=25,learning_rate=3e-3,head_learning_rate=2e-2",
    "relation": f"{NET},steps=40,learning_rate=3e-3,head_learning_rate=2e-2",
    "relation_features": "l2=0.01",
    "bert_resnet_crf": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=1e-2",
    "umt": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=1e-2",
    "umt task=relations": f"{SEEING},steps=25,learning_rate=3e-3,head_learning_rate=1e-2,task=relations",
    "maf": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=1e-2",
    "hvpnet": f"{SEEING},steps=15,learning_rate=3e-3,head_learning_rate=2e-2",
    "hvpnet task=relations": f"{SEEING},steps=25,learning_rate=3e-3,head_learning_rate=2e-2,task=relations",
    "iie4mner": f"{SEEING},steps=15,learning_rate=2e-3,head_learning_rate=2e-3,fusion_dropout=0.0",
    "tiger": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=3e-3,most_regions=1,most_steps=40",
    "mmt5": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=3e-3,most_regions=1,most_steps=40",
    "mkgformer": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=2e-2",
    "mkgformer task=relations": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=2e-2,task=relations",
    "h_index": f"{SEEING},steps=40,learning_rate=3e-3,head_learning_rate=3e-3,most_regions=1",
}
WRITES = ("tiger", "mmt5", "h_index")  # after a few steps they write what cannot be read, of which a warning tells
SEES = [name for name, settings in SMALL.items() if settings.startswith(SEEING)]
TAGS = [name for name in SMALL if "relation" not in name]
NETS = [name for name, settings in SMALL.items() if settings.startswith(NET)]
# A value that is out of range, for each setting that has a range or names, and what is said of it.
LENGTH, DROPOUT = {"max_length": "7 at least 8"}, {"dropout": "1.0 in [0, 1)"}
IMAGES = {"no_images": "ignore unknown no_images 'ignore'"}
BAD = {
    "crf": {"c1": "-1 at least 0", "c2": "-1 at least 0", "iterations": "0 at least 1"},
    "frozen_encoder_crf": {"layers": "0 at least 1", "l2": "-1 at least 0", "words_l2": "-1 at least 0"}
    | {"iterations": "0 at least 1", "device": "tpu unknown device 'tpu'"}
    | (LENGTH | IMAGES),
    "token_classifier": {"head": "lstm unknown head 'lstm'"} | LENGTH | DROPOUT,
    "pgim": LENGTH | DROPOUT,
    "relation": {"max_length": "15 at least 16"} | DROPOUT,
    "relation_features": {"l2": "0 more than 0", "iterations": "0 at least 1"},
    "bert_resnet_crf": LENGTH | DROPOUT | IMAGES,
    "umt": {"task": "events unknown task 'events'", "alpha": "1.5 in [0, 1]", "beta": "-1 at least 0"}
    | LENGTH
    | DROPOUT
    | IMAGES,
    "maf": {"alpha": "2 in [0, 1]", "swapped": "2 in [0, 1]", "to_image": "-0.1 in [0, 1]"}
    | {"temperature": "0 more than 0"}
    | (LENGTH | DROPOUT | IMAGES),
    **dict.fromkeys(
        ("hvpnet", "mkgformer"),
        {"task": "events unknown task 'events'", "most_objects": "0 at least 1", "max_length": "15 at least 16"}
        | (DROPOUT | IMAGES),
    ),
    **dict.fromkeys(
        ("tiger", "mmt5"),
        {"most_regions": "0 at least 1", "most_steps": "7 at least 8"} | LENGTH | DROPOUT | IMAGES,
    ),
    "h_index": {"most_regions": "0 at least 1"} | LENGTH | DROPOUT | IMAGES,
    "iie4mner": {"neighbours": "0 at least 1", "dimensions": "0 at least 1", "most_objects": "0 at least 1"}
    | {"fusion_dropout": "1.0 in [0, 1)"}
    | (LENGTH | DROPOUT | IMAGES),
}
FINER = [name for name in TAGS if "types" in backbone_class(name.partition(" ")[0]).__dataclass_fields__]
for finer_name in FINER:
    BAD[finer_name.partition(" ")[0]] |= {"types": "both unknown types 'both'"}
# Values of another network.
OTHER = {"head": "softmax", "task": "relations", "use_images": "false"}
OTHER |= {"objects": "some/detr", "regions": "some/detr"}
HEAVY = {"torch", "transformers", "datasets", "evaluate", "numpy", "PIL", "sklearn", "pyarrow", "pandas", "pycrfsuite"}


@pytest.fixture(scope="module", params=SMALL)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def posts(name):
    return posts_of(name)


@pytest.fixture(scope="module")
def fitted(name, posts):
    """Each backbone, fitted once to its eight posts."""
    return small(name).fit(rows_of(posts), rows_of(posts))


@pytest.fixture(scope="module")
def predictions(fitted, posts):
    return fitted.predict(rows_of(posts))


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    """Each fitted backbone, saved."""
    folder = tmp_path_factory.mktemp("saved") / "folder"
    fitted.save(folder)
    return folder


def small(name, *settings):
    return parse_backbone(f"{name.partition(' ')[0]}:{SMALL[name]}", settings)


def short(name, *settings):
    """One that learns for a moment."""
    return small(name, *(["steps=3", *settings] if name in NETS else []))


def posts_of(name):
    if name in TAGS:
        return eight_posts() if name in SEES else text_posts.POSTS
    return eight_pairs() if name in SEES else text_posts.PAIRS


def rows_of(posts, images="one"):
    """Posts as a dataset."""
    related = posts[0].relation is not None
    types = () if related else sorted({entity.type for post in posts for entity in post.entities})
    fine = sorted({entity.fine for post in posts for entity in post.entities if entity.fine})
    relations = text_posts.RELATIONS if related else ()
    codec = Codec(mner_features(types, images=images, relations=relations, fine_types=fine))
    rows = [codec.to_row(post) for post in posts]
    return Dataset.from_dict({name: [row[name] for row in rows] for name in codec.columns}, features=codec.features)


def labels_of(predictions):
    return [p.relation.type if p.relation else p.plain_spans() for p in predictions]


def gold_of(posts):
    return [p.relation.type if p.relation else [(e.start, e.end, e.type) for e in p.entities] for p in posts]


def blind(posts):
    return [replace(post, images=()) for post in posts]


def swapped(posts):
    """Posts with each other's pictures, red for blue."""
    return [replace(post, images=posts[i ^ 1].images) for i, post in enumerate(posts)]


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------- the table


def test_the_table_gives_classes():
    for name, class_name in BACKBONES.items():
        assert backbone_class(name).__name__ == class_name
        assert backbone_class(name).name == name
    with pytest.raises(UnknownName, match="did you mean 'crf'"):
        backbone_class("crff")
    assert {name.partition(" ")[0] for name in SMALL} == set(BACKBONES) == set(BAD)


def test_mypy_compares_each_class_of_the_table_with_the_protocol():
    tree = ast.parse((ROOT / "hf_mner_aug/backbones/__init__.py").read_text(encoding="utf-8"))
    lists = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)]
    assert [[name.id for name in found.elts] for found in lists] == [list(BACKBONES.values())]


def test_backbones_import_and_start_without_anything_heavy():
    code = (
        "import sys\n"
        "from hf_mner_aug.backbones import BACKBONES, backbone_class\n"
        "made = [backbone_class(name)() for name in BACKBONES]\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_says_what_it_is(name):
    backbone = small(name)
    settings = {field.name for field in fields(backbone)}
    assert all(hasattr(backbone, member) for member in Backbone.__annotations__)
    assert backbone.seedless is (name not in NETS)
    assert backbone.reads_images is (name in SEES)
    assert backbone.boundary is False
    assert (backbone.training is None) == (name not in NETS)
    if backbone.training is not None:
        assert set(backbone.shape) <= settings
        assert set(backbone.shape) == settings & set(OTHER)
        assert f"takes {backbone.training.steps} optimiser steps;" in backbone.training_note
    assert re.fullmatch(r"Every cell .+\.", backbone.training_note)


@pytest.mark.parametrize("name", BACKBONES)
def test_it_is_documented(name):
    cls = backbone_class(name)
    assert re.match(r"[A-Z].+\.$", cls.__doc__.splitlines()[0])  # what `hf-mner-aug methods NAME` shows
    assert [p.name for p in parameters_of(cls, Backbone) if not p.explained] == []
    reads, extra, paper = re.search(
        rf"^\| `{name}` \| (.+) \| (.+) \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    ).groups()
    assert ("pictures" in reads) == (name in SEES or name == "frozen_encoder_crf")
    assert ("core" in extra) == (name not in NETS and name != "frozen_encoder_crf")
    assert re.search(r"\b(19|20)\d\d\b", paper)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_setting_with_a_range_is_tried(name):
    hints = get_type_hints(backbone_class(name), include_extras=True)
    ranged = {f.name for f in fields(backbone_class(name)) if "Range(" in repr(hints[f.name])}
    named = {f.name for f in fields(backbone_class(name)) if get_origin(hints[f.name]) is Literal}
    assert set(BAD[name]) == ranged | named


@pytest.mark.parametrize(
    ("name", "setting", "bad"), [(name, *item) for name, settings in BAD.items() for item in settings.items()]
)
def test_a_setting_out_of_range_is_one_line(name, setting, bad):
    value, _, said = bad.partition(" ")
    with pytest.raises(UsageError) as error:
        parse_backbone(name, [f"{setting}={value}"])
    assert said in one_line(error)
    assert setting in str(error.value)


@pytest.mark.parametrize("name", BACKBONES)
def test_an_unknown_setting_is_one_line(name):
    with pytest.raises(UnknownName) as error:
        parse_backbone(f"{name}:no_such=1")
    assert f"setting of {name}" in one_line(error)


# ---------------------------------------------------------------- learning and predicting


def test_it_overfits_eight_posts(name, fitted, predictions, posts):
    assert labels_of(predictions) == gold_of(posts)
    assert [p.id for p in predictions] == [post.id for post in posts]
    score = (splits.entity_score if name in TAGS else splits.relation_score)(predictions, posts)
    assert score.f1 == 1.0
    if name in NETS:
        assert max(check.score for check in fitted.fitted.history) == 1.0


def test_confidences_are_probabilities(predictions, posts):
    for prediction, post in zip(predictions, posts, strict=True):
        if prediction.relation:
            assert 0.5 < prediction.relation.confidence <= 1.0
            continue
        assert len(prediction.word_confidences) == len(post.tokens)
        assert all(0.0 < c <= 1.0 for c in prediction.word_confidences)
        for span in prediction.spans:
            assert span.confidence == min(prediction.word_confidences[span.start : span.end])


def test_saved_and_loaded_it_predicts_the_same(fitted, predictions, posts, folder):
    loaded = type(fitted).load(folder)
    if fitted.training is not None:
        assert loaded == replace(fitted, fitted=None)  # the settings: what was fitted does not count
    assert loaded.predict(rows_of(posts)) == predictions
    assert loaded.predict(posts) == predictions  # posts and datasets are one
    assert loaded.predict(rows_of(posts).to_iterable_dataset()) == predictions
    assert loaded.predict([]) == []


def test_batches_change_no_prediction(fitted, predictions, posts, monkeypatch):
    for size in (1, 3):
        monkeypatch.setattr(training, "PREDICT_BATCH", size)
        found = fitted.predict(posts)
        assert labels_of(found) == labels_of(predictions)
        for one, other in zip(found, predictions, strict=True):
            assert one.word_confidences == pytest.approx(other.word_confidences, abs=1e-5)
            if one.relation:
                assert one.relation.confidence == pytest.approx(other.relation.confidence, abs=1e-5)
    assert labels_of(fitted.predict(posts[::-1])) == labels_of(predictions)[::-1]


def test_gold_labels_are_not_read(name, fitted, predictions, posts):
    column = "ner_tags" if name in TAGS else "relation"
    assert fitted.predict(rows_of(posts).remove_columns(column)) == predictions
    hidden = [replace(post, entities=()) for post in posts]
    assert fitted.predict(hidden) == predictions


@pytest.mark.parametrize("name", TAGS, indirect=True)
def test_a_post_without_words_has_no_entities(fitted, posts):
    first, none = fitted.predict([posts[0], Post("none", [])])
    assert labels_of([first]) == gold_of(posts[:1])
    assert (none.spans, none.word_confidences) == ((), ())


def test_the_seed_settles_all_and_training_is_silent(name, posts, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if name in WRITES:
            warnings.filterwarnings("ignore", message="dataset: .* parts of the answers for .* are left out")
        first, again, other = (
            replace(short(name, "dropout=0.1"), seed=seed).fit(rows_of(posts), rows_of(posts)).predict(posts)
            for seed in (1, 1, 2)
        )
    assert capfd.readouterr() == ("", "")
    assert first == again
    assert (first == other) == small(name).seedless


# ---------------------------------------------------------------- weights of posts


def misled(posts):
    """Posts that say something else of the same words."""
    others = [replace(post, id=f"{post.id}-wrong", entities=()) for post in posts]
    if posts[0].relation is None:
        return others
    names = sorted({post.relation.type for post in posts})
    other = dict(zip(names, names[1:] + names[:1], strict=True))
    return [replace(post, relation=replace(post.relation, type=other[post.relation.type])) for post in others]


def weighing(backbone):
    """The same backbone, which reads the column ``sure``."""
    if backbone.training is None:
        return replace(backbone, weight="sure")
    return replace(backbone, training=replace(backbone.training, weight="sure"))


def weighted_rows(posts, weights):
    return rows_of(posts).add_column("sure", weights).cast_column("sure", Value("float32"))


def test_a_post_of_no_weight_teaches_nothing(name, posts):
    both = [*posts, *misled(posts)]
    steps = re.search(r"steps=(\d+)", SMALL[name])
    more = [f"steps={2 * int(steps[1])}"] if steps else []
    backbone = small(name, "weight=sure", *more)
    fitted = backbone.fit(weighted_rows(both, [None] * 8 + [0.0] * 8))
    assert labels_of(fitted.predict(posts)) == gold_of(posts)
    turned = backbone.fit(weighted_rows(both, [0.0] * 8 + [1.0] * 8))
    assert labels_of(turned.predict(posts)) == gold_of(misled(posts))


def test_weights_of_one_change_nothing(name, posts):
    backbone = short(name)
    plain = backbone.fit(rows_of(posts)).predict(posts)
    for weight in (1.0, None):
        found = weighing(short(name)).fit(weighted_rows(posts, [weight] * 8)).predict(posts)
        for one, other in zip(found, plain, strict=True):
            assert one.word_confidences == pytest.approx(other.word_confidences, abs=1e-5)
            assert labels_of([one]) == labels_of([other])


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ([1.0] * 7 + [-1.0], DataError, "column sure: expected a number from 0 to 10, found -1.0"),
        ([float("nan")] * 8, DataError, "column sure: expected a number from 0 to 10, found nan"),
        ([0.0] * 8, UsageError, "weight=sure: the weight of every train post is 0: there is nothing to learn"),
        (None, UsageError, "weight=sure: expected a column sure of train, found id, tokens"),
    ],
)
def test_weights_that_are_none_are_one_line(name, posts, weights, error, said):
    rows = rows_of(posts) if weights is None else weighted_rows(posts, weights)
    with pytest.raises(error) as found:
        weighing(short(name)).fit(rows)
    assert said in one_line(found)
    with pytest.raises(UsageError, match="expected a column sure of train, found a list of posts"):
        weighing(short(name)).fit(posts)


# ---------------------------------------------------------------- saving, loading, going on


def test_one_that_is_not_fitted_says_so(name, posts, tmp_path):
    for call in (lambda: small(name).predict(posts), lambda: small(name).save(tmp_path)):
        with pytest.raises(NotFitted, match="is not fitted: use the result of fit"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_its_own_or_damaged_is_said(name, folder, tmp_path):
    cls = type(small(name))
    with pytest.raises(UsageError, match="holds no saved backbone"):
        cls.load(tmp_path)
    stranger = backbone_class("crf" if name != "crf" else "umt")
    with pytest.raises(UsageError, match=f"holds a {cls.name} backbone, expected {stranger.name}"):
        stranger.load(folder)
    record = json.loads((folder / "backbone.json").read_text(encoding="utf-8"))
    (tmp_path / "backbone.json").write_text(json.dumps(record))
    (tmp_path / record["weights"]).write_bytes((folder / record["weights"]).read_bytes()[:-1])
    with pytest.raises(Corrupt, match=f"{re.escape(record['weights'])} is damaged") as error:
        cls.load(tmp_path)
    one_line(error)


@pytest.mark.parametrize("name", NETS, indirect=True)
def test_training_goes_on_from_a_folder_of_the_same_network(name, fitted, posts, folder):
    settings = ["steps=1", "learning_rate=1e-9", "head_learning_rate=1e-9", f"encoder={folder}"]
    again = small(name, *settings)
    assert labels_of(again.fit(rows_of(posts), rows_of(posts)).predict(posts)) == gold_of(posts)
    for setting in again.shape:
        now = getattr(again, setting)
        other = "entities" if now == "relations" else OTHER[setting] if str(now) != OTHER[setting] else "crf"
        changed = small(name, *settings, f"{setting}={other}")
        with pytest.raises(UsageError, match=f"has {setting}={now}: pass the same, found") as error:
            changed.assemble(str(folder), fitted.fitted.labels)
        one_line(error)
    if again.reads_images:
        changed = small(name, *settings, "tower=timm:resnet18")
        with pytest.raises(UsageError, match="has the tower tiny: pass the same, found timm:resnet18"):
            changed.assemble(str(folder), fitted.fitted.labels)


# ---------------------------------------------------------------- fine types


def finer(posts, most=None):
    """Posts whose entities have fine types; with ``most``, only those of the first posts."""
    return [
        replace(p, entities=tuple(replace(e, fine=f"{e.type.lower()}_kind") for e in p.entities))
        if i in range(n)
        else p
        for n in (len(posts) if most is None else most,)
        for i, p in enumerate(posts)
    ]


def test_each_backbone_of_the_package_that_tags_reads_fine_types():
    ours = {name.partition(" ")[0] for name in TAGS} - {"lookup"}  # that of CONTRIBUTING.md
    assert {name.partition(" ")[0] for name in FINER} == ours


@pytest.mark.parametrize("name", FINER, indirect=True)
def test_fine_types_are_read_where_they_are_asked_for(name, posts, tmp_path):
    asked = small(name, *(["steps=3"] if name in NETS else []), "types=fine")
    fine = finer(posts)
    kinds = {entity.fine for post in fine for entity in post.entities}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if name in WRITES else "error")
        fitted = asked.fit(rows_of(fine), rows_of(fine))
        found = fitted.predict(rows_of(fine))
        fitted.save(tmp_path)
        assert type(fitted).load(tmp_path).predict(rows_of(fine)) == found
    assert {span.type for prediction in found for span in prediction.spans} <= kinds
    if name in WRITES:
        assert fitted.fitted.net.encoder.config.fine_types == sorted(kinds)
    else:
        assert set(fitted.labels if name == "crf" else fitted.fitted.labels) == kinds
        other = [replace(p, entities=tuple(replace(e, fine="other") for e in p.entities)) for p in posts]
        with pytest.raises(UsageError, match="the dataset has the fine types other, this model knows only") as error:
            fitted.predict(rows_of(other))
        one_line(error)
    if name not in NETS:
        assert [p.plain_spans() for p in found] == [[(e.start, e.end, e.fine) for e in p.entities] for p in fine]
    with pytest.raises(UsageError, match="types=fine") as error:
        asked.fit(rows_of(posts))
    one_line(error)
    assert "types" not in settings_of(short(name)), "a study of coarse types keeps its digest"
    assert settings_of(asked)["types"] == "fine"


def test_entities_without_a_fine_type_are_counted():
    posts = text_posts.POSTS
    n = sum(len(post.entities) for post in posts)
    lost = sum(len(post.entities) for post in posts[2:])
    with pytest.warns(
        UserWarning, match=f"train: {lost} of {n} entities have no fine type, and count as words outside"
    ):
        small("crf", "types=fine").fit(rows_of(finer(posts, 2)))
    none = rows_of(finer(posts)).map(lambda row: {"fine_tags": [0] * len(row["fine_tags"])})
    with pytest.raises(UsageError, match=f"train: none of its {n} entities has a fine type: leave out types=fine"):
        small("crf", "types=fine").fit(none)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("crf:types=fine,boundary=true", "boundary=true finds entities without their types: leave out types=fine"),
        ("umt:types=fine,task=relations", "umt: types=fine is about entities: leave out task=relations"),
    ],
)
def test_fine_types_of_what_has_none_are_refused(spec, said):
    with pytest.raises(UsageError) as error:
        parse_backbone(spec).fit(rows_of(finer(text_posts.POSTS)))
    assert one_line(error) == said


def test_a_method_refuses_a_backbone_of_fine_types():
    with pytest.raises(UsageError, match="crf: a method compares coarse types: leave out types=fine"):
        fit_named(parse_backbone("crf:types=fine"), finer(text_posts.POSTS))


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", [name for name in SEES if name in TAGS], indirect=True)
def test_it_reads_the_pictures_and_nothing_but_them_tells(fitted, posts):
    assert labels_of(fitted.predict(swapped(posts))) == gold_of([posts[i ^ 1] for i in range(8)])


@pytest.mark.parametrize("name", SEES, indirect=True)
def test_without_pictures_it_is_text_alone(name, posts, tmp_path):
    backbone = short(name, "use_images=false", "tower=no-such-tower")
    assert not backbone.reads_images
    fitted = backbone.fit(posts, posts)
    assert fitted.fitted.net.tower is None
    found = fitted.predict(posts)
    assert fitted.predict(swapped(posts)) == fitted.predict(blind(posts)) == found
    assert labels_of(found)[0::2] == labels_of(found)[1::2]
    fitted.save(tmp_path)
    assert type(fitted).load(tmp_path).predict(posts) == found


@pytest.mark.parametrize("name", SEES, indirect=True)
def test_pictures_may_be_several_or_none(fitted, predictions, posts):
    assert fitted.predict(rows_of(posts, images="many")) == predictions
    mixed = [replace(posts[0], images=posts[0].images * 2), replace(posts[1], images=())]
    assert [prediction.id for prediction in fitted.predict(mixed)] == [post.id for post in posts[:2]]


@pytest.mark.parametrize("name", SEES, indirect=True)
@pytest.mark.parametrize("images", ["one", "none"])
def test_no_pictures_at_all_are_warned_of_or_refused(fitted, posts, images):
    bare = rows_of(blind(posts), images)  # a column of nulls, or none
    said = f"none of its 8 posts has a readable picture, and {fitted.name} reads pictures"
    with pytest.warns(UserWarning, match=f"dataset: {said}: it uses the text alone"):
        found = labels_of(fitted.predict(bare))
    assert found[0::2] == found[1::2]
    strict = replace(fitted, no_images="refuse")
    with pytest.raises(UsageError, match=f"dataset: {said}: pass no_images='warn' or use_images=False"):
        strict.predict(bare)
    with pytest.raises(UsageError, match=f"train: {said}"):
        replace(strict, fitted=None).fit(bare, rows_of(posts))
    with pytest.raises(UsageError, match=f"validation: {said}"):
        replace(strict, fitted=None).fit(rows_of(posts), bare)
