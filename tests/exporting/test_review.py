"""Reviewed posts come back: what was accepted, corrected, rejected, and what the config, its note and its card say."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
import reviewing_tools as tools
from conftest import as_dataset, parse, picture
from datasets import DatasetDict, load_dataset
from hypothesis import given
from hypothesis import strategies as st

from hf_mner_aug import AMIA, LSMS, RMDA, augment, convert, export, hydrate, import_review, publish, show, verify
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt, DataError, RecipeMismatch, UnknownName, UsageError
from hf_mner_aug.exporting import doccano as doccano_format
from hf_mner_aug.exporting import label_studio as label_studio_format
from hf_mner_aug.exporting.answers import read_answers
from hf_mner_aug.exporting.layout import About, Outgoing
from hf_mner_aug.exporting.placing import place, unit_of
from hf_mner_aug.exporting.review import OWN_UNITS
from hf_mner_aug.publishing.cards import read_sections
from hf_mner_aug.publishing.folder import read_features, read_note
from hf_mner_aug.publishing.hub import _check_rights
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.readers.spans import Marked
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import Codec, Entity, Post, mner_features, outermost, read_provenance
from hf_mner_aug.studies.configs import read_config

CONFIG, NEW = "lsms_100pct", "lsms_100pct_reviewed"


@pytest.fixture(scope="module")
def published(splits, tmp_path_factory):
    out = tmp_path_factory.mktemp("repo") / "aug"
    publish(augment(splits, LSMS(copies=2), out=out, progress=False), out)
    for to in ("label-studio", "doccano"):
        export(out, CONFIG, to=to, out=out.parent / to)
    return out


@pytest.fixture
def repo(published, tmp_path):
    shutil.copytree(published, tmp_path / "aug")
    for to in ("label-studio", "doccano"):
        shutil.copytree(published.parent / to, tmp_path / to)
    return tmp_path / "aug"


def write(repo, text, name="reviewed.json"):
    path = repo.parent / name
    path.write_text(text, encoding="utf-8")
    return path


def rows_of(repo, config=CONFIG, split="train"):
    table = pq.read_table(next((repo / config).glob(f"{split}-*.parquet")))
    return {row["id"]: row for row in table.to_pylist()}


def posts_of(repo, config=CONFIG, split="train"):
    codec = Codec(read_features(repo / config))
    return {name: codec.to_post(row) for name, row in rows_of(repo, config, split).items()}


def made_ids(repo):
    return [name for name, row in rows_of(repo).items() if row["method"] != "gold"]


def entity_counts(repo, config):
    counts = {}
    for name, post in posts_of(repo, config).items():
        for entity in post.entities:
            counts.setdefault(entity.type, [0, 0])
            counts[entity.type][1] += 1
            counts[entity.type][0] += rows_of(repo, config)[name]["method"] == "gold"
    return counts


# ---------------------------------------------------------------- the way back


def decide(i, results):
    """Skip every fifth, reject another, take a label off a third, leave a fourth unopened."""
    if i % 5 == 1:
        return None
    if i % 5 == 2:
        return [*results, tools.REJECT]
    if i % 5 == 3:
        return results[1:]
    return "" if i % 5 == 4 else results


@pytest.mark.parametrize("tool", [tools.label_studio, tools.label_studio_min])
def test_posts_are_accepted_corrected_rejected_and_left_out(repo, tool):
    before, made = posts_of(repo), made_ids(repo)
    done = import_review(repo, CONFIG, write(repo, tool(repo.parent / "label-studio", decide)))
    after, rows = posts_of(repo, NEW), rows_of(repo, NEW)
    gold = [name for name in before if name not in made]
    kept = [name for i, name in enumerate(made) if i % 5 in (0, 3)]
    assert list(after) == gold + kept
    corrected = [name for i, name in enumerate(made) if i % 5 == 3 and before[name].entities]
    n_skipped = len([i for i in range(len(made)) if i % 5 == 1]) if tool is tools.label_studio else 0
    verdicts = done.review.made
    assert verdicts.corrected == len(corrected) > 2
    assert verdicts.accepted == len(kept) - len(corrected) > 3
    assert verdicts.rejected == len([i for i in range(len(made)) if i % 5 == 2]) + n_skipped
    assert verdicts.accepted + verdicts.corrected + verdicts.rejected + verdicts.untouched == len(made)
    for name in after:
        assert after[name].tokens == before[name].tokens
        assert after[name].images == before[name].images
        assert after[name].entities == before[name].entities[name in corrected :]
        old, new = (json.loads(row["provenance"]) for row in (rows_of(repo)[name], rows[name]))
        review = new.pop("review", None)
        assert new == old
        assert rows[name]["source_id"] == rows_of(repo)[name]["source_id"]
        assert rows[name]["method"] == rows_of(repo)[name]["method"]
        if name in gold:
            assert review is None
        elif name in corrected:
            first = [[e.start, e.end, e.type] for e in before[name].entities]
            assert review == {"verdict": "corrected", "before": first}
        else:
            assert review == {"verdict": "accepted"}
    for split in ("validation", "test"):
        assert rows_of(repo, NEW, split) == rows_of(repo, CONFIG, split)


def test_untouched_posts_stay_where_asked_for(repo):
    file = write(repo, tools.label_studio(repo.parent / "label-studio", decide))
    done = import_review(repo, CONFIG, file, untouched="keep")
    made = made_ids(repo)
    kept = [name for i, name in enumerate(made) if i % 5 in (0, 3, 4)]
    assert [name for name, row in rows_of(repo, NEW).items() if row["method"] != "gold"] == kept
    assert done.review.made.untouched == len([i for i in range(len(made)) if i % 5 == 4])
    assert "review" not in json.loads(rows_of(repo, NEW)[made[4]]["provenance"])


def test_doccano_posts_come_back(repo):
    def correct(i, label):
        if i == 0:
            return None  # deleted
        if i == 1:
            return [*label, [0, 1, "REJECT"]]
        return label[1:] if i == 2 else label

    before, made = posts_of(repo), made_ids(repo)
    done = import_review(repo, CONFIG, write(repo, tools.doccano(repo.parent / "doccano", correct), "all.jsonl"))
    after = posts_of(repo, NEW)
    assert made[0] not in after
    assert made[1] not in after
    assert after[made[2]].entities == before[made[2]].entities[1:] != before[made[2]].entities
    assert all(after[name].entities == before[name].entities for name in made[3:])
    verdicts = done.review.made
    assert (verdicts.untouched, verdicts.rejected, verdicts.corrected) == (1, 1, 1)
    assert done.review.tool == "Doccano"


def test_originals_that_were_exported_are_reviewed_too(repo):
    export(repo, CONFIG, to="doccano", out=repo.parent / "all", keep_original=True, splits=["train"])
    file = write(repo, tools.doccano(repo.parent / "all", lambda i, label: label[1:] if i < 2 else label), "all.jsonl")
    done = import_review(repo, CONFIG, file)
    before, after = posts_of(repo), posts_of(repo, NEW)
    first, second, third = list(before)[:3]
    assert [after[name].entities for name in (first, second)] == [before[n].entities[1:] for n in (first, second)]
    assert done.review.originals.corrected == sum(bool(before[n].entities) for n in (first, second)) > 0
    assert rows_of(repo, NEW)[third]["provenance"] == "{}"
    assert "posts that no method made" in str(done)
    note = read_note(repo / NEW)
    assert {kind: list(both) for kind, both in note["entities"].items()} == entity_counts(repo, NEW)


# ---------------------------------------------------------------- what the config says


def test_the_note_counts_what_is_there(repo):
    import_review(repo, CONFIG, write(repo, tools.label_studio(repo.parent / "label-studio", decide)))
    note, rows, old = read_note(repo / NEW), rows_of(repo, NEW), read_note(repo / CONFIG)
    made = [row for row in rows.values() if row["method"] != "gold"]
    assert (note["splits"]["train"]["gold"], note["splits"]["train"]["made"]) == (len(rows) - len(made), len(made))
    assert note["funnel"]["kept"] == len(made)
    dropped = {"rejected_in_review", "not_reviewed"}
    assert old["funnel"]["kept"] - len(made) == sum(note["funnel"]["dropped"][name] for name in dropped)
    assert {kind: list(both) for kind, both in note["entities"].items()} == entity_counts(repo, NEW)
    assert note["review"]["content_fingerprint"] == old["content_fingerprint"]
    assert note["review"]["of"] == CONFIG
    assert note["recipe"] == {**old["recipe"], "config": NEW}
    assert read_note(repo / CONFIG) == old


def test_the_card_says_who_decided_and_names_nobody(repo):
    file = write(repo, tools.label_studio(repo.parent / "label-studio", decide))
    done = import_review(repo, CONFIG, file)
    card = (repo / "README.md").read_text()
    section = " ".join(read_sections(card, "config")[f"config {NEW}"].split())
    verdicts = done.review.made
    assert f"**Reviewed by people** in Label Studio. Of the posts that lsms made for `{CONFIG}`" in section
    assert f"{verdicts.accepted} were accepted as they were, {verdicts.corrected} had their labels corrected" in section
    assert f"{verdicts.rejected} were rejected and left out" in section
    assert f"{verdicts.untouched} were not decided on and left out" in section
    assert "the reviewers decided which of them stay" in section
    assert "were not checked by hand" not in section
    assert "The reviewers are not named here" in section
    assert "not checked by hand" in read_sections(card, "config")[f"config {CONFIG}"]
    croissant = json.loads((repo / NEW / "croissant.json").read_bytes())
    assert "People reviewed the made posts in Label Studio" in croissant["rai:dataAnnotationProtocol"]
    told = b"".join(path.read_bytes() for path in repo.rglob("*") if path.is_file())
    for word in (b"ann.reviewer", b"post.org", b"completed_by"):
        assert word not in told
        assert word in file.read_bytes()
    import_review(repo, CONFIG, file, reviewers=["A. Reviewer", "<b>x</b>"], overwrite=True)
    section = read_sections((repo / "README.md").read_text(), "config")[f"config {NEW}"]
    assert "The reviewers are A. Reviewer, &lt;b&gt;x" in section


def test_the_config_loads_trains_shows_and_verifies(repo, tmp_path):
    import_review(repo, CONFIG, write(repo, tools.label_studio(repo.parent / "label-studio", decide)))
    loaded = load_dataset(str(repo), NEW)
    assert loaded["train"].num_rows == len(rows_of(repo, NEW))
    assert verify(repo, NEW).ok
    assert verify(repo, CONFIG).ok
    config = read_config(repo, NEW)
    assert len(config.gold["train"]) == 14
    assert len(config.rows(made=True)) == read_note(repo / NEW)["funnel"]["kept"]
    page = show(repo, NEW, out=tmp_path / "page.html").read_text()
    assert "corrected" in page
    with pytest.raises(UsageError, match=f"reviewed by people, which no rerun repeats.*{CONFIG}"):
        verify(repo, NEW, rerun=True)


def test_a_review_is_not_taken_for_a_recipe(repo, splits):
    import_review(repo, CONFIG, write(repo, tools.label_studio(repo.parent / "label-studio", decide)))
    again = Recipe.from_file(repo / NEW / "augmentation.json")
    assert again.config == CONFIG
    run = augment(splits, LSMS(copies=2), out=repo, config=NEW, progress=False)
    with pytest.raises(RecipeMismatch, match="holds a review by people"):
        publish(run, repo)


def test_a_post_is_withdrawn_from_both(repo):
    import_review(repo, CONFIG, write(repo, tools.label_studio(repo.parent / "label-studio", decide)))
    row = next(row for row in rows_of(repo, NEW).values() if row["method"] != "gold")
    gone = withdraw_posts(repo, [row["source_id"]])
    assert gone[NEW] >= 2
    assert row["source_id"] not in {r["source_id"] for r in rows_of(repo, NEW).values()}
    assert verify(repo, NEW).ok
    note = read_note(repo / NEW)
    assert {kind: list(both) for kind, both in note["entities"].items()} == entity_counts(repo, NEW)
    assert "Reviewed by people" in read_sections((repo / "README.md").read_text(), "config")[f"config {NEW}"]


def test_the_same_file_again_is_no_other_review_but_another_file_is(repo):
    file = write(repo, tools.label_studio(repo.parent / "label-studio", decide))
    first = import_review(repo, CONFIG, file)
    assert import_review(repo, CONFIG, file).content_fingerprint == first.content_fingerprint
    other = write(repo, tools.label_studio(repo.parent / "label-studio"), "other.json")
    with pytest.raises(RecipeMismatch, match="another review: choose another --config-name, or --overwrite"):
        import_review(repo, CONFIG, other)
    assert import_review(repo, CONFIG, other, config_name="second").config == "second"
    assert import_review(repo, CONFIG, other, overwrite=True).review.made.rejected == 0


def test_a_second_review_keeps_the_first(repo):
    import_review(repo, CONFIG, write(repo, tools.label_studio(repo.parent / "label-studio", decide)))
    export(repo, NEW, to="doccano", out=repo.parent / "second")
    file = write(repo, tools.doccano(repo.parent / "second", lambda i, label: []), "all.jsonl")
    done = import_review(repo, NEW, file)
    assert done.config == f"{NEW}_reviewed"
    notes = [json.loads(row["provenance"]).get("review") for row in rows_of(repo, done.config).values()]
    assert {(n["verdict"], n["earlier"]["verdict"]) for n in notes if n} >= {("corrected", "corrected")}


# ---------------------------------------------------------------- words and offsets


def test_labels_inside_words_are_extended_and_overlaps_left_out(repo):
    made = made_ids(repo)
    post = posts_of(repo)[made[0]]
    text = " ".join(post.tokens)
    second = len(post.tokens[0]) + 1

    def cut(i, results):
        if i:
            return results
        inside = tools.region(second, second + 1, text[second], "LOC")  # the first letter of the second word
        blank = tools.region(0, second, text[:second], "ORG")  # the first word, and the blank behind it
        shared = tools.region(0, len(text), text, "PER")
        return [inside, blank, shared] if len(post.tokens[1]) > 1 else results

    assert len(post.tokens[1]) > 1
    done = import_review(repo, CONFIG, write(repo, tools.label_studio(repo.parent / "label-studio", cut)))
    assert posts_of(repo, NEW)[made[0]].entities == (Entity(0, len(post.tokens), "PER"),)
    told = str(done)
    assert "labels that began or ended inside a word, and are on whole words now: 1" in told
    assert "labels that share a word with a longer one, and are left out: 2" in told
    assert "extended 1 labels" in " ".join((repo / "README.md").read_text().split())


def test_boxes_stay_with_the_same_words(sets, tmp_path):
    out = tmp_path / "aug"
    publish(augment(sets["gmner"], LSMS(copies=2), out=out, progress=False), out)
    export(out, CONFIG, to="label-studio", out=tmp_path / "ls")

    def rename(i, results):
        return [{**r, "value": {**r["value"], "labels": ["MISC"]}} for r in results]

    import_review(out, CONFIG, write(out, tools.label_studio(tmp_path / "ls", rename)))
    before, after = posts_of(out), posts_of(out, NEW)
    boxed = [name for name in made_ids(out) if any(e.boxes for e in before[name].entities)]
    assert boxed
    for name in boxed:
        assert [e.boxes for e in after[name].entities] == [e.boxes for e in before[name].entities]
        assert {e.type for e in after[name].entities} == {"MISC"}


def test_fine_types_come_back(sets, tmp_path):
    out = tmp_path / "aug"
    publish(augment(sets["fmnerg"], LSMS(copies=2), out=out, progress=False), out)
    export(out, CONFIG, to="doccano", out=tmp_path / "d")
    done = import_review(out, CONFIG, write(out, tools.doccano(tmp_path / "d"), "all.jsonl"))
    assert done.review.made.accepted == len(made_ids(out)) > 3
    assert {n: p.entities for n, p in posts_of(out, NEW).items()} == {n: p.entities for n, p in posts_of(out).items()}


@pytest.mark.parametrize(("unit", "own"), [("chars", "utf16"), ("utf16", "chars")])
def test_the_unit_is_found_by_the_words(unit, own):
    tokens = ["😂😂", "Adele", "sings", "in", "Rome"]
    places = {"chars": [(3, 8), (18, 22)], "utf16": [(5, 10), (20, 24)]}
    spans = [Marked(start, end, "PER") for start, end in places[unit]]
    found, told = unit_of([(tokens, spans)], " ", own)
    assert found == unit
    assert "2 of 2 labels that tell" in told
    assert unit_of([(["no", "emoji"], [Marked(0, 2, "PER")])], " ", own) == (own, "")


# ---------------------------------------------------------------- what is refused


def test_files_that_are_no_review_are_refused(repo, tmp_path):
    reviewed = tools.label_studio(repo.parent / "label-studio")
    cases = {
        "no.json": (None, UsageError, "no such file"),
        "empty.json": ("[]", UsageError, "holds no record"),
        "other.json": ('[{"a": 1}]', UsageError, "expected an export of Label Studio .* found a record of 'a'"),
        "text.json": ("hello", DataError, "not JSON"),
        "foreign.jsonl": ('{"text": "a", "label": []}', UsageError, "none of 1 records has a post_id"),
        "another.jsonl": ('{"text": "a", "label": [], "post_id": "x"}', UsageError, "none of the posts of lsms_100pct"),
        "type.json": (reviewed.replace('"PER"', '"Person"'), UnknownName, r"label \(post .*--types OLD=NEW"),
    }
    for name, (text, kind, told) in cases.items():
        path = repo.parent / name if text is None else write(repo, text, name)
        with pytest.raises(kind, match=told):
            import_review(repo, CONFIG, path)
    assert not (repo / NEW).exists()
    done = import_review(repo, CONFIG, repo.parent / "type.json", types={"Person": "PER"})
    assert done.review.made.accepted == len(made_ids(repo))


def test_a_file_that_was_cut_is_refused(repo):
    text = tools.doccano(repo.parent / "doccano")
    with pytest.raises(DataError, match=r"line \d+: not JSON .*: export it again"):
        import_review(repo, CONFIG, write(repo, text[:-30]))


def test_a_record_without_a_post_is_told(repo):
    tasks = json.loads(tools.label_studio(repo.parent / "label-studio"))
    tasks[1]["data"]["post_id"] = 5
    done = import_review(repo, CONFIG, write(repo, json.dumps(tasks)))
    assert done.review.made.untouched == 1
    assert list(done.notes.values()) == [["record 2, which has no post_id"]]


def test_two_decisions_on_one_post_are_refused(repo):
    lines = tools.doccano(repo.parent / "doccano").splitlines()
    twice = json.loads(lines[0]) | {"label": [[0, 1, "PER"]]}
    with pytest.raises(DataError, match="records 1 and 2 decide differently on post"):
        import_review(repo, CONFIG, write(repo, "\n".join([lines[0], json.dumps(twice)]), "all.jsonl"))


def test_of_several_annotations_the_ground_truth_or_the_latest_counts(repo):
    tasks = json.loads(tools.label_studio(repo.parent / "label-studio"))
    first = tasks[0]["annotations"][0]
    tasks[0]["annotations"].append({**first, "result": [tools.REJECT], "updated_at": "2026-12-01T00:00:00Z"})
    made = made_ids(repo)
    done = import_review(repo, CONFIG, write(repo, json.dumps(tasks)))
    assert made[0] not in posts_of(repo, NEW)
    assert f"of which the ground truth or the latest counts: 1, as {made[0]}" in str(done)
    first["ground_truth"] = True
    import_review(repo, CONFIG, write(repo, json.dumps(tasks)), overwrite=True)
    assert made[0] in posts_of(repo, NEW)


def test_of_two_annotators_in_json_min_the_later_counts(repo):
    records = json.loads(tools.label_studio_min(repo.parent / "label-studio"))
    records[0]["updated_at"] = "2026-11-30T08:00:00Z"
    records.append({**records[0], "verdict": "Reject", "annotation_id": 999, "updated_at": "2026-12-01T00:00:00Z"})
    done = import_review(repo, CONFIG, write(repo, json.dumps(records)))
    assert (done.review.made.rejected, made_ids(repo)[0] in posts_of(repo, NEW)) == (1, False)


def test_what_was_rejected_is_no_post_of_a_set(repo, tmp_path):
    file = write(repo, tools.label_studio(repo.parent / "label-studio", decide))
    report = convert("label-studio", file, tmp_path / "set")
    made = made_ids(repo)
    assert report.splits["train"].posts == len([i for i in range(len(made)) if i % 5 in (0, 3)])
    assert report.splits["train"].rejected == len([i for i in range(len(made)) if i % 5 in (1, 2)])


def test_a_backslash_in_a_word_is_no_end_of_a_line(tmp_path):
    about = About(config="c", types=("PER",), joiner=" ", several=False, folder="x")
    post = Post("1", ["C:\\new", "a\nb"], (Entity(0, 1, "PER"), Entity(1, 2, "PER")))
    label_studio_format.write(iter([Outgoing(post, "1", "train", "1", "lsms")]), tmp_path, about)
    text = tools.label_studio(tmp_path)
    for spelt in (text, text.replace('"text": "a\\nb"', '"text": "a\\\\nb"')):  # some versions write it so
        (tmp_path / "back").write_text(spelt)
        _, answers = read_answers(tmp_path / "back", "REJECT")
        assert [p[:3] for p in place(post.tokens, " ", answers["1"].spans, "chars")] == [(0, 1, "PER"), (1, 2, "PER")]


def test_a_post_with_another_text_counts_as_untouched(repo):
    tasks = json.loads(tools.label_studio(repo.parent / "label-studio"))
    tasks[0]["data"]["text"] += "!"
    done = import_review(repo, CONFIG, write(repo, json.dumps(tasks)))
    assert done.review.made.untouched == 1
    assert "posts whose text differs, which count as untouched: 1" in str(done)
    for task in tasks:
        task["data"]["text"] = "!"
    with pytest.raises(UsageError, match="decides on no post"):
        import_review(repo, CONFIG, write(repo, json.dumps(tasks), "b.json"))


def test_a_config_without_made_posts_or_with_changed_files_is_refused(repo):
    file = write(repo, tools.label_studio(repo.parent / "label-studio", lambda i, results: None))
    with pytest.raises(UsageError, match="leaves no made post"):
        import_review(repo, CONFIG, file)
    good = write(repo, tools.label_studio(repo.parent / "label-studio"), "good.json")
    with pytest.raises(UsageError, match="name another one with --config-name"):
        import_review(repo, CONFIG, good, config_name=CONFIG)
    with pytest.raises(UsageError, match=r"config name '\.\./x'"):
        import_review(repo, CONFIG, good, config_name="../x")
    with pytest.raises(UnknownName, match="untouched 'maybe'"):
        import_review(repo, CONFIG, good, untouched="maybe")
    note = read_note(repo / CONFIG)
    (repo / CONFIG / "augmentation.json").write_text(json.dumps({**note, "content_fingerprint": "0" * 64}))
    with pytest.raises(Corrupt, match="does not match its augmentation"):
        import_review(repo, CONFIG, good)
    assert sorted(path.name for path in repo.iterdir() if not path.name.startswith(".")) == ["README.md", CONFIG]


def test_posts_that_replace_gold_posts_are_reviewed_in_all_splits(sets, tmp_path):
    out = tmp_path / "aug"
    gold = DatasetDict(train=sets["mner"].select(range(16)), test=sets["mner"].select(range(16, 20)))
    publish(augment(gold, AMIA(), out=out, progress=False), out)
    config = next(path.parent.name for path in out.glob("*/augmentation.json"))
    exported = export(out, config, to="label-studio", out=tmp_path / "ls")
    assert set(exported.posts) == {"train", "test"}
    made = [i["data"]["post_id"] for i in json.loads((tmp_path / "ls" / "tasks.json").read_bytes())]
    file = write(out, tools.label_studio(tmp_path / "ls", lambda i, results: None if i == 0 else results))
    done = import_review(out, config, file)
    assert done.review.made.rejected == 1
    left = {**rows_of(out, done.config), **rows_of(out, done.config, "test")}
    assert set(left) == {*gold["train"]["id"], *gold["test"]["id"]} - {made[0]}
    assert verify(out, done.config).ok


# ---------------------------------------------------------------- other people's posts

KINDS = "handles,emails,phones"
GOLD = ["what a day to see [PER Lionel Messi] in [LOC Barcelona] with @ana", "we all love [PER Adele] so very much"]
POOL = [
    {"id": "901", "text": "so glad to see Lionel Messi with @carla99 today", "licence": "CC0-1.0"},
    {"id": "902", "text": "call 555-123-4567 for Adele tickets or dora@post.org"},
]


@pytest.fixture
def retrieved(tmp_path):
    posts = [Post(f"g{i}", *parse(text), (picture(i, "PNG"),)) for i, text in enumerate(GOLD)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(post) + "\n" for post in POOL))
    index(str(tmp_path / "pool.jsonl"), tmp_path / "corpus.db")
    method = RMDA(copies=1, filter=False, require="any", corpus=str(tmp_path / "corpus.db"), image=False, mask=KINDS)
    run = augment(DatasetDict(train=as_dataset(posts, mner_features())), method, out=tmp_path / "run", progress=False)
    publish(run, tmp_path / "whole")
    publish(run, tmp_path / "stubs", retrieved="ids-only")
    return tmp_path


def test_what_is_published_by_ids_is_not_exported(retrieved):
    with pytest.raises(UsageError, match="holds its retrieved posts by id only: put them back first with hf-mner-aug"):
        export(retrieved / "stubs", "rmda_100pct", to="spans", out=retrieved / "out")
    with pytest.raises(UsageError, match="holds its retrieved posts by id only"):
        import_review(retrieved / "stubs", "rmda_100pct", retrieved / "pool.jsonl")
    assert not (retrieved / "out").exists()


def test_masked_words_stay_masked_and_the_reader_is_told(retrieved):
    for to in ("label-studio", "doccano", "spans", "conll", "imgid", "spacy"):
        done = export(retrieved / "whole", "rmda_100pct", to=to, out=retrieved / to, keep_original=False)
        told = b"".join(path.read_bytes() for path in (retrieved / to).rglob("*") if path.is_file())
        for word in (b"carla99", b"555-123", b"dora@post"):
            assert word not in told
        assert "posts that other people wrote" in str(done)
        assert "posts that other people wrote" in (retrieved / to / "README.md").read_text()


def test_a_review_of_retrieved_posts_goes_out_by_ids_and_is_put_back(retrieved):
    whole = retrieved / "whole"
    export(whole, "rmda_100pct", to="doccano", out=retrieved / "d")

    def correct(i, label):
        return [[start, end, "ORG"] for start, end, _ in label] if i else label

    file = write(whole, tools.doccano(retrieved / "d", correct), "all.jsonl")
    done = import_review(whole, "rmda_100pct", file)
    stubs = import_review(whole, "rmda_100pct", file, config_name="by_ids", retrieved="ids-only")
    assert stubs.content_fingerprint == done.content_fingerprint
    note = read_note(whole / "by_ids")
    told = b"".join(path.read_bytes() for path in (whole / "by_ids").iterdir() if path.suffix in (".json", ".parquet"))
    section = read_sections((whole / "README.md").read_text(), "config")["config by_ids"]
    for word in ("carla99", "555-123", "tickets", "glad"):
        assert word.encode() not in told
        assert word not in section
    with pytest.raises(UsageError, match="posts that other people wrote"):
        _check_rights({done.config: read_note(whole / done.config)})
    _check_rights({"by_ids": note | {"source": {**note["source"], "license": "mit"}}})
    back = hydrate(whole, "by_ids", retrieved / "back", corpus=retrieved / "corpus.db")
    assert back.content_fingerprint == done.content_fingerprint
    assert back.missing == {}
    assert rows_of(retrieved / "back", "by_ids") == rows_of(whole, done.config)
    again = hydrate(whole, "by_ids", retrieved / "back", corpus=retrieved / "corpus.db")
    assert again.restored == back.restored
    assert read_note(retrieved / "back" / "by_ids")["review"] == read_note(whole / "by_ids")["review"]


def test_a_word_that_is_no_entity_any_more_is_masked(tmp_path):
    posts = [Post("g0", ["so", "glad", "to", "see", "@carla99", "today"], (Entity(4, 5, "PER"),))]
    posts += [Post("g1", *parse("we love [PER Adele]"))]
    (tmp_path / "pool.jsonl").write_text(
        json.dumps({"id": "9", "text": "I never met @carla99 before this week"}) + "\n"
    )
    index(str(tmp_path / "pool.jsonl"), tmp_path / "corpus.db")
    method = RMDA(copies=1, filter=False, require="any", corpus=str(tmp_path / "corpus.db"), image=False, mask=KINDS)
    run = augment(DatasetDict(train=as_dataset(posts, mner_features())), method, out=tmp_path / "run", progress=False)
    publish(run, tmp_path / "aug")
    export(tmp_path / "aug", "rmda_100pct", to="doccano", out=tmp_path / "d")
    file = write(tmp_path / "aug", tools.doccano(tmp_path / "d", lambda i, label: []), "all.jsonl")
    assert "@carla99" in file.read_text()
    done = import_review(tmp_path / "aug", "rmda_100pct", file)
    made = [row for row in rows_of(tmp_path / "aug", done.config).values() if row["method"] != "gold"]
    assert made[0]["tokens"][3] == "@user"
    stubs = import_review(tmp_path / "aug", "rmda_100pct", file, config_name="ids", retrieved="ids-only")
    back = hydrate(tmp_path / "aug", "ids", tmp_path / "back", corpus=tmp_path / "corpus.db")
    assert back.content_fingerprint == stubs.content_fingerprint


def test_only_retrieved_posts_go_out_by_ids(repo):
    file = write(repo, tools.label_studio(repo.parent / "label-studio"))
    with pytest.raises(UsageError, match="lsms retrieves no posts"):
        import_review(repo, CONFIG, file, retrieved="ids-only")


# ---------------------------------------------------------------- any text

WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6).filter(
    lambda word: word.strip(" \t\r\n\v\f")
)


@st.composite
def some_posts(draw):
    posts = []
    for i in range(draw(st.integers(1, 3))):
        tokens = draw(st.lists(WORD, min_size=1, max_size=7))
        entities, start = [], 0
        while start < len(tokens):
            end = draw(st.integers(start + 1, len(tokens)))
            if draw(st.booleans()):
                entities.append(Entity(start, end, draw(st.sampled_from(["PER", "LOC"]))))
            start = end
        posts.append(Outgoing(Post(f"p{i}", tokens, tuple(entities)), f"p{i}", "train", "g", "lsms"))
    return posts


@given(some_posts(), st.sampled_from(["", " "]), st.sampled_from(["Label Studio", "Label Studio MIN", "Doccano"]))
def test_every_entity_of_any_text_comes_back(tmp_path_factory, posts, joiner, tool):
    folder = tmp_path_factory.mktemp("round")
    about = About(config="c", types=("PER", "LOC"), joiner=joiner, several=False, folder="x")
    format_ = doccano_format if tool == "Doccano" else label_studio_format
    format_.write(iter(posts), folder, about)
    exported = {
        "Label Studio": tools.label_studio,
        "Label Studio MIN": tools.label_studio_min,
        "Doccano": tools.doccano,
    }
    (folder / "back").write_text(exported[tool](folder), encoding="utf-8")
    found, answers = read_answers(folder / "back", "REJECT")
    assert found == tool.removesuffix(" MIN")
    shown = [(post.post.tokens, answers[post.post.id].spans) for post in posts]
    unit, _ = unit_of(shown, joiner, OWN_UNITS[found])
    for post in posts:
        kept, lost = outermost(place(post.post.tokens, joiner, answers[post.post.id].spans, unit))
        assert [(p.start, p.end, p.label) for p in kept] == post.post.plain_spans()
        assert not lost
        assert all(one.whole for one in kept)


def test_reviewers_names_are_no_part_of_an_answer(repo):
    _, answers = read_answers(write(repo, tools.label_studio(repo.parent / "label-studio")), "REJECT")
    assert not re.search("Ann|Reviewer|post.org", repr(answers))


@pytest.mark.parametrize("review", [[], {}, {"verdict": 3}, {"verdict": "x", "before": [["a", 1, "PER"]]}])
def test_a_review_in_provenance_has_its_shape(review):
    with pytest.raises(DataError, match="post 1: provenance: review"):
        read_provenance(json.dumps({"review": review}), "post 1")
    assert read_provenance('{"review": {"verdict": "accepted"}}', "post 1")


@pytest.mark.parametrize("option", ["untouched", "offsets", "retrieved"])
def test_an_unknown_value_of_an_option_is_refused_before_anything_is_read(option):
    with pytest.raises(UnknownName, match="nothing-such"):
        import_review("no-folder", "no-config", "no-file", **{option: "nothing-such"})
