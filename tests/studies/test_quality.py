"""What is in a config: numbers worked out by hand, planted faults counted, the card, and wrong input."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from conftest import as_dataset, parse, picture
from datasets import DatasetDict
from tiny_language_model import language_model
from typer.testing import CliRunner

from hf_mner_aug import EDA, LSMS, augment, cli, load_sample, methods, publish
from hf_mner_aug.backbones import Prediction, ScoredRelation, ScoredSpan
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.words.sentence import TfidfSimilarity
from hf_mner_aug.posts.hygiene import Guard
from hf_mner_aug.publishing import rows as published_rows
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.schema import Codec, Entity, Post, Relation, mner_features
from hf_mner_aug.studies.quality import (
    agrees,
    count_faults,
    count_ngrams,
    diversity,
    draw_words,
    match_scores,
    quality,
)
from hf_mner_aug.transform import Content, Facts, Method, iterate_posts

FAST = "crf:iterations=20"
HELD_OUT_TOO = "greetings to @{} from the [LOC Alps]"
HELD_OUT = "we saw [PER Elsa] in the [LOC Alps] on monday"


def published(splits, out, method=None, **chosen):
    publish(augment(splits, method or LSMS(copies=2), out=out, progress=False, **chosen), out)
    return out


@pytest.fixture(scope="module")
def repo(splits, tmp_path_factory):
    """Two configs of one set with noise for pictures."""
    out = tmp_path_factory.mktemp("quality") / "aug"
    published(splits, out)
    return published(splits, out, EDA(copies=1))


@pytest.fixture(scope="module")
def report(repo):
    return quality(repo, ["lsms_100pct", "eda_100pct"], backbone=FAST)


def test_the_command_that_a_page_names_makes_its_table(repo, report, tmp_path, monkeypatch):
    page = tmp_path / "quality.md"
    monkeypatch.chdir(repo.parent)
    ran = CliRunner().invoke(
        cli.app, ["quality", repo.name, "lsms_100pct", "--backbone", FAST, "--write-page", str(page)]
    )
    assert ran.exit_code == 0, ran.output
    text = page.read_text()
    command = text.partition("$ hf-mner-aug ")[2].partition("\n")[0]
    assert command == f"quality {repo.name} lsms_100pct --backbone {FAST}"
    again = CliRunner().invoke(cli.app, command.split())
    assert again.output.strip() in text
    assert f"Content of lsms_100pct: {report.fingerprints['lsms_100pct'][:16]}." in text
    assert "Measured on 20" in text


# ---------------------------------------------------------------- by hand


def test_ngrams_by_hand():
    texts = [["a", "b", "a"], ["a", "b"], ["B"], []]
    assert [count_ngrams(texts, n) for n in (1, 2, 3)] == [(3, 6), (2, 3), (1, 1)]
    assert diversity(texts) == pytest.approx((3 / 6 + 2 / 3 + 1) / 3)
    assert diversity([["a", "b"], ["c"]]) is None, "no post has three words"
    assert count_ngrams([["a"] * 5], 2) == (1, 4)


def test_as_many_words_are_drawn_whatever_the_order():
    posts = [Post(f"p{i}", [f"{i}-{k}" for k in range(i + 1)]) for i in range(10)]
    texts = draw_words(posts, 20)
    assert sum(map(len, texts)) == 20
    assert draw_words(posts[::-1], 20) == texts
    assert len({word for text in texts for word in text}) == 20
    assert sorted(map(len, draw_words(posts, 99))) == list(range(1, 11))
    assert draw_words(posts, 0) == []


def test_labels_agree_if_words_and_types_do():
    post = Post("p", ["a", "b", "c"], (Entity(0, 2, "PER"),))

    def predicted(*spans):
        return Prediction("p", tuple(ScoredSpan(*span, 0.9) for span in spans))

    assert agrees(post, predicted((0, 2, "PER")))
    for spans in ([], [(0, 2, "LOC")], [(0, 1, "PER")], [(0, 2, "PER"), (2, 3, "PER")]):
        assert not agrees(post, predicted(*spans))
    assert agrees(replace(post, entities=()), predicted())
    related = Post("p", ["a", "b"], relation=Relation((0, 1), (1, 2), "knows"))
    assert agrees(related, Prediction("p", relation=ScoredRelation("knows", 0.6)))
    assert not agrees(related, Prediction("p", relation=ScoredRelation("None", 0.6)))


class Vectors:
    """An encoder whose vectors are told: a text is its first word's number, a picture its path's."""

    def encode_text(self, texts):
        import numpy as np

        return np.array([[float(text.split()[0]), 0.0] for text in texts])

    def encode_image(self, images):
        import numpy as np

        return np.array([[float(image["path"]), 1.0] for image in images])


def test_texts_and_pictures_are_scored_pair_by_pair():
    images = tuple({"bytes": b"", "path": name} for name in ("2", "nan", "5"))
    posts = [Post("p", ["3"], images=images), Post("q", ["4"]), Post("r", ["10"], images=images[:1])]
    scores, unreadable = match_scores(((p.tokens, p, i % 2) for i, p in enumerate(posts)), [Vectors(), Vectors()])
    assert (sorted(scores), unreadable) == ([6, 15, 20], 1)


# ---------------------------------------------------------------- planted faults


def labelled(name, text, *images, **details):
    return Post(name, *parse(text), images=images, details=details)


def test_planted_faults_are_counted():
    gold = [labelled("g0", "we love [LOC Paris] so much", picture(0, "PNG")), labelled("g1", "just rain here")]
    held_out = [labelled("h0", HELD_OUT, picture(1, "JPEG")), labelled("h1", "nothing else")]
    made = [
        labelled("m0", "we love [LOC Paris] so much"),  # a gold post's words and labels
        labelled("m1", "we love Paris so much"),  # its words, other labels
        labelled("m2", "RT @joe : we LOVE [LOC Paris] so much http://t.co/x9"),  # its text, normalised
        labelled("m3", "all is new [PER Ann]"),
        labelled("m4", "all is new [PER Ann]"),  # of an earlier made post
        labelled("m5", "we saw Elsa in the [LOC alps] on Monday"),  # a held-out text
        labelled("m6", "brand new words", {**picture(1, "JPEG"), "path": None}),  # a held-out picture
        labelled("m7", "other new words", picture(0, "PNG")),  # a gold picture: no leak
        labelled("m8", "found on the web", post_id="h1"),  # a held-out post's id
        labelled("m9", "http://t.co/a"),
        labelled("m10", "http://t.co/b"),  # links only: no text to repeat
    ]
    counts = count_faults(made, Guard(gold, lambda: held_out).check, gold)
    assert counts == {"duplicate": 2, "same_text": 4, "leak_id": 1, "leak_text": 1, "leak_image": 1}
    pictures = [labelled("m0", "just rain here", picture(2, "PNG")), labelled("m1", "just rain here")]
    assert count_faults(pictures, Guard(gold, lambda: held_out).check, gold)["duplicate"] == 2
    counts = count_faults(pictures, Guard(gold, lambda: held_out, same_text=True).check, None)
    assert counts == {"duplicate": 1, "leak_id": 0, "leak_text": 0, "leak_image": 0}, "another picture"


@dataclass(frozen=True, kw_only=True)
class Planter(Method):
    """Makes a copy of the first post, held-out texts of the next two, and shouts the others; it calls the last one off.

    Handles do not tell its texts apart.
    """

    name: ClassVar[str] = "planter"
    facts: ClassVar[Facts] = Facts(does="plants", paper="none", learns="nothing", images="kept", boxes="kept")

    def rewrite(self, posts, draws):
        made = {
            "p0": lambda post: post,
            "p1": lambda post: Post(post.id, *parse(HELD_OUT), post.images),
            "p2": lambda post: Post(post.id, *parse(HELD_OUT_TOO.format("ann")), post.images),
        }
        return [made.get(p.id, lambda post: replace(post, tokens=[*post.tokens, "!"]))(p) for p in posts]

    @property
    def content(self):
        return Content(comparable=lambda tokens: ["@user" if word.startswith("@") else word for word in tokens])

    def reduce(self):
        return lambda post: "too_many" if post.id.startswith("p13+") else None


@pytest.fixture
def planted(splits, tmp_path, monkeypatch):
    """A config in which faults were published."""
    monkeypatch.setitem(methods.METHODS, "planter", "Planter")
    monkeypatch.setattr(methods, "method_class", lambda name: Planter)
    for module in list(sys.modules.values()):
        if module.__name__.startswith("hf_mner_aug.") and hasattr(module, "method_class"):
            monkeypatch.setattr(module, "method_class", lambda name: Planter)
    monkeypatch.setattr(published_rows, "drop_check", lambda *arguments: lambda post: None)
    held_out = [Post("h", *parse(HELD_OUT)), Post("i", *parse(HELD_OUT_TOO.format("bob")))]
    test = as_dataset(held_out, splits["test"].features)
    return published(DatasetDict({**splits, "test": test}), tmp_path / "aug", Planter())


def test_a_config_with_planted_faults_is_counted(planted):
    report = quality(planted, ["planter_100pct"], backbone=FAST)
    found = report.column("planter_100pct")
    assert found.posts == 14
    leaks = {"leak_id": 0, "leak_text": 2, "leak_image": 0}
    assert found.faults == {"duplicate": 1, "same_text": 12, **leaks, "too_many": 1}
    assert "| publishing would drop: too_many | – | – | – | 1 |" in report.to_markdown()


# ---------------------------------------------------------------- a config


def test_the_table_is_what_the_posts_say(repo, report):
    from datasets import load_dataset

    train = load_dataset(str(repo), "lsms_100pct")["train"]
    made = train.filter(lambda method: method == "lsms", input_columns="method")
    gold = {row["id"]: " ".join(row["tokens"]) for row in train.remove_columns("image") if row["method"] == "gold"}
    found = report.column("lsms_100pct")
    assert (found.posts, found.words) == (len(made), sum(map(len, made["tokens"])))
    alike = TfidfSimilarity(list(gold.values()))
    pairs = zip(made["tokens"], made["source_id"], strict=True)
    cosines = [alike(" ".join(words), [gold[source]])[0] for words, source in pairs]
    assert found.similarity["TF-IDF"] == pytest.approx(sum(cosines) / len(cosines))
    assert found.ngrams[0][1] == found.words
    assert found.diversity == pytest.approx(sum(unique / total for unique, total in found.ngrams) / 3)
    names = ["two gold posts", "gold train", "gold validation", "lsms_100pct", "eda_100pct"]
    assert [column.name for column in report.columns] == names
    assert report.column("two gold posts").similarity["TF-IDF"] < found.similarity["TF-IDF"] < 1
    assert report.column("gold train").similarity == {"TF-IDF": 1.0}
    assert report.column("gold train").words == sum(len(text.split(" ")) for text in gold.values())
    assert report.column("gold train").consistency > report.column("gold validation").consistency
    assert 0 < report.column("eda_100pct").consistency <= 1
    assert found.faults["duplicate"] == found.faults["leak_text"] == 0
    fewest = min(report.column(name).words for name in ("gold train", "lsms_100pct", "eda_100pct"))
    assert report.labels["sampled"] == f"{fewest:,}"
    for column in report.columns:
        whole = column.words == fewest and column.name != "gold validation"
        assert (column.sampled_diversity == column.diversity) is (whole or column.diversity is None), column.name


def test_a_second_run_says_the_same(repo, report):
    again = quality(repo, ["lsms_100pct", "eda_100pct"], backbone=FAST)
    assert again.data == report.data
    assert again.to_markdown() == report.to_markdown()


def test_one_copy_is_one_made_post_of_each_gold_post(repo, report):
    one = quality(repo, ["lsms_100pct"], backbone=FAST, one_copy=True)
    codec_rows = read_note(repo / "lsms_100pct")["splits"]["train"]["made"]
    assert report.column("lsms_100pct").posts == codec_rows > one.column("lsms_100pct").posts
    assert "one made post of each gold post" in one.to_markdown()
    assert one.column("lsms_100pct").posts <= one.column("gold train").posts


def test_perplexity_and_an_encoder_are_columns_where_they_are_named(repo, tmp_path):
    model, tokenizer = language_model(positions=64)
    model.transformer.wte.weight.data.zero_()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "uniform")
    found = quality(repo, ["eda_100pct"], backbone=FAST, language_model=str(tmp_path / "uniform"))
    assert found.column("eda_100pct").perplexity == pytest.approx(8)
    assert found.column("gold validation").perplexity == pytest.approx(8)
    assert "| perplexity, uniform | – | 8.00 | 8.00 | 8.00 |" in found.to_markdown()
    assert str(tmp_path) not in json.dumps(found.data), "no folder of this machine"


def test_the_verb_tells_the_perplexity_that_the_model_has(repo, tmp_path):
    """Beside the loss that transformers itself gives: the mean over the words after the beginning of each post."""
    import math

    import torch
    from datasets import load_dataset

    model, tokenizer = language_model(positions=64)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "tiny")
    call = [
        "quality",
        str(repo),
        "eda_100pct",
        "--backbone",
        FAST,
        "--language-model",
        str(tmp_path / "tiny"),
        "--json",
    ]
    done = CliRunner().invoke(cli.app, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = {column["name"]: column["perplexity"] for column in json.loads(done.stdout)["columns"]}
    rows = load_dataset(str(repo), "eda_100pct")["train"].remove_columns("image")
    for name, method in (("eda_100pct", "eda"), ("gold train", "gold")):
        total, n_words = 0.0, 0
        for row in rows:
            if row["method"] != method:
                continue
            ids = [2, *tokenizer(" ".join(row["tokens"]), add_special_tokens=False)["input_ids"]]  # 2 begins a text
            with torch.no_grad():
                total += float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1)
            n_words += len(ids) - 1
        assert told[name] == pytest.approx(math.exp(total / n_words), rel=1e-4)
    assert told["eda_100pct"] != pytest.approx(told["gold train"], rel=1e-6)
    assert told["two gold posts"] is None


def test_drawn_pictures_match_their_texts(tmp_path):
    sample = load_sample()
    splits = DatasetDict({split: sample[split].select(range(min(300, len(sample[split])))) for split in sample})
    out = published(splits, tmp_path / "aug", EDA(copies=1))
    found = quality(out, ["eda_100pct"], backbone="crf:iterations=2")
    scores = {column.name: column.text_image for column in found.columns}
    floor = scores.pop("two gold posts")
    assert min(scores.values()) > floor + 0.05


def test_relations_and_sets_without_pictures(sets, tmp_path):
    mre = sets["mre"]
    splits = DatasetDict(train=mre.select(range(7)), validation=mre.select(range(7, len(mre))))
    found = quality(published(splits, tmp_path / "mre"), ["lsms_100pct"])
    assert found.column("gold train").consistency == 1.0 > found.column("gold validation").consistency
    assert found.column("lsms_100pct").consistency > 0.8
    assert "| labels as predicted, relation_features |" in found.to_markdown()
    with pytest.raises(UsageError, match=r"has relations and no entities, and crf finds entities: take a backbone for"):
        quality(tmp_path / "mre", ["lsms_100pct"], backbone="crf")
    posts = [replace(p, images=()) for p in iterate_posts(sets["mner"], Codec(sets["mner"].features))]
    plain = as_dataset(posts, mner_features(images="none"))
    splits = DatasetDict(train=plain.select(range(14)), validation=plain.select(range(14, 20)))
    found = quality(published(splits, tmp_path / "plain"), ["lsms_100pct"], backbone=FAST)
    assert found.column("lsms_100pct").text_image is None
    assert "text and picture" not in found.to_markdown()
    with pytest.raises(UsageError, match="lsms_100pct: no post has a picture: leave --clip out"):
        quality(tmp_path / "plain", ["lsms_100pct"], clip=small_clip(tmp_path / "clip"))


def small_clip(folder):
    """Return a folder with a small open_clip model of random weights."""
    pytest.importorskip("open_clip")
    import open_clip
    import torch

    from hf_mner_aug.models.matching import clip

    torch.manual_seed(0)
    folder.mkdir()
    (folder / clip.CONFIG).write_text(json.dumps({"model_cfg": clip.SMALL, "preprocess_cfg": clip.PREPARED}))
    (folder / clip.WEIGHTS).write_bytes(clip._serialised(open_clip.CLIP(**clip.SMALL)))
    return str(folder)


def test_clip_scores_each_pair_by_the_model_itself(repo, tmp_path):
    from datasets import load_dataset

    from hf_mner_aug.models.matching.clip import load
    from hf_mner_aug.posts.texts import normalise_text

    folder = small_clip(tmp_path / "clip")
    found = quality(repo, ["eda_100pct"], backbone=FAST, clip=folder)
    train = load_dataset(str(repo), "eda_100pct")["train"]
    posts = [post for post in iterate_posts(train, Codec(train.features), images=True) if post.images]
    methods_of = dict(zip(train["id"], train["method"], strict=True))
    model = load(folder)
    for name, kind in (("gold train", "gold"), ("eda_100pct", "eda")):
        chosen = [post for post in posts if methods_of[post.id] == kind]
        texts = model.encode_text([normalise_text(post.tokens) for post in chosen])
        cosines = (texts * model.encode_image([post.images[0] for post in chosen])).sum(1)
        assert found.column(name).text_image == pytest.approx(float(cosines.mean()), abs=1e-6)
    assert "text and picture, clip |" in found.to_markdown()


def test_a_method_that_replaces_posts_is_measured_against_its_source(sets, tmp_path):
    from hf_mner_aug import AMIA

    sample = load_sample()
    pictured = {
        split: [i for i, image in enumerate(part.with_format("arrow")["image"].to_pylist()) if image]
        for split, part in sample.items()
    }  # the others stay as they are
    splits = DatasetDict({split: sample[split].select(pictured[split][:24]) for split in sample})
    out = published(splits, tmp_path / "aug", AMIA())
    with pytest.raises(UsageError, match="name it with --source"):
        quality(out, ["amia_100pct"], backbone=FAST)
    found = quality(out, ["amia_100pct"], backbone=FAST, source=splits)
    made, gold = found.column("amia_100pct"), found.column("gold train")
    assert made.similarity["TF-IDF"] == pytest.approx(1)
    assert (made.words, made.diversity, made.consistency) == (gold.words, gold.diversity, gold.consistency)
    assert made.faults == {"duplicate": 0, "leak_id": 0, "leak_text": 0, "leak_image": 0}, "the pictures are others"
    assert made.text_image != gold.text_image


# ---------------------------------------------------------------- the card


def test_the_table_stands_under_its_config_and_is_replaced(repo, report, tmp_path):
    card = repo / "README.md"
    before = card.read_text()
    report.write_card(repo)
    first = card.read_text()
    report.write_card(repo)
    assert card.read_text() == first
    places = [
        first.index(f"<!-- {name} -->")
        for name in (
            "end of config lsms_100pct",
            "quality of lsms_100pct",
            "config eda_100pct",
            "quality of eda_100pct",
        )
    ]
    assert places == sorted(places)
    assert report.to_markdown("lsms_100pct").strip() in first
    assert "| eda_100pct |" not in report.to_markdown("lsms_100pct")
    fingerprint = read_note(repo / "lsms_100pct")["content_fingerprint"]
    assert f"Measured on content `{fingerprint[:16]}`" in first
    other = quality(repo, ["lsms_100pct"], backbone=FAST, one_copy=True)
    other.write_card(repo)
    assert other.to_markdown("lsms_100pct").strip() in card.read_text()
    assert report.to_markdown("lsms_100pct").strip() not in card.read_text()
    assert report.to_markdown("eda_100pct").strip() in card.read_text()
    rest = card.read_text()
    for name in ("lsms_100pct", "eda_100pct"):
        begin, end = rest.index(f"\n\n<!-- quality of {name} -->"), f"<!-- end of quality of {name} -->"
        rest = rest[:begin] + rest[rest.index(end) + len(end) :]
    assert rest == before
    with pytest.raises(UsageError, match="there is no card"):
        report.write_card(tmp_path)


# ---------------------------------------------------------------- wrong input, and the verb


@pytest.mark.parametrize(
    ("configs", "options", "said"),
    [
        ([], {}, "name at least one augmented config"),
        (["nope"], {}, "configs made here are eda_100pct, lsms_100pct"),
        (["lsms_100pct"], {"backbone": "crff"}, "unknown backbone 'crff': did you mean 'crf'"),
        (["lsms_100pct"], {"backbone": "crf:boundary=true"}, "leave boundary=true out"),
        (["lsms_100pct"], {"language_model": "/no/such/model"}, "language model '/no/such/model': no usable folder"),
        (["lsms_100pct"], {"encoder": "/no/such/encoder"}, "encoder '/no/such/encoder': no usable folder"),
        (["lsms_100pct"], {"clip": "ViT-X"}, "ViT-X: expected a model of open_clip"),
    ],
)
def test_wrong_input_is_one_line(repo, configs, options, said):
    with pytest.raises(UsageError) as error:
        quality(repo, configs, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_without_made_posts_is_told(planted, monkeypatch):
    monkeypatch.setattr(published_rows, "drop_check", lambda *arguments: lambda post: "duplicate")
    splits = DatasetDict(train=as_dataset([Post("p0", *parse(HELD_OUT))], mner_features()))
    published(splits, planted, Planter(), config="empty")
    with pytest.raises(UsageError, match="empty has no made posts in train: there is nothing to measure"):
        quality(planted, ["empty"])


def test_the_verb_prints_the_table_or_json(repo, report):
    call = ["quality", str(repo), "lsms_100pct", "eda_100pct", "--backbone", FAST]

    def said(*arguments):
        done = CliRunner().invoke(cli.app, [*call, *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert said("--write-card") == report.to_markdown() + "\n"
    assert report.to_markdown("eda_100pct").strip() in (repo / "README.md").read_text()
    assert json.loads(said("--json")) == json.loads(json.dumps(report.data))
    assert report.to_table().row_count == len(report.rows(report.columns))


def test_nothing_heavy_is_imported_with_the_modules():
    code = (
        "import sys; from hf_mner_aug.studies import quality; from hf_mner_aug.cli import look; "
        "from hf_mner_aug.models.words import sentence; "
        "print([m for m in ('torch', 'datasets', 'numpy', 'sklearn', 'transformers', 'rich.console') "
        "if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
