"""A table of a paper on a machine: what is missing is told, what can run is put beside the paper's figures."""

import gc
import importlib.util
import json
import re
from types import SimpleNamespace

import pytest
from datasets import DatasetDict

import hf_mner_aug
from hf_mner_aug import cli
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.pages.predictions import read_said
from hf_mner_aug.replication import preflight
from hf_mner_aug.replication.manifests import Cell, manifest_names, open_manifest
from hf_mner_aug.replication.page import OF_A_RUN, Table
from hf_mner_aug.replication.predicted import _said
from hf_mner_aug.replication.preflight import SMOKE, Choices, plan
from hf_mner_aug.sample import load_sample
from hf_mner_aug.schema import Codec
from hf_mner_aug.studies.tasks import ELSEWHERE, ENTITIES, HIDDEN, SHOWN, Grounded, Relations
from hf_mner_aug.transform import iterate_posts

CRF = "crf:iterations=10"
UNMEASURED = "perplexity: not measured in a smoke run"
TABLES = [(paper, table) for paper, tables in manifest_names().items() for table in tables]
# A few cells of each table, which take seconds; test_every_table_runs_through takes all.
QUICK = {
    ("amia", "table1"): ["umt@t15"],
    ("amia", "table2"): ["umt+amia@t15"],
    ("amia", "table3"): ["umt+synthesised@t15_mismatched"],
    ("amia", "table4"): ["hemingway"],
    ("gmda", "table1"): ["train@t15"],
    ("gmda", "table2"): ["mmt5@t15_10pct"],
    ("gmda", "table3"): ["mmt5+eda"],
    ("gmda", "table4"): ["h_index@gmner"],
    ("gmda", "table5"): ["h_index"],
    ("gmda", "table6"): ["federer"],
    ("gmda", "table7"): ["gmda@t15"],
    ("iie4mner", "main"): ["iie4mner@t15"],
    ("memory_hard", "ablations"): ["hvpnet+memory_hard"],
    ("memory_hard", "main"): ["hvpnet@t15"],
    ("memory_hard", "share"): ["hvpnet@t15", "amnet@t15"],
    ("rmda", "figure4"): ["manchester"],
    ("rmda", "table1"): ["bert+rmda@t15"],
    ("rmda", "table2"): ["umt+rmda@t15"],
    ("rmda", "table3"): ["rmda@t15"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of sets: a Twitter-2015 that is another release, with the ids of a tenth of it."""
    folder = tmp_path_factory.mktemp("sets")
    whole = load_sample()
    sizes = {"train": 40, "validation": 10, "test": 30}
    small = DatasetDict({split: whole[split].select(range(n)) for split, n in sizes.items()})
    (folder / "twitter2015").mkdir()
    for split, rows in small.items():
        rows.to_parquet(folder / "twitter2015" / f"{split}.parquet")
    ids = folder / "twitter2015_lowres" / "10pct"
    ids.mkdir(parents=True)
    (ids / "train.txt").write_text("\n".join(small["train"]["id"][:30]), encoding="utf-8")
    (ids / "dev.txt").write_text("\n".join(small["validation"]["id"][:8]), encoding="utf-8")
    return folder


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(preflight, "gpu_memory", lambda: 0)


def lacking(paper, table, data, tmp_path, **chosen):
    return plan(open_manifest(paper, table), Choices(data, tmp_path, **chosen))


def test_what_a_cell_lacks_is_named_with_how_to_get_it(data, tmp_path, no_gpu):
    found = lacking("gmda", "table2", data, tmp_path, models={"mmt5": CRF})
    told = {str(cell): "; ".join(reasons) for cell, reasons in found.lacking.items()}
    assert Cell("mmt5", "t15_10pct") in found.runnable
    assert "no ids of Twitter-15 20%: expected twitter2015_lowres/20pct/train.txt" in told["mmt5@t15_20pct"]
    assert "Twitter-GMNER (Yu et al. 2023) is not there" in told["h_index@gmner_10pct"]
    assert told["mmt5+gmda@t15_10pct"]  # neither weights nor a GPU
    found = lacking("rmda", "table1", data, tmp_path, models={"bert": CRF})
    told = {str(cell): "; ".join(reasons) for cell, reasons in found.lacking.items()}
    assert "SNAP (Lu et al. 2018) is not there: on request" in told["bert@snap"]
    assert "rmda needs --set rmda.corpus=…: serper" in told["bert+rmda@t15"]
    assert "llm_da needs --set llm_da.engine=…" in told["bert+llm_da@t15"]


def test_a_key_and_weights_that_are_missing_are_named(data, tmp_path, no_gpu, monkeypatch):
    monkeypatch.delenv("SERPER_API_KEY", raising=False)
    found = lacking(
        "rmda", "table2", data, tmp_path, preset="embedded", params={"rmda": {"corpus": "serper"}}, models={"umt": CRF}
    )
    told = "; ".join(found.lacking[Cell("umt+rmda", "t15")])
    assert "the key in SERPER_API_KEY, which is not set" in told
    found = lacking("rmda", "table1", data, tmp_path)
    assert "weights" in "; ".join(found.lacking[Cell("bert", "t15")])  # no Hub answers in tests


def test_another_release_of_a_set_is_noticed(data, tmp_path, no_gpu):
    found = lacking("rmda", "table1", data, tmp_path, models={"bert": CRF})
    told = "\n".join(found.notes)
    assert "Tw-15: 30 test posts, 3357 in the paper" in told
    assert "Tw-15: 30 posts in test, 3257 in the files as published: this is another release" in told
    assert "Tw-17" not in told  # it is not there


def test_a_model_that_would_be_measured_otherwise_than_in_the_table_does_not_run(data, tmp_path, no_gpu):
    whole = load_sample("gmner")
    folder = tmp_path / "sets" / "twitter_gmner"
    folder.mkdir(parents=True)
    for split, rows in whole.items():
        rows.select(range(10)).to_parquet(folder / f"{split}.parquet")
    tiny = "h_index:encoder=tiny,tower=tiny,freeze_vision=false"
    models = {"h_index": CRF, "tiger": tiny}
    found = lacking("gmda", "table4", tmp_path / "sets", tmp_path / "out", models=models)
    told = "; ".join(found.lacking[Cell("h_index", "gmner")])
    assert told.startswith("model h_index: entities would be measured, and the table has")
    assert Cell("tiger", "gmner") in found.runnable


def test_unknown_names_are_refused(data, tmp_path):
    with pytest.raises(UnknownName, match="mmt5"):
        lacking("gmda", "table2", data, tmp_path, models={"mmt55": CRF})
    with pytest.raises(UnknownName, match="gmda"):
        lacking("gmda", "table2", data, tmp_path, params={"gmdaa": {}})
    with pytest.raises(UsageError, match="--data"):
        hf_mner_aug.replicate("gmda", "table2", out=tmp_path)
    with pytest.raises(UsageError, match="none: expected the folder of the sets, found none"):
        hf_mner_aug.replicate("gmda", "table2", data=tmp_path / "none", out=tmp_path, dry_run=True)


def test_a_table_is_run_and_put_beside_the_papers_figures(data, tmp_path, no_gpu):
    chosen = {"data": data, "out": tmp_path, "seeds": (0,), "progress": False, "models": {"mmt5": CRF}}
    cells = ["mmt5@t15_10pct", "mmt5+mixgen@t15_10pct", "h_index@gmner_10pct"]
    made = hf_mner_aug.replicate("gmda", "table2", cells=cells, **chosen)
    gold, mixed, missing = made.data["cells"]
    assert gold["paper"]["f1"] == 63.88
    assert gold["difference"]["f1"] == pytest.approx(gold["here"]["f1"]["mean"] - 63.88)
    assert gold["p"] is None
    assert mixed["against"] == "mmt5"
    assert 0 < mixed["p"] <= 1
    assert mixed["delta"] == pytest.approx(mixed["here"]["f1"]["mean"] - gold["here"]["f1"]["mean"])
    assert mixed["posts"] == 30
    assert not missing["here"]
    assert "is not there" in missing["reason"]
    assert f"{CRF} in place of mmt5" in made.data["deviations"]
    assert any(told.startswith("mixgen deviates: pictures are whole") for told in made.data["deviations"])
    folder = tmp_path / "gmda-table2"
    assert json.loads((folder / "table.json").read_text(encoding="utf-8")) == made.data
    page = (folder / "table.md").read_text(encoding="utf-8")
    assert "| MMT5 + mixGen | Twitter-15 10% | f1 | 65.87 |" in page
    assert str(tmp_path) not in page
    before = {path: path.stat().st_mtime_ns for path in folder.glob("run.studies/*/cells/*.json")}
    assert len(before) == 4  # gold, shuffled, augmented, repeated
    again = hf_mner_aug.replicate("gmda", "table2", cells=cells, **chosen)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("run.studies/*/cells/*.json")} == before
    assert again.data["cells"] == made.data["cells"]


def test_rows_that_cannot_be_made_have_their_reason_and_others_run(data, tmp_path, no_gpu):
    made = hf_mner_aug.replicate(
        "rmda", "table3", data=data, out=tmp_path, preset="embedded", cells=["*@t15"], progress=False
    )
    found = {cell["cell"]: cell for cell in made.data["cells"]}
    assert found["llm_da@t15"]["here"]["usd"] == {"mean": 0.0, "sd": None}
    assert found["rmda@t15"]["here"] or "no post was made" in found["rmda@t15"]["reason"]
    again = hf_mner_aug.replicate(
        "rmda", "table3", data=data, out=tmp_path, preset="embedded", cells=["llm_da@t15"], progress=False
    )
    assert again.data["cells"][0]["here"] == found["llm_da@t15"]["here"]  # its posts were made the first time


def test_a_preset_depends_on_the_set_and_a_target_on_the_model(data, tmp_path, no_gpu):
    models = {"hvpnet": CRF}
    found = lacking("memory_hard", "ablations", data, tmp_path, preset="embedded", models=models)
    place = SimpleNamespace(name="twitter2017_100pct", set="twitter2017")
    assert found.recipe("no_tree", place).params["target"] == CRF
    own = {"no_tree": {"target": "crf:iterations=3"}}
    chosen = Choices(data, tmp_path, "embedded", params=own, models=models)
    assert plan(found.manifest, chosen).recipe("no_tree", place).params["target"] == "crf:iterations=3"
    (tmp_path / "sets" / "twitter2017").mkdir(parents=True)
    for split, rows in load_sample().items():
        rows.select(range(8)).to_parquet(tmp_path / "sets" / "twitter2017" / f"{split}.parquet")
    found = lacking("memory_hard", "ablations", tmp_path / "sets", tmp_path, preset="embedded", models=models)
    told = {str(cell): "; ".join(reasons) for cell, reasons in found.lacking.items()}
    assert told["no_filters@t17"].startswith("no_filters is about judge, caption_similarity, encoder, which the preset")
    assert "no_tree@t17" not in told
    found = lacking("gmda", "table2", data, tmp_path)
    with pytest.raises(UsageError):  # the presets of the paper, whose weights no Hub gives in tests
        found.recipe("gmda", place)
    presets = found.manifest.augmentations["gmda"].presets
    assert presets == {"twitter_gmner": "paper_gmner", "twitter_fmnerg": "paper_gmner"}


def test_an_ablation_without_its_whole_method_has_no_difference(tmp_path, no_gpu):
    chosen = {"out": tmp_path, "smoke": True, "progress": False, "models": {"h_index": CRF}}
    alone = hf_mner_aug.replicate("gmda", "table5", cells=["no_image"], **chosen).data["cells"][0]
    assert alone["here"]["f1"]["sd"] is None
    assert (alone["delta"], alone["p"], alone["against"]) == (None, None, "")
    made = hf_mner_aug.replicate("gmda", "table5", cells=["h_index+gmda", "no_image"], **chosen)
    whole, without = made.data["cells"]
    assert without["against"] == "h_index+gmda"
    assert without["delta"] == pytest.approx(without["here"]["f1"]["mean"] - whole["here"]["f1"]["mean"])
    assert whole["against"] == "h_index"


def test_models_without_chance_are_one_training_and_a_lower_bound_has_no_difference(data, tmp_path, no_gpu):
    models = {"hvpnet": CRF, "mkgformer": "crf:iterations=3"}
    made = hf_mner_aug.replicate(
        "memory_hard", "share", data=data, out=tmp_path, cells=["*@t15"], models=models, progress=False
    )
    first = made.data["cells"][0]
    assert first["seeds"] == 1
    assert first["here"]["share"]["sd"] is None
    assert first["paper"] == {"share": 30}
    assert first["difference"] == {}
    assert "| over 30.00 |" in made.to_markdown()


def test_an_example_is_taken_from_its_split(tmp_path, no_gpu):
    cells = ["hemingway"]
    made = hf_mner_aug.replicate("amia", "table4", out=tmp_path, smoke=True, cells=cells, progress=False).data["cells"]
    words = " ".join(load_sample()["test"][0]["tokens"])
    assert made[0]["texts"] == [f"original: {words}", f"amia: {words}"]  # the score is of the post's picture
    assert "matching_score" in made[0]["here"]


def test_the_page_has_the_papers_difference_and_remarks_on_its_figures():
    cell = {"row": "UMT", "column": "T17", "here": {"f1": {"mean": 84.0, "sd": None}}, "difference": {}, "delta": None}
    cell |= {"paper": {"delta": -0.71}, "printed": "84.69 in table 1", "at_least": False, "posts": 3, "seeds": 1}
    cell |= {"texts": [], "reason": ""}
    names = ("title", "source", "second_hand", "unread")
    page = Table({**dict.fromkeys(names, ""), "smoke": False, "cells": [cell], "deviations": [], "notes": []})
    text = page.to_markdown()
    assert "| 84.00 |  | -0.71 in the paper |  | 3 × 1 |" in text
    assert "- UMT, T17: 84.69 in table 1" in text


def test_other_parameters_make_a_config_anew_unless_people_have_reviewed_it(data, tmp_path, no_gpu):
    chosen = {"data": data, "out": tmp_path, "cells": ["mmt5+mixgen@t15_10pct"], "seeds": (0,), "progress": False}
    chosen |= {"models": {"mmt5": CRF}}
    first, again = [
        hf_mner_aug.replicate("gmda", "table2", params={"mixgen": {"weight": weight}}, **chosen).data["cells"][0]
        for weight in (0.6, 0.9)
    ]
    assert first["here"]
    assert again["here"], again["reason"]
    assert again["study"] != first["study"], "the study is of the posts that are there now"
    path = tmp_path / "gmda-table2" / "run" / "mixgen_twitter2015_10pct" / "augmentation.json"
    note = json.loads(path.read_text(encoding="utf-8"))
    review = {name: "x" for name in ("of", "content_fingerprint", "recipe_fingerprint", "file", "tool")}
    review |= {"made": {"accepted": 1}, "originals": {}, "keeps_untouched": True}
    path.write_text(json.dumps(note | {"review": review}), encoding="utf-8")
    made = hf_mner_aug.replicate("gmda", "table2", params={"mixgen": {"weight": 0.2}}, **chosen)
    assert "was reviewed by people: name another folder (--out)" in made.data["cells"][0]["reason"]


def test_seconds_are_those_of_the_parts_also_where_an_earlier_run_made_them(data, tmp_path, no_gpu):
    chosen = {"data": data, "out": tmp_path, "preset": "embedded", "cells": ["llm_da@t15"], "progress": False}
    first, again = [hf_mner_aug.replicate("rmda", "table3", **chosen).data["cells"][0]["here"] for _ in range(2)]
    (note,) = (tmp_path / "rmda-table3" / "run.runs").glob("*/run.json")
    seconds = json.loads(note.read_text(encoding="utf-8"))["seconds_in_parts"]
    funnel = json.loads((tmp_path / "rmda-table3/run/llm_da_twitter2015_100pct/augmentation.json").read_text())[
        "funnel"
    ]
    assert first["seconds"]["mean"] == pytest.approx(500 * seconds / funnel["made"])
    assert again == first


def test_no_path_of_this_machine_is_in_the_table(data, tmp_path, no_gpu):
    params = {"rmda": {"corpus": str(tmp_path / "me" / "corpus.db")}}
    chosen = {"data": data, "out": tmp_path / "out", "preset": "embedded", "progress": False}
    hf_mner_aug.replicate("rmda", "table3", cells=["*@t15"], params=params, **chosen)
    text = "".join((tmp_path / "out" / "rmda-table3" / f"table.{kind}").read_text() for kind in ("md", "json"))
    assert "there is no corpus corpus.db" in text
    assert str(tmp_path) not in text


def test_every_line_of_a_smoke_run_says_that_it_proves_nothing(tmp_path, no_gpu):
    models = dict.fromkeys(("umt", "maf", "bert_resnet_crf"), CRF)
    made = hf_mner_aug.replicate(
        "amia", "table1", out=tmp_path, smoke=True, models=models, cells=["umt", "bert"], progress=False
    )
    text = made.to_markdown()
    assert SMOKE in text
    ran = [line for line in text.splitlines() if line.startswith("| UMT |")]
    assert ran
    assert all(line.endswith("| proves no figure |") for line in ran)
    assert all(not cell["difference"] for cell in made.data["cells"])
    quoted = next(cell for cell in made.data["cells"] if cell["quoted"])
    assert quoted["reason"] == "the paper quotes this row from elsewhere"
    assert "--cells umt bert --" in made.data["command"], "the command is the one that was run"
    assert (tmp_path / "amia-table1" / "smoke.json").is_file()
    assert not (tmp_path / "amia-table1" / "table.json").exists()


def test_a_dry_run_trains_nothing(data, tmp_path, no_gpu):
    lines = []
    found = hf_mner_aug.replicate(
        "gmda", "table2", data=data, out=tmp_path, dry_run=True, models={"mmt5": CRF}, say=lines.append
    )
    assert found.trainings() > 0
    assert "cells can run here" in lines[0]
    assert " not: Twitter-GMNER (Yu et al. 2023) is not there" in lines[0]
    assert not (tmp_path / "gmda-table2").exists()


def test_a_dry_run_reads_a_raw_set_without_writing(tmp_path, no_gpu):
    raw = tmp_path / "sets" / "twitter2015"
    (raw / "images").mkdir(parents=True)
    post = "IMGID:{}\nso\tO\nParis\tB-LOC\n\n"
    for i, name in enumerate(("train", "valid", "test")):
        (raw / f"{name}.txt").write_text("".join(post.format(10 * i + k) for k in range(5)), encoding="utf-8")
    (raw / "images" / "1.jpg").write_bytes(b"it is not read")
    ids = tmp_path / "sets" / "twitter2015_lowres" / "10pct"
    ids.mkdir(parents=True)
    (ids / "train.txt").write_text("1\n2", encoding="utf-8")
    (ids / "dev.txt").write_text("11", encoding="utf-8")
    chosen = {"data": tmp_path / "sets", "out": tmp_path / "out", "models": {"mmt5": CRF}, "cells": ["mmt5@t15_10pct"]}
    found = hf_mner_aug.replicate("gmda", "table2", dry_run=True, **chosen)
    assert not (tmp_path / "out").exists()
    (cell,) = found.runnable
    place = found.sets.place(found.column(cell))
    assert (len(place.splits["train"]), len(place.splits["test"])) == (2, 5)
    assert place.pictured == 1, "the files in the folder of pictures are counted"
    temporary = found.sets._temporary
    assert temporary.is_dir()
    del found, place
    gc.collect()
    assert not temporary.exists()


def test_the_files_of_a_table_keep_the_cells_of_runs_before(data, tmp_path, no_gpu):
    chosen = {"data": data, "out": tmp_path, "progress": False}
    first = hf_mner_aug.replicate(
        "gmda", "table2", cells=["mmt5@t15_10pct", "mmt5+mixgen@t15_10pct"], models={"mmt5": CRF}, seeds=(0,), **chosen
    )
    other = hf_mner_aug.replicate(
        "gmda", "table2", cells=["mmt5@t15_10pct", "mmt5@t15_20pct"], models={"mmt5": "crf:iterations=3"}, **chosen
    )
    whole = Table.read(tmp_path / "gmda-table2").data
    by_name = {cell["cell"]: cell for cell in whole["cells"]}
    assert [*by_name] == ["mmt5@t15_10pct", "mmt5@t15_20pct", "mmt5+mixgen@t15_10pct"], "in the paper's order"
    assert by_name["mmt5@t15_10pct"] == other.data["cells"][0], "what was run again is the last run's"
    assert by_name["mmt5+mixgen@t15_10pct"] == {**first.data["cells"][1], "run": 1}
    assert whole["earlier"] == [{name: first.data[name] for name in OF_A_RUN}]
    page = (tmp_path / "gmda-table2" / "table.md").read_text(encoding="utf-8")
    assert "Deviation (run 1): crf:iterations=3 in place of mmt5" in page
    assert f"Deviation (run 2): {CRF} in place of mmt5" in page
    assert page.count("\n$ hf-mner-aug replicate gmda table2 ") == 2
    mixed = next(line for line in page.splitlines() if line.startswith("| MMT5 + mixGen |") and "| f1 |" in line)
    assert mixed.endswith("| 30 × 1 | 2 |")
    hf_mner_aug.replicate(
        "gmda", "table2", cells=["mmt5@t15_10pct", "mmt5@t15_20pct"], models={"mmt5": "crf:iterations=3"}, **chosen
    )
    assert Table.read(tmp_path / "gmda-table2").data == whole, "what finds nothing new has no cost, machine or command"
    # A cell that cannot run any more keeps what was found; a run without cells of its own is left out.
    hf_mner_aug.replicate("gmda", "table2", cells=["mmt5@t15_10pct"], models={"mmt5": CRF}, seeds=(0,), **chosen)
    again = Table.read(tmp_path / "gmda-table2").data
    assert [cell["run"] for cell in again["cells"]] == [0, 1, 2]
    assert again["cells"][1]["reason"].startswith("no ids of Twitter-15 20%")
    path = tmp_path / "gmda-table2" / "table.json"
    path.write_text(json.dumps({**again, "cells": [{"cell": "mmt5@t15_10pct"}]}), encoding="utf-8")
    hf_mner_aug.replicate("gmda", "table2", cells=["mmt5@t15_10pct"], models={"mmt5": CRF}, seeds=(0,), **chosen)
    assert len(Table.read(tmp_path / "gmda-table2").data["cells"]) == 1, "what cannot be read is written anew"


@pytest.mark.parametrize("engine", ["pool:num_proc=2", pytest.param("ray:workers=1", marks=pytest.mark.slow)])
def test_other_engines_find_the_same(engine, data, tmp_path, no_gpu):
    if engine.startswith("ray") and importlib.util.find_spec("ray") is None:
        pytest.skip("the extra ray is not installed")
    cells = ["mmt5@t15_10pct", "mmt5+mixgen@t15_10pct"]
    chosen = {"data": data, "cells": cells, "seeds": (0,), "progress": False, "models": {"mmt5": CRF}}
    made = [
        hf_mner_aug.replicate("gmda", "table2", out=tmp_path / name, engine=named, **chosen).data["cells"]
        for name, named in (("local", None), ("other", engine))
    ]
    assert made[0] == made[1]
    assert made[1][1]["here"]


def test_what_a_model_said_is_drawn_from_the_kept_study(data, tmp_path, no_gpu, monkeypatch, capsys):
    cells = ["mmt5@t15_10pct", "mmt5+mixgen@t15_10pct"]
    chosen = {"data": data, "out": tmp_path}
    models = {"models": {"mmt5": "crf:iterations=40"}, "seeds": (3, 4), "progress": False}
    made = hf_mner_aug.replicate("gmda", "table2", cells=[*cells, "mmt5@t15_20pct"], **models, **chosen).data["cells"]
    mixed = made[2]
    assert mixed["trained"] == ["mixgen_twitter2015_10pct-3", "mixgen_twitter2015_10pct-4"]
    read = hf_mner_aug.show_cell("gmda", "table2", cells[1], posts=100, **chosen)
    assert read == tmp_path / "gmda-table2" / f"{cells[1]}.html"
    html = read.read_text(encoding="utf-8")
    assert html.count("<article>") == 30
    assert "30 of 30 posts of test. Source: <bdi>twitter2015_10pct</bdi>" in html
    assert "<bdi>crf: mmt5+mixgen@t15_10pct, mixgen_twitter2015_10pct-3</bdi>" in html
    assert '<img src="data:' in html
    counts = [int(n) for n in re.findall(r'<td class="number">(\d+)</td>', html)]
    right, wrong, missed = counts
    record = json.loads((tmp_path / mixed["study"] / "cells" / f"{mixed['trained'][0]}.json").read_text())
    assert sum(map(len, record["predictions"])) == right + wrong
    gold = hf_mner_aug.load_sample()["test"].select(range(30))
    assert right + missed == sum(tag.startswith("B-") for tags in labels(gold) for tag in tags)
    words = " ".join(gold[7]["tokens"])
    again = hf_mner_aug.show_cell("gmda", "table2", cells[0], phrase=words, seed=3, **chosen).read_text("utf-8")
    assert again.count("<article>") == 1
    for cell, more, told in (
        ("mmt5@t17", {}, "unknown cell that was run of gmda table2 'mmt5@t17'"),
        ("mmt5@t15_20pct", {}, "mmt5@t15_20pct has no trained model: no ids of Twitter-15 20%"),
        (cells[1], {"seed": 9}, "unknown seed '9'"),
        (cells[1], {"phrase": "nobody says this"}, "has the words 'nobody says this'"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            hf_mner_aug.show_cell("gmda", "table2", cell, **chosen, **more)
    with pytest.raises(UsageError, match="no table is in"):
        hf_mner_aug.show_cell("gmda", "table3", cells[0], **chosen)
    record["predictions"].pop()
    (tmp_path / mixed["study"] / "cells" / f"{mixed['trained'][0]}.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="predictions of 29 posts, and twitter2015_10pct has 30"):
        hf_mner_aug.show_cell("gmda", "table2", cells[1], **chosen)
    words = ["replicate", "gmda", "table2", "--data", data, "--out", tmp_path, "--predictions", cells[0]]
    monkeypatch.setattr("sys.argv", ["hf-mner-aug", *map(str, words)])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out == f"{tmp_path / 'gmda-table2' / cells[0]}.html\n"


def labels(rows):
    names = rows.features["ner_tags"].feature.names
    return [[names[tag] for tag in tags] for tags in rows["ner_tags"]]


def test_a_table_cannot_lead_out_of_its_folder(data, tmp_path, no_gpu):
    chosen = {"data": data, "out": tmp_path / "out"}
    models = {"models": {"mmt5": CRF}, "seeds": (0,), "progress": False}
    hf_mner_aug.replicate("gmda", "table2", cells=["mmt5@t15_10pct"], **models, **chosen)
    path = tmp_path / "out" / "gmda-table2" / "table.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    for change in ({"study": "../elsewhere"}, {"trained": ["../../../secret-0"]}):
        path.write_text(json.dumps({**written, "cells": [{**written["cells"][0], **change}]}), encoding="utf-8")
        with pytest.raises(DataError, match="is not one of"):
            hf_mner_aug.show_cell("gmda", "table2", "mmt5@t15_10pct", **chosen)


def test_what_is_said_of_relations_and_regions():
    """Of grounded entities the study keeps whether a box was right, not the box."""
    pairs = load_sample("mre")["test"].select(range(2))
    kind = pairs.features["relation"].names[1]
    assert [one.relation for one in _said(Relations(), pairs, [[[0, 2, kind]], []])] == [kind, "None"]
    rows = load_sample("gmner")["test"]
    post = next(post for post in iterate_posts(rows, Codec(rows.features)) if any(e.boxes for e in post.entities))
    first = next(e for e in post.entities if e.boxes)
    rows = rows.filter(lambda name: name == post.id, input_columns="id")
    span = [first.start, first.end, first.type]
    for where, misplaced in (
        (SHOWN, set()),
        (ELSEWHERE, {(first.start, first.end)}),
        (HIDDEN, {(first.start, first.end)}),
    ):
        (one,) = _said(Grounded(ENTITIES), rows, [[[*span, where]]])
        assert one.misplaced == misplaced
    named = {"backbone": "x", "source": "s", "split": "test", "total": 1, "relations": False, "fine": False}
    sheet = read_said(rows, [one], grounded=True, **named)
    assert [*sheet.rows[0].predicted.verdicts.values()] == ["other box"]


def test_the_trainings_that_are_counted_are_those_that_run(data, tmp_path, no_gpu):
    """A model that takes the place of the paper's is not searched, and a smoke run has the seeds that are asked for."""
    manifest, chosen = open_manifest("rmda", "table1"), Choices(data, tmp_path, models={"bert": CRF})
    assert manifest.grid
    assert plan(manifest, chosen, cells=("bert@t15",), seeds=(0, 1)).trainings() == 2 * 2  # gold and shuffled
    smoke = Choices(data, tmp_path, models={"bert": CRF}, smoke=True)
    assert plan(manifest, smoke, cells=("bert@t15",), seeds=(3, 4)).seeds == (3, 4)
    assert plan(manifest, smoke, cells=("bert@t15",)).seeds == (0,)


def test_the_command_lists_tables_and_plans_one(data, tmp_path, capsys, monkeypatch):
    def run(*words):
        monkeypatch.setattr("sys.argv", ["hf-mner-aug", "replicate", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, "".join(capsys.readouterr())

    code, text = run()
    assert code == 0
    assert "rmda table1: F1 of data augmentation methods" in text
    assert "augmentation rmda: rmda with --preset paper (corpus: serper" in text
    code, text = run("gmda", "table2", "--data", data, "--out", tmp_path, "--dry-run", "--backbone", f"mmt5={CRF}")
    assert code == 0
    assert "cells can run here" in text
    code, text = run("gmda", "table2", "--smoke", "--set", "corpus=x")
    assert (code, text) == (2, "error: --set corpus=x: name the method, as in rmda.corpus=FILE\n")


def test_every_table_has_quick_cells():
    assert [*QUICK] == TABLES


@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_some_cells_of_every_table_run(paper, table, tmp_path, no_gpu):
    cells = QUICK[paper, table]
    made = hf_mner_aug.replicate(paper, table, out=tmp_path, smoke=True, cells=cells, progress=False)
    for cell in made.data["cells"]:
        assert cell["here"] or cell["texts"], cell["reason"]
        assert cell["reason"] in ("", UNMEASURED)
    assert SMOKE in made.to_markdown()


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_every_table_runs_through(paper, table, tmp_path):
    made = hf_mner_aug.replicate(paper, table, out=tmp_path, smoke=True, progress=False)
    assert any(cell["here"] or cell["texts"] for cell in made.data["cells"])
    reasons = {cell["reason"] for cell in made.data["cells"] if cell["reason"] and not cell["quoted"]}
    # No further sample post has both entities of a relation, so rmda makes none.
    assert {told for told in reasons if told != UNMEASURED and not told.startswith("rmda")} == set()
