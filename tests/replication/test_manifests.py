"""Manifests of papers' tables: every figure in its range and place, and nothing that the schema does not know."""

import re

import pytest
import yaml
from places import DATA

from hf_mner_aug.backbones import BACKBONES
from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UnknownName
from hf_mner_aug.methods import method_class
from hf_mner_aug.readers import RAW_SETS
from hf_mner_aug.replication.manifests import (
    FOLDER,
    ROUNDING,
    Published,
    all_manifests,
    cells_of,
    harmonic_mean,
    known_sets,
    manifest_names,
    open_manifest,
    read_manifest,
)
from hf_mner_aug.runs.recipe import parse_params, preset_params

MANIFESTS = {manifest.name: manifest for manifest in all_manifests()}
CELLS = {  # the cells that each table prints
    "gmda table2": 54,
    "gmda table4": 24,
    "gmda table7": 12,
    "amia table1": 44,
    "amia table2": 42,
    "amia table3": 36,
    "rmda table1": 120,
    "rmda table2": 40,
    "rmda table3": 10,
}
NOT_BUILT = {"amnet"}  # a backbone that papers have and this package lacks


def test_every_table_of_the_papers_has_a_manifest():
    assert {*MANIFESTS} == {f"{paper} {table}" for paper, tables in manifest_names().items() for table in tables}
    assert manifest_names() == {
        "amia": ["table1", "table2", "table3", "table4"],
        "gmda": [f"table{n}" for n in range(1, 8)],
        "iie4mner": ["main"],
        "memory_hard": ["ablations", "main", "share"],
        "rmda": ["figure4", "table1", "table2", "table3"],
    }


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_its_figures(name):
    manifest = MANIFESTS[name]
    figures = [manifest.rows[cell.row].published[cell.column] for cell in cells_of(manifest)]
    assert len(figures) == CELLS[name]
    assert all(found.figures for found in figures)


@pytest.mark.parametrize("name", MANIFESTS)
def test_f1_is_the_harmonic_mean_unless_the_paper_prints_another(name):
    for row in MANIFESTS[name].rows.values():
        for found in row.published.values():
            if None not in (found.precision, found.recall, found.f1):
                agrees = abs(harmonic_mean(found.precision, found.recall) - found.f1) <= ROUNDING
                assert agrees != bool(found.printed), (row.title, found)


@pytest.mark.parametrize("name", MANIFESTS)
def test_methods_models_and_sets_are_known(name):
    manifest, sets = MANIFESTS[name], known_sets()
    for augmentation in manifest.augmentations.values():
        cls = method_class(augmentation.method)
        parse_params(cls, augmentation.params)
        if augmentation.preset:
            preset_params(cls, augmentation.preset)
        assert {*augmentation.needs} <= {*cls.__dataclass_fields__}
    assert {model.backbone for model in manifest.models.values()} <= {*BACKBONES, *NOT_BUILT}
    for column in manifest.columns.values():
        assert column.set in RAW_SETS
        if not column.subset and manifest.paper != "rmda":
            assert column.expected == sets[column.set].posts
    used = {row.model for row in manifest.rows.values()} - {""}
    assert used == {*manifest.models}


CHOSEN = {"engine": "endpoint:http://127.0.0.1:1#model", "corpus": "serper"}  # what a user has to choose


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_augmentation_can_be_built_with_its_preset(name):
    manifest = MANIFESTS[name]
    for augmentation in manifest.augmentations.values():
        cls = method_class(augmentation.method)
        for preset in {augmentation.preset, *augmentation.presets.values()}:
            params = {**(preset_params(cls, preset) if preset else {}), **parse_params(cls, augmentation.params)}
            params |= {needed: CHOSEN[needed] for needed in augmentation.needs}
            assert cls(**params).copies >= 1


def test_gmda_filters_sets_with_boxes_by_a_model_that_grounds():
    found = set()
    for name, manifest in MANIFESTS.items():
        for row in manifest.rows.values():
            for column in (manifest.columns[key] for key in row.published or manifest.columns):
                names = [row.augmentation] if row.augmentation else [*manifest.augmentations]
                for augmentation in (manifest.augmentations[one] for one in names if manifest.kind != "counts"):
                    if augmentation.method == "gmda":
                        preset = augmentation.presets.get(column.set, augmentation.preset)
                        assert preset == ("paper" if column.metric == "entities" else "paper_gmner"), (name, row.title)
                        found.add(name)
    assert found == {f"gmda table{n}" for n in range(2, 8)}


def test_memory_hard_mines_the_errors_of_the_model_that_it_trains():
    rows = [
        (row.model, manifest.augmentations[row.augmentation].target)
        for manifest in MANIFESTS.values()
        for row in manifest.rows.values()
        if row.augmentation and manifest.augmentations[row.augmentation].method == "memory_hard"
    ]
    assert len(rows) == 8
    assert all(model == target for model, target in rows)


def test_the_figures_are_those_of_the_papers():
    def cell(name, row, column):
        return MANIFESTS[name].rows[row].published[column].figures

    assert cell("gmda table2", "mmt5+gmda", "t15_10pct") == {"precision": 69.59, "recall": 67.31, "f1": 68.43}
    assert cell("gmda table2", "tiger+gmda", "fmnerg_40pct") == {"precision": 43.71, "recall": 46.32, "f1": 44.97}
    assert cell("gmda table3", "pgim+gmda", "t15") == {"delta": 0.47}
    assert cell("gmda table4", "h_index+gmda", "fmnerg") == {"precision": 47.29, "recall": 46.61, "f1": 46.95}
    assert cell("gmda table4", "gvatt_rcnn_evg", "gmner")["f1"] == 48.57
    assert cell("gmda table7", "gmda", "t15") == {"similarity": 0.2898, "diversity": 0.8915, "perplexity": 104.96}
    assert cell("gmda table7", "origin", "fmnerg") == {"perplexity": 569.23}
    assert cell("amia table1", "bert_resnet_crf+amia", "t17")["f1"] == 87.62
    assert cell("amia table2", "maf+mix_03", "t17")["f1"] == 85.12
    assert cell("amia table3", "bert_resnet_crf+amia", "t17_matched")["recall"] == 88.45
    assert cell("amia table4", "manchester", "t17") == {"matching_score": 0.4739}
    assert cell("rmda table1", "bert", "mnre") == {"f1": 60.86}
    assert cell("rmda table1", "hvpnet+rmda", "mner_mi") == {"f1": 78.53}
    assert cell("rmda table2", "umt+rmda_no_text", "snap") == {"f1": 87.30}
    assert cell("rmda table3", "rmda", "mnre") == {"seconds": 497, "usd": 0.0512}
    assert cell("memory_hard main", "hvpnet+memory_hard", "t17") == {"delta": 1.54}
    assert MANIFESTS["memory_hard share"].rows["hvpnet"].published["t15"].at_least


def test_what_was_not_read_in_the_paper_is_marked():
    second_hand = {name for name, manifest in MANIFESTS.items() if manifest.second_hand}
    assert second_hand == {"iie4mner main", "memory_hard main", "memory_hard ablations"}
    assert {name for name, manifest in MANIFESTS.items() if manifest.unread} == {
        "gmda table1",
        "gmda table3",
        "gmda table5",
        "memory_hard main",
    }


def test_rows_that_a_paper_quotes_are_not_run():
    quoted = {name for name, row in MANIFESTS["amia table1"].rows.items() if row.quoted}
    assert len(quoted) == 16
    assert not quoted & {"umt", "maf", "bert_resnet_crf"}


TABLE = FOLDER / "gmda" / "table2.yaml"
FAULTS = {
    "unknown key": (lambda d: d.update(colour="red"), "expected only the keys paper, table"),
    "misspelled figure": (lambda d: d["rows"]["mmt5"]["published"]["t15_10pct"].update(f2=1), "expected only the keys"),
    "wrong figure": (
        lambda d: d["rows"]["mmt5"]["published"]["t15_10pct"].update(f1=68.88),
        "precision 63.91 and recall 63.86 give 63.88",
    ),
    "beyond 100": (lambda d: d["rows"]["mmt5"]["published"].update(t15_10pct={"f1": 638.8}), "f1 of 638.8 (0 to 100)"),
    "no figure": (lambda d: d["rows"]["mmt5"]["published"].update(t15_10pct={}), "a cell without a figure"),
    "unknown column": (lambda d: d["rows"]["mmt5"]["published"].update(t18={"f1": 1.0}), "no t18 among the columns"),
    "unknown model": (lambda d: d["rows"]["mmt5"].update(model="vlt5"), "no vlt5 among the models"),
    "unknown baseline": (lambda d: d["rows"]["mmt5"].update(baseline="gold"), "no gold among the rows"),
    "quoted and run": (lambda d: d["rows"]["mmt5"].update(quoted=True), "quoted rows are not run"),
    "metric": (lambda d: d["columns"]["t15_10pct"].update(metric="accuracy"), "expected one of 'entities'"),
    "name": (lambda d: d["rows"].update({"../MMT5": {"title": "MMT5", "quoted": True}}), "rows: the name '../MMT5'"),
    "preset of another set": (
        lambda d: d["augmentations"]["gmda"]["presets"].update(snap="paper"),
        "augmentation gmda: no column is of snap",
    ),
    "unknown target": (lambda d: d["augmentations"]["gmda"].update(target="crf"), "no crf among the models"),
    "another target": (lambda d: d["augmentations"]["gmda"].update(target="pgim"), "the errors of another model"),
    "text for a number": (lambda d: d["columns"]["t15_10pct"]["expected"].update(train="400"), "a whole number"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_manifest_with_a_fault_is_refused_in_one_line(fault, tmp_path):
    spoil, told = FAULTS[fault]
    data = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    spoil(data)
    path = tmp_path / "table2.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(told)) as error:
        read_manifest(path)
    assert "\n" not in str(error.value)


def test_a_figure_that_disagrees_needs_to_be_marked():
    assert Published(precision=55.31, recall=55.78, f1=55.78, printed="as in the paper").f1 == 55.78


def test_cells_are_chosen_by_name_or_pattern():
    manifest = MANIFESTS["gmda table2"]
    assert [str(cell) for cell in cells_of(manifest, ["mmt5+gmda@t15_10pct"])] == ["mmt5+gmda@t15_10pct"]
    assert [str(cell) for cell in cells_of(manifest, ["mmt5*@*_10pct"])] == [
        "mmt5@t15_10pct",
        "mmt5+mixgen@t15_10pct",
        "mmt5+gmda@t15_10pct",
    ]
    assert len(cells_of(manifest, ["pgim"])) == 3
    with pytest.raises(UnknownName, match="mmt5"):
        cells_of(manifest, ["mmt6"])


def test_unknown_papers_and_tables_are_told_with_the_nearest():
    with pytest.raises(UnknownName, match="gmda"):
        open_manifest("gdma", "table2")
    with pytest.raises(UnknownName, match="table2"):
        open_manifest("gmda", "tabel2")


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_sets_have_the_posts_and_labels_that_convert_finds(name, tmp_path):
    if not (DATA / name).is_dir():
        pytest.skip(f"no {DATA / name}")
    found = convert(name, DATA / name, tmp_path / name).splits
    known = known_sets()[name]
    for split, report in found.items():
        assert report.posts == getattr(known.posts, split)
        assert report.mentions + report.orphans == getattr(known.labels, split)
