"""Retrieved posts published by id only, put back, masked, and whose they are."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import retrieved_posts
import yaml
from conftest import as_dataset, parse, picture
from datasets import DatasetDict, get_dataset_config_names, load_dataset
from retrieved_posts import CONFIG, ORIGINS, POOL, files, made_by, origins, read_rows, write_pool
from web_server import WebServer

from hf_mner_aug import LSMS, RMDA, MixGen, augment, publish
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt, UnknownName, UsageError
from hf_mner_aug.models.search import Hit
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.hydration import hydrate, on_web
from hf_mner_aug.publishing.rows import published_splits
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.schema import Post, mner_features
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.storage.fingerprint import content_fingerprint
from hf_mner_aug.studies.configs import read_config
from hf_mner_aug.transform import Reject

gold, pool, published = retrieved_posts.gold, retrieved_posts.pool, retrieved_posts.published  # fixtures


# ---------------------------------------------------------------- stubs


def test_ids_only_holds_gold_whole_and_no_word_or_picture_of_others(published):
    stubs, whole = (load_dataset(str(published / name), CONFIG) for name in ("stubs", "whole"))
    assert set(stubs["train"]["method"]) == {"gold"}
    assert stubs["train"]["id"][:] == whole["train"]["id"][:4]
    assert stubs["test"].num_rows == 1
    assert get_dataset_config_names(str(published / "stubs")) == [CONFIG, f"{CONFIG}_retrieved"]
    rows = load_dataset(str(published / "stubs"), f"{CONFIG}_retrieved")["train"]
    made = whole["train"].select(range(4, whole["train"].num_rows))
    digests = ["tokens_sha256", "image_sha256"]
    assert rows.column_names == ["id", "ner_tags", "source_id", "method", "provenance", *digests]
    for name in ("id", "ner_tags", "source_id", "provenance"):
        assert rows[name][:] == made[name][:]
    assert rows.features["ner_tags"] == made.features["ner_tags"]
    assert set(origins(rows)) == ORIGINS
    words = {"carla99", "555-123-4567", "dora", "tickets", "erik", "gloomy", "unhappy"}
    assert words <= {word for row in made["tokens"] for word in " ".join(row).replace("@", " ").split()}
    told = json.dumps(rows[:]) + "".join(
        path.read_text() for path in (published / "stubs").rglob("*") if path.suffix in (".md", ".json")
    )
    for word in words:
        assert word not in told
        assert word.encode() not in b"".join(files(published / "stubs").values())


def test_the_fingerprint_is_that_of_the_whole_rows(published):
    stubs, whole = (read_note(published / name / CONFIG) for name in ("stubs", "whole"))
    assert stubs["content_fingerprint"] == whole["content_fingerprint"]
    assert stubs["digests"] == whole["digests"]
    assert stubs["recipe_fingerprint"] == whole["recipe_fingerprint"]
    assert content_fingerprint(load_source(f"{published / 'whole'}:{CONFIG}")) == stubs["content_fingerprint"]
    assert verify_folder(published / "stubs", CONFIG).ok


def test_verify_sees_a_changed_stub_and_a_rerun_makes_the_same(published, gold, tmp_path):
    for split, rows in gold.items():
        rows.to_parquet(tmp_path / "source" / f"{split}.parquet")
    found = verify_folder(published / "stubs", CONFIG, rerun=True, source=str(tmp_path / "source"))
    assert found.ok, found.difference
    shutil.copytree(published / "stubs", tmp_path / "stubs")
    path = tmp_path / "stubs" / CONFIG / "retrieved-00000-of-00001.parquet"
    table = pq.read_table(path)
    digests = table["tokens_sha256"].to_pylist()
    digests[1] = "0" * 64
    name = table["id"][1].as_py()
    table = table.set_column(table.column_names.index("tokens_sha256"), "tokens_sha256", [digests])
    pq.write_table(table, path)
    changed = verify_folder(tmp_path / "stubs", CONFIG)
    assert changed.difference == (f"train, row 5 (post {name}) is the first that differs; columns that differ: tokens")
    with pytest.raises(Corrupt, match=f"does not match its augmentation.json: train, row 5 .post {re.escape(name)}"):
        hydrate(tmp_path / "stubs", CONFIG, tmp_path / "out", posts="any.jsonl")


def test_the_card_says_whose_posts_they_are(published):
    stubs, whole = ((published / name / "README.md").read_text() for name in ("stubs", "whole"))
    for card in (stubs, whole):
        assert "Licences of the retrieved posts: CC0-1.0 1, unknown " in card
        assert "Limits and risks: the made posts are other people's" in card
        assert "written by a program" not in card
        assert "Nothing is masked in the retrieved posts." in card
    assert f"hf-mner-aug hydrate stubs {CONFIG} --corpus FILE --out DIR" in stubs
    assert "--retrieved ids-only --out DIR" in stubs
    assert "Made posts, with entities marked" not in stubs
    assert "Made posts, with entities marked" in whole
    assert "hydrate" not in whole
    kept_rows = read_note(published / "stubs" / CONFIG)["splits"]
    assert kept_rows["train"] == {**kept_rows["train"], "gold": 4, "made": 0}
    assert f"| retrieved | 0 | {kept_rows['retrieved']['made']} |" in stubs


def test_publishing_whole_again_takes_the_stubs_out(published, gold, pool, tmp_path):
    shutil.copytree(published / "stubs", tmp_path / "stubs")
    method = RMDA(corpus=str(pool), copies=2, filter=False, require="any", image=False)
    run = augment(gold, method, out=tmp_path / "run", progress=False)
    publish(run, tmp_path / "stubs")
    assert get_dataset_config_names(str(tmp_path / "stubs")) == [CONFIG]
    assert files(tmp_path / "stubs") == files(published / "whole")
    assert load_dataset(str(tmp_path / "stubs"), CONFIG)["train"].num_rows > 4
    data = yaml.safe_load((tmp_path / "stubs" / "README.md").read_text().split("---")[1])
    assert "retrieved" not in json.dumps(data)


def test_what_needs_the_words_says_so(published):
    with pytest.raises(UsageError, match=f"^{CONFIG} holds its retrieved posts by id only: .* hf-mner-aug hydrate"):
        read_config(published / "stubs", CONFIG)
    assert read_config(published / "whole", CONFIG).splits["train"].num_rows > 4


# ---------------------------------------------------------------- putting posts back


def test_hydrated_files_are_those_published_whole(published, pool, tmp_path):
    done = hydrate(published / "stubs", CONFIG, tmp_path / "back", corpus=pool)
    assert dict(done.missing) == {}
    assert str(done).startswith(f"{done.restored} of {done.restored} posts put back\n")
    assert done.content_fingerprint == done.expected
    assert files(tmp_path / "back") == files(published / "whole")
    notes = [read_note(folder / CONFIG) for folder in (tmp_path / "back", published / "whole")]
    assert notes[0].pop("hydrated_from") == notes[1]["content_fingerprint"]
    assert notes[0] == notes[1]
    assert load_dataset(str(tmp_path / "back"), CONFIG)["train"].num_rows == 4 + done.restored
    assert [path.name for path in tmp_path.iterdir()] == ["back"], "nothing is left beside it"


@pytest.mark.parametrize("chosen", [{}, {"text": False}, {"image": False, "mask": "handles,emails,phones"}])
def test_pictures_and_masks_come_back_too(gold, pool, tmp_path, chosen):
    made_by(gold, tmp_path, corpus=str(pool), **chosen)
    done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "back", corpus=pool)
    assert done.restored >= 3
    assert files(tmp_path / "back") == files(tmp_path / "whole")


def test_posts_of_a_second_generation_come_back_too(gold, pool, tmp_path):
    train = gold["train"].map(lambda row: {"id": f"{row['id']}+rmda.0"})
    made_by(DatasetDict(gold, train=train), tmp_path, corpus=str(pool), text=False)
    done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "back", corpus=pool)
    assert done.restored >= 3
    assert files(tmp_path / "back") == files(tmp_path / "whole")
    assert any("+rmda~2." in row["id"] for row in read_rows(tmp_path / "back" / CONFIG, "train", ["id"]))


@pytest.mark.parametrize("name", ["multi_image", "fmnerg", "mre"])
def test_other_sets_come_back_too(sets, tmp_path, name):
    rows = sets[name].select(range(min(12, sets[name].num_rows)))
    texts = ["oh so very glad to see Stephen Curry in Oakland once more", "RT @x: and Adele at Google again tonight"]
    posts = [{"id": str(i), "text": text, "images": [f"{i}.png", f"{i + 2}.png"]} for i, text in enumerate(texts)]
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(picture(i, "PNG")["bytes"])
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    index(str(tmp_path / "posts.jsonl"), tmp_path / "corpus.db")
    for image in (True, False):
        out = tmp_path / str(image)
        made_by(DatasetDict(train=rows), out, corpus=str(tmp_path / "corpus.db"), image=image)
        done = hydrate(out / "stubs", CONFIG, out / "back", posts=tmp_path / "posts.jsonl")
        assert done.restored == 2
        assert files(out / "back") == files(out / "whole")


def test_an_export_and_another_corpus_are_as_good(published, tmp_path):
    other = [{"id": "902", "text": "somebody else's post of this number, with Adele"}, *POOL, {"text": "one more post"}]
    export = write_pool(tmp_path / "export", other)
    index(str(export), tmp_path / "other.db")
    for i, place in enumerate(({"posts": export}, {"corpus": tmp_path / "other.db"})):
        done = hydrate(published / "stubs", CONFIG, tmp_path / f"out{i}", **place)
        assert files(done.folder) == files(published / "whole")


def test_posts_gone_or_edited_are_left_out_and_counted(published, tmp_path):
    changed = [post for post in POOL if post["id"] != "901"]
    changed[0] = {**changed[0], "text": "call 555-123-4567 for Adele TICKETS or dora@post.org"}
    changed[1] = {**changed[1], "text": changed[1]["text"] + " and more"}
    done = hydrate(published / "stubs", CONFIG, tmp_path / "out", posts=write_pool(tmp_path / "export", changed))
    train = load_dataset(str(tmp_path / "out"), CONFIG)["train"]
    assert set(origins(train)) == {"904"}
    assert done.missing == {"edited": 2, "gone": 1}
    assert str(done).startswith("1 of 4 posts put back; left out: edited 2, gone 1\n")
    assert done.content_fingerprint != done.expected
    note = read_note(tmp_path / "out" / CONFIG)
    assert note["funnel"]["kept"] == 1
    assert {"edited": 2, "gone": 1}.items() <= note["funnel"]["dropped"].items()
    assert note["licences"] == {"unknown": 1}
    assert "| dropped: gone | 1 |" in (tmp_path / "out" / "README.md").read_text()
    assert verify_folder(tmp_path / "out", CONFIG).ok


def test_another_picture_is_left_out(gold, pool, tmp_path):
    made_by(gold, tmp_path, corpus=str(pool))
    export = write_pool(tmp_path / "export", POOL)
    (tmp_path / "export" / "4.png").write_bytes(picture(1, "PNG")["bytes"])
    done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "out", posts=export)
    assert done.missing == {"other_picture": 1}


def test_from_the_web(published, tmp_path):
    by_url = {post["url"]: post for post in POOL if "url" in post}
    asked = []

    def fetch(urls):
        asked.extend(urls)
        return [
            Reject("login_wall") if url.endswith("902") else Hit(id="4", text=by_url[url]["text"], source="", score=0.0)
            for url in urls
        ]

    done = hydrate(published / "stubs", CONFIG, tmp_path / "out", look_up=on_web(fetch))
    assert sorted(asked) == sorted(by_url)
    assert done.missing == {"login_wall": 1, "no_url": 2}
    assert done.restored == 1


@pytest.mark.parametrize("image", [True, False])
def test_posts_of_the_web_are_fetched_as_they_are_today(gold, tmp_path, monkeypatch, image):
    texts = [
        "to Barcelona with Lionel Messi and @carla99",
        "all of us heard Adele sing",
        "gloomy rain in London once more",
    ]
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))  # answers on record are another test's
    monkeypatch.setenv("SERPER_API_KEY", "serper-key-0123456789")
    monkeypatch.setenv("HF_MNER_AUG_WEB", "delay=0,allow=127.0.0.1,timeout=5")
    monkeypatch.setattr("hf_mner_aug.models.search.fetching.SITE", "http://127.0.0.1:9/")  # nobody is there
    with WebServer(texts, kinds=("good", "four images", "gzip")) as server:

        def pictures():
            return sum(n for path, n in server.paths().items() if path.startswith("/i/"))

        made_by(gold, tmp_path, corpus=f"serper:{server.url}", image=image, mask="handles")
        done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "back", web=True)
        assert (done.restored, dict(done.missing)) == (3, {})
        assert files(tmp_path / "back") == files(tmp_path / "whole")
        assert pictures() == 2 * 3 * image, "one for each post, by the run and by hydrate"
        server.texts[1] += " again"
        server.kinds = ("good", "four images", "gone")
        done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "later", web=True)
        assert (done.restored, dict(done.missing)) == (1, {"edited": 1, "gone": 1})
        assert pictures() == (2 * 3 + 2) * image
    train = load_dataset(str(tmp_path / "later"), CONFIG)["train"]
    assert train["tokens"][4] == ["to", "Barcelona", "with", "Lionel", "Messi", "and", "@user"]
    details = json.loads(train["provenance"][4])["details"]
    assert details["url"].startswith(server.url)


def test_withdrawn_posts_leave_the_stubs_and_do_not_come_back(published, pool, tmp_path):
    shutil.copytree(published / "stubs", tmp_path / "stubs")
    n = read_note(published / "stubs" / CONFIG)["splits"]["retrieved"]["made"]
    assert withdraw_posts(tmp_path / "stubs", ["901", "g2"]) == {CONFIG: 3}
    note = read_note(tmp_path / "stubs" / CONFIG)
    assert (note["splits"]["train"]["gold"], note["splits"]["retrieved"]["made"]) == (3, n - 2)
    assert note["licences"] == {"unknown": n - 2}
    assert verify_folder(tmp_path / "stubs", CONFIG).ok
    done = hydrate(tmp_path / "stubs", CONFIG, tmp_path / "out", corpus=pool)
    assert done.content_fingerprint == done.expected == note["content_fingerprint"]
    train = load_dataset(str(tmp_path / "out"), CONFIG)["train"]
    assert not {"901", "904"} & set(origins(train))
    assert "g2" not in train["source_id"][:]
    assert withdraw_posts(tmp_path / "stubs", ORIGINS) == {CONFIG: n - 2}
    assert "retrieved" not in read_note(tmp_path / "stubs" / CONFIG)["splits"]
    assert verify_folder(tmp_path / "stubs", CONFIG).ok
    with pytest.raises(UsageError, match="holds no retrieved post: there is nothing to put back"):
        hydrate(tmp_path / "stubs", CONFIG, tmp_path / "again", corpus=pool)


# ---------------------------------------------------------------- masking


def test_masked_posts_are_counted_on_the_card(gold, pool, tmp_path):
    method = RMDA(corpus=str(pool), copies=2, filter=False, image=False, require="any", mask="phones,handles,emails")
    assert method.mask == ("handles", "emails", "phones")
    assert recipe_for(method) == recipe_for(replace(method, mask=("emails", "phones", "handles")))
    run = augment(gold, method, out=tmp_path / "out", progress=False)
    publish(run, tmp_path / "out")
    train = load_dataset(str(tmp_path / "out"), CONFIG)["train"]
    notes = [json.loads(note).get("details", {}) for note in train["provenance"]]
    texts = {note.get("post_id"): words for note, words in zip(notes, train["tokens"], strict=True)}
    assert texts["901"] == ["so", "glad", "to", "see", "Lionel", "Messi", "with", "@user", "today"]
    assert texts["902"] == ["call", "000-000-0000", "for", "Adele", "tickets", "or", "user", "@example", ".", "com"]
    assert texts["903"] == ["we", "all", "heard", "Adele", "sing", "it", "@", "user", "'", "s", "party"]
    assert train["tokens"][0][-1] == "@ana", "gold posts stay"
    assert read_note(tmp_path / "out" / CONFIG)["masked"] == {"emails": 1, "handles": 2, "phones": 1}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Masked in the retrieved posts, outside entities: emails 1, handles 2, phones 1." in card
    with pytest.raises(UnknownName, match="unknown kind to mask 'faces': valid are emails, handles, phones"):
        RMDA(mask="faces")


def test_a_masked_leak_is_a_leak(gold, tmp_path):
    text = "so glad to see Lionel Messi with @carla99 today"
    (tmp_path / "posts.jsonl").write_text(json.dumps({"id": "other", "text": text}) + "\n")
    index(str(tmp_path / "posts.jsonl"), tmp_path / "corpus.db")
    words, entities = parse("so glad to see [PER Lionel Messi] with [PER @carla99] today")
    leak = as_dataset([Post("t1", words, entities)], mner_features())
    splits = DatasetDict(train=gold["train"], test=leak)
    for chosen in ((), ("handles",)):
        method = RMDA(corpus=str(tmp_path / "corpus.db"), filter=False, image=False, require="any", mask=chosen)
        run = augment(splits, method, out=tmp_path / "out", progress=False)
        assert run.dataset.num_rows == 1
        assert publish(run, tmp_path / "out", overwrite=True).funnel["dropped"] == {"leak_text": 1}
        assert set(published_splits(run, tmp_path)["train"]["method"]) == {"gold"}


# ---------------------------------------------------------------- bad input, and the command line


def test_from_a_run_to_a_hydrated_folder(call, gold, pool, tmp_path):
    for split, rows in gold.items():
        rows.to_parquet(tmp_path / "set" / f"{split}.parquet")
    settings = ["corpus=" + str(pool), "filter=false", "image=false", "require=any", "mask=handles,phones"]
    options = ["--method", "rmda", *(word for setting in settings for word in ("--set", setting))]
    code, out, _ = call("augment", "set", *options, "--retrieved", "ids-only", "--out", "aug")
    assert code == 0
    fingerprint = out.split("content fingerprint ")[1].split()[0]
    assert call("verify", "aug", CONFIG)[1].splitlines()[-1] == "the same"
    code, out, _ = call("hydrate", "aug", CONFIG, "--corpus", pool, "--out", "back")
    assert (code, out.splitlines()) == (
        0,
        [
            "4 of 4 posts put back",
            f"content fingerprint {fingerprint} (as published)",
            f'load_dataset("back", "{CONFIG}")',
        ],
    )
    assert call("verify", "back", CONFIG)[0] == 0
    code, _, error = call("show", "aug", CONFIG)
    assert (code, error.count("\n")) == (2, 1)
    assert "holds its retrieved posts by id only" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stubs", CONFIG, "--corpus", "none.db"], "there is no corpus"),
        (["stubs", CONFIG, "--corpus", "stubs/README.md"], "README.md is not a corpus"),
        (["stubs", CONFIG, "--posts", "none.jsonl"], "there is no file none.jsonl"),
        (["stubs", CONFIG, "--posts", "half.jsonl"], "half.jsonl line 2 is not JSON"),
        (["stubs", CONFIG, "--posts", "others.jsonl"], f"others.jsonl has none of the posts of {CONFIG} (gone 4)"),
        (["stubs", CONFIG], "name one place to find the posts: --corpus FILE, --posts FILE, or --web"),
        (["stubs", CONFIG, "--corpus", "a.db", "--posts", "b.jsonl"], "name one place to find the posts"),
        (["stubs", "rmda_50pct", "--corpus", "a.db"], f"configs made here are {CONFIG}"),
        (["whole", CONFIG, "--corpus", "a.db"], f"{CONFIG} has whole posts: there is nothing to put back"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(call, published, tmp_path, arguments, said):
    for name in ("stubs", "whole"):
        shutil.copytree(published / name, tmp_path / name)
    lines = [json.dumps(post) for post in POOL]
    Path("half.jsonl").write_text(lines[0] + "\n" + lines[1][:30])
    Path("others.jsonl").write_text(json.dumps({"id": "1", "text": "none of them"}) + "\n")
    code, _, error = call("hydrate", *arguments, "--out", "out")
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not Path("out").exists()
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_a_config_that_another_method_is_said_to_have_retrieved(call, published, tmp_path):
    shutil.copytree(published / "stubs", tmp_path / "stubs")
    path = tmp_path / "stubs" / CONFIG / "augmentation.json"
    note = json.loads(path.read_text())
    note["recipe"] |= {"method": "mixgen", "version": MixGen.version, "params": {}}
    path.write_text(json.dumps(note))
    code, _, error = call("hydrate", "stubs", CONFIG, "--web", "--out", "out")
    assert (code, error) == (
        2,
        f"error: stubs/{CONFIG}/augmentation.json says that mixgen retrieved posts, which it does not: take the "
        "file that was published with the config\n",
    )
    assert not Path("out").exists()


def test_into_its_own_folder_or_another_recipes(published, gold, pool, tmp_path):
    shutil.copytree(published / "stubs", tmp_path / "stubs")
    with pytest.raises(UsageError, match="is published without the posts: name another folder"):
        hydrate(tmp_path / "stubs", CONFIG, tmp_path / "stubs", corpus=pool)
    made_by(gold, tmp_path / "other", corpus=str(pool), image=False, seed=1)
    with pytest.raises(UsageError, match="was made by recipe"):
        hydrate(published / "stubs", CONFIG, tmp_path / "other" / "whole", corpus=pool)
    done = hydrate(published / "stubs", CONFIG, tmp_path / "other" / "whole", corpus=pool, overwrite=True)
    assert files(done.folder) == files(published / "whole")


def test_ids_only_of_what_retrieves_nothing(call, gold, tmp_path):
    for split, rows in gold.items():
        rows.to_parquet(tmp_path / "set" / f"{split}.parquet")
    expected = "error: {} retrieves no posts: leave out --retrieved ids-only\n"
    for name in ("lsms", "rmda"):
        code, _, error = call("augment", "set", "--method", name, "--retrieved", "ids-only", "--out", "out")
        assert (code, error) == (2, expected.format(name))
    code, _, error = call("augment", "set", "--method", "lsms", "--retrieved", "ids", "--out", "out")
    assert (code, "valid are ids-only, whole" in error) == (2, True)
    assert not Path("out").exists()
    run = augment(gold, LSMS(copies=1), out=tmp_path / "out", progress=False)
    with pytest.raises(UsageError, match="lsms retrieves no posts"):
        publish(run, tmp_path / "out", retrieved="ids-only")
    publish(run, tmp_path / "out")
    assert read_note(tmp_path / "out" / "lsms_100pct")["retrieved"] == ""
    with pytest.raises(UsageError, match="has whole posts"):
        hydrate(tmp_path / "out", "lsms_100pct", tmp_path / "back", posts="posts.jsonl")


def test_a_run_that_found_nothing(gold, tmp_path):
    (tmp_path / "posts.txt").write_text("nobody here\n")
    index(str(tmp_path / "posts.txt"), tmp_path / "corpus.db")
    stubs, _ = made_by(gold, tmp_path, corpus=str(tmp_path / "corpus.db"), image=False)
    assert stubs.funnel["kept"] == 0
    assert get_dataset_config_names(str(tmp_path / "stubs")) == [CONFIG]
    assert load_dataset(str(tmp_path / "stubs"), CONFIG)["train"].num_rows == 4
    assert verify_folder(tmp_path / "stubs", CONFIG).ok


def test_killed_while_writing_nothing_is_half_there(published, pool, tmp_path):
    script = f"""
import os
import hf_mner_aug.publishing.hydration as hydration
hydration.fingerprint_of = lambda *arguments: os._exit(9)
hydration.hydrate({str(published / "stubs")!r}, {CONFIG!r}, {str(tmp_path / "out")!r}, corpus={str(pool)!r})
"""
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, timeout=120)
    assert done.returncode == 9
    assert not (tmp_path / "out").exists()
    again = hydrate(published / "stubs", CONFIG, tmp_path / "out", corpus=pool)
    assert files(again.folder) == files(published / "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
