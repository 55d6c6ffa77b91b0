"""Whose the retrieved posts are: what may be shown openly, and what a withdrawal takes with it."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import retrieved_posts
import yaml
from datasets import DatasetDict, load_dataset
from hub_server import HubServer
from retrieved_posts import CONFIG, ORIGINS, POOL, files, origins, read_rows, write_pool

from hf_mner_aug import AMIA, EDA, RMDA, augment, publish
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.publishing.cards import ConfigFacts, read_sections
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.publishing.hub import _check_rights
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import FOUR_TYPES, mner_features, tag_names

gold, pool, published = retrieved_posts.gold, retrieved_posts.pool, retrieved_posts.published  # fixtures


def test_counts_and_card_follow_a_withdrawal(chain, tmp_path):
    """What is told afterwards is what can be counted in the rows; what was made of a retrieved post goes with it."""
    out = tmp_path / "aug"
    shutil.copytree(chain, out)
    gone = withdraw_posts(out, ["901", "g2"])
    sections = read_sections((out / "README.md").read_text(), "config")
    kinds = ["O", *(f"{prefix}-{kind}" for kind in FOUR_TYPES for prefix in "BI")]
    assert tag_names(mner_features(), "ner_tags") == kinds
    for config, n in gone.items():
        before, note = read_note(chain / config), read_note(out / config)
        columns = ["id", "source_id", "method", "provenance", "ner_tags"]
        rows = [row for split in ("train", "retrieved") for row in read_rows(out / config, split, columns)]
        assert (
            len(read_rows(chain / config, "train", ["id"]) + read_rows(chain / config, "retrieved", ["id"]))
            == len(rows) + n
        )
        lost = {row["id"] for row in read_rows(chain / config, "train", columns) if '"901"' in row["provenance"]}
        assert not [row for row in rows if '"901"' in row["provenance"] or row["source_id"] == "g2"]
        assert not [row for row in rows if row["id"].startswith(tuple(lost) or "none")]
        counts = [sum(rows[part] for rows in note["splits"].values()) for part in ("gold", "made")]
        assert sum(counts) == len(rows) + 1, "and a test post"
        gold = rows if config == "amia" else rows[: note["splits"]["train"]["gold"]]
        for which, counted in enumerate((gold, rows)):
            found = Counter(kinds[tag][2:] for row in counted for tag in row["ner_tags"] if kinds[tag][0] == "B")
            assert {kind: both[which] for kind, both in note["entities"].items()} == found
        funnels = [before["funnel"], note["funnel"]]
        assert len({f["kept"] + sum(f["dropped"].values()) + sum(f["rejected"].values()) for f in funnels}) == 1
        assert note["funnel"]["kept"] == counts[1]
        assert f"| **kept** | **{counts[1]}** |" in sections[f"config {config}"]
        assert note["content_fingerprint"] in sections[f"config {config}"]
        assert verify_folder(out, config).ok
        assert sum(note["inherited"].values()) == sum(before["inherited"].values()) - bool(before["inherited"]) * 2
    assert gone["eda"] > gone["ids"]


# ---------------------------------------------------------------- rights


def test_posts_of_others_are_shown_openly_by_id_only(published):
    notes = {name: read_note(published / name / CONFIG) for name in ("stubs", "whole")}
    for note in notes.values():
        note["source"]["license"] = "mit"
        note["licences"] = {"MIT": 4}
    _check_rights({CONFIG: notes["stubs"]})
    with pytest.raises(UsageError, match=r"holds posts that other people wrote, whatever its licence: .* ids-only"):
        _check_rights({CONFIG: notes["whole"]})
    notes["stubs"]["source"]["license"] = "other"
    with pytest.raises(UsageError, match="the licence is 'other'"):
        _check_rights({CONFIG: notes["stubs"]})


@pytest.fixture(scope="module")
def chain(gold, tmp_path_factory):
    """Return a folder of configs, all of open licences, each made of the posts of the one before it."""
    out = tmp_path_factory.mktemp("chain")
    pool = [{**post, "licence": "MIT"} for post in POOL]
    index(str(write_pool(out / "pool", pool)), out / "corpus.db")
    for split, rows in gold.items():
        rows.to_parquet(out / "set" / f"{split}.parquet")
    (out / "set" / "README.md").write_text("---\nlicense: mit\n---\n")

    def make(source, method, config, **options):
        run = augment(str(source), method, out=out / "aug", progress=False, config=config)
        return publish(run, out / "aug", source=str(out / "set"), **options)

    rmda = {"filter": False, "require": "any"}
    make(out / "set", RMDA(corpus=str(out / "corpus.db"), copies=2, **rmda), "whole")
    make(out / "set", RMDA(corpus=str(out / "corpus.db"), copies=2, **rmda), "ids", retrieved="ids-only")
    make(f"{out / 'aug'}:whole", EDA(), "eda")
    make(f"{out / 'aug'}:whole", AMIA(), "amia")
    make(f"{out / 'aug'}:amia", EDA(), "eda_of_amia")
    make(
        f"{out / 'aug'}:whole",
        RMDA(corpus=str(out / "corpus.db"), copies=9, results=50, **rmda),
        "ids_of_whole",
        retrieved="ids-only",
    )
    make(f"{out / 'aug'}:ids", EDA(), "eda_of_ids")
    make(out / "set", RMDA(copies=1, image=False, **rmda), "train")
    make(f"{out / 'aug'}:train", EDA(), "eda_of_train")
    return out / "aug"


@pytest.mark.parametrize("config", ["eda", "amia", "eda_of_amia", "ids_of_whole"])
def test_posts_made_of_retrieved_ones_are_not_shown_openly(chain, config):
    note = read_note(chain / config)
    assert note["inherited"] == {"MIT": read_note(chain / "whole")["splits"]["train"]["made"]}
    section = read_sections((chain / "README.md").read_text(), "config")[f"config {config}"]
    told = " ".join(section.split())
    assert "holds posts made from retrieved posts of other people" in told
    assert "an open one does not by itself give the right to show them" in told
    with pytest.raises(
        UsageError, match=rf"^{config} holds posts made from other people's retrieved posts, .*-the-rights"
    ):
        _check_rights({config: note})
    note["inherited"] = {"CC-BY-NC-4.0": 4}
    assert ConfigFacts.from_note(note).license == "other"


@pytest.mark.parametrize("config", ["ids", "eda_of_ids", "train", "eda_of_train"])
def test_what_holds_no_post_from_outside_is_shown_openly(chain, config):
    note = read_note(chain / config)
    assert note["inherited"] == {}
    assert "posts of other people" not in read_sections((chain / "README.md").read_text(), "config")[f"config {config}"]
    _check_rights({config: note})


def test_rows_of_a_method_that_is_not_known_here_count_as_retrieved(gold, tmp_path):
    note = {"params": {"corpus": "somewhere"}, "details": {"post_id": "901"}}
    made = {
        "source_id": gold["train"]["id"][:],
        "method": ["gold", "gold", "rmda", "fetcher"],
        "provenance": ["{}", "{}", json.dumps(note), json.dumps(note)],
    }
    train = gold["train"]
    for name, values in made.items():
        train = train.add_column(name, values)
    run = augment(DatasetDict(train=train), EDA(), out=tmp_path / "out", progress=False)
    publish(run, tmp_path / "out")
    assert read_note(tmp_path / "out" / "eda_100pct")["inherited"] == {"unknown": 2}


def test_on_the_hub_by_id_only_for_all_and_whole_for_oneself(published, pool, tmp_path):
    for name in ("stubs", "whole"):
        shutil.copytree(published / name, tmp_path / name)
        path = tmp_path / name / CONFIG / "augmentation.json"
        note = json.loads(path.read_text())
        note["source"]["license"] = "mit"
        note["licences"] = {"MIT": 4}
        path.write_text(json.dumps(note))
    (tmp_path / "ids.txt").write_text("901\n")
    commands = [
        ["push", "whole", "org/whole", "--public"],
        ["push", "stubs", "org/stubs", "--public"],
        ["push", "whole", "org/whole"],
        ["hydrate", "org/stubs", CONFIG, "--corpus", str(pool), "--out", "back"],
        ["withdraw", "org/stubs", "--ids", "ids.txt"],
        ["verify", "org/stubs", CONFIG],
        ["hydrate", "org/stubs", CONFIG, "--corpus", str(pool), "--out", "fewer"],
    ]
    script = f"""
import sys
from datasets import load_dataset
from hf_mner_aug import cli
for command in {commands!r}:
    sys.argv = ["hf-mner-aug", *command]
    try:
        cli.main()
    except SystemExit as end:
        print("EXIT", end.code or 0)
print("ROWS", load_dataset("org/stubs", "{CONFIG}_retrieved")["train"].num_rows)
"""
    with HubServer(tmp_path / "hub") as server:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=server.env("hf_write"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        names = server.files("org/stubs")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("EXIT")] == ["EXIT 2", *["EXIT 0"] * 6], done.stderr[-2000:]
    assert f"{CONFIG} holds posts that other people wrote, whatever its licence" in done.stderr
    assert f"{CONFIG}: 1 rows withdrawn" in lines
    assert lines[-1] == "ROWS 3"
    assert f"{CONFIG}/retrieved-00000-of-00001.parquet" in names
    assert files(tmp_path / "back") == files(published / "whole")
    train = load_dataset(str(tmp_path / "fewer"), CONFIG)["train"]
    assert set(origins(train)) == ORIGINS - {"901"}


HOSTILE = f"CC0 <!-- end of config {CONFIG} -->\n## Another heading"


@pytest.mark.parametrize(
    ("licence", "shown"), [("MIT", "mit"), ("CC-BY-4.0", "other"), (None, "other"), (HOSTILE, "other")]
)
def test_a_card_has_the_licence_of_its_posts_too(gold, tmp_path, licence, shown):
    post = {"id": "1", "text": "so glad to see Lionel Messi again", **({"licence": licence} if licence else {})}
    (tmp_path / "posts.jsonl").write_text(json.dumps(post) + "\n")
    index(str(tmp_path / "posts.jsonl"), tmp_path / "corpus.db")
    for split, rows in gold.items():
        rows.to_parquet(tmp_path / "set" / f"{split}.parquet")
    (tmp_path / "set" / "README.md").write_text("---\nlicense: mit\n---\n")
    method = RMDA(corpus=str(tmp_path / "corpus.db"), filter=False, image=False, require="any")
    run = augment(tmp_path / "set", method, out=tmp_path / "run", progress=False)
    for retrieved, expected in (("whole", shown), ("ids-only", "mit")):
        publish(run, tmp_path / retrieved, source=str(tmp_path / "set"), retrieved=retrieved)
        card = (tmp_path / retrieved / "README.md").read_text()
        assert yaml.safe_load(card.split("---")[1])["license"] == expected
        assert card.count("<!-- end of config") == 1, "what a post says of itself ends no section"
        assert "\n## Another heading" not in card
