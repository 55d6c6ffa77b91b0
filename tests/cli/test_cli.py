import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from datasets import load_dataset

from hf_mner_aug import cli
from hf_mner_aug.backbones import BACKBONES
from hf_mner_aug.conversion import write_sample
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods import METHODS
from hf_mner_aug.runs import estimate
from hf_mner_aug.sample import NAMES, load_sample

RAW = """IMGID:{0}1
RT\tO
@joe\tO
:\tO
I\tO
love\tO
Paris\tB-LOC
so\tO
much\tO

IMGID:{0}2
Kobe\tB-PER
Bryant\tI-PER
wins\tO
again\tO
for\tO
the\tO
Lakers\tB-ORG
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A set of two posts a split, as a user has it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "raw").mkdir()
    for split in ("train", "valid", "test"):
        (folder / "raw" / f"{split}.txt").write_text(RAW.format(split))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["hf-mner-aug", "convert", "conll", "raw", "--out", "set"])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 0
    return folder / "set"


def test_from_raw_text_to_a_verified_config(call, converted):
    code, out, _ = call("augment", converted, "--method", "lsms", "--copies", "3", "--out", "aug")
    assert code == 0
    assert 'load_dataset("aug", "lsms_100pct")' in out
    train = load_dataset("aug", "lsms_100pct")["train"]
    assert train.num_rows > 2
    assert train.features["ner_tags"].feature.names[0] == "O"
    code, out, _ = call("verify", "aug", "lsms_100pct", "--rerun", "--source", converted)
    assert (code, out.splitlines()[-1]) == (0, "the same")

    code, out, _ = call("augment", converted, "--recipe", "aug/lsms_100pct/augmentation.json", "--out", "again")
    assert code == 0
    name = "lsms_100pct/train-00000-of-00001.parquet"
    assert Path("aug", name).read_bytes() == Path("again", name).read_bytes()


def test_a_recipe_file_is_the_flags_in_yaml_and_flags_go_before_it(call, converted):
    Path("recipe.yaml").write_text("method: eda\nseed: 3\ncopies: 2\nparams: {alpha: 0.2, operations: [swap]}\n")
    assert call("augment", converted, "--recipe", "recipe.yaml", "--out", "a", "--seed", 4)[0] == 0
    flags = ["--method", "eda", "--seed", 4, "--copies", 2, "--set", "alpha=0.2", "--set", "operations=swap"]
    assert call("augment", converted, *flags, "--out", "b")[0] == 0
    notes = [json.loads(Path(folder, "eda_100pct", "augmentation.json").read_text()) for folder in "ab"]
    assert notes[0]["recipe_fingerprint"] == notes[1]["recipe_fingerprint"]
    assert notes[0]["recipe"]["seed"] == 4


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_set_as_a_folder(call, tmp_path, name):
    out = tmp_path / "sample"
    code, said, _ = call("sample", "--out", out, "--name", name)
    assert (code, said.splitlines()) == (0, [f'load_dataset("{out}")'])
    expected = load_sample(name)
    read = load_dataset(str(out))
    assert read.keys() == expected.keys()
    for split, rows in expected.items():
        assert read[split].features == rows.features
        assert read[split].with_format("arrow")[:].to_pylist() == rows.with_format("arrow")[:].to_pylist()
    assert "(" + name + ")" in (out / "README.md").read_text(encoding="utf-8")
    before = sorted(out.rglob("*"))
    with pytest.raises(UsageError, match="expected no such folder, or an empty one"):
        write_sample(out, name)
    assert sorted(out.rglob("*")) == before


def test_ids_of_a_published_split(call, converted):
    Path("ids.txt").write_text("IMGID:train2\nKobe\tO\n\n")
    Path("dev.txt").write_text("valid1\n")
    ids = ["--ids-train", "ids.txt", "--ids-validation", "dev.txt"]
    assert call("augment", converted, "--method", "eda", "--copies", 1, *ids, "--out", "aug")[0] == 0
    config = load_dataset("aug", "eda_50pct")
    gold = config["train"].filter(lambda method: method == "gold", input_columns="method")
    assert (gold["id"][:], config["validation"]["id"][:]) == (["train2"], ["valid1"])
    assert gold[0]["ner_tags"][:2] == [1, 2], "gold comes from the source, not from the file of ids"
    assert config["test"].num_rows == 2


def test_dry_run_and_preview_write_nothing(call, converted, monkeypatch):
    monkeypatch.setattr(estimate, "time", SimpleNamespace(monotonic=lambda: 0.0))
    code, out, _ = call("augment", converted, "--method", "lsms", "--out", "aug", "--dry-run")
    assert code == 0
    assert re.match(r"2 posts give about [1-8] rows in 0 seconds in one process, with 0 MB on disk; ", out)
    assert out.rstrip().endswith("calls: 0, USD: 0")
    code, out, _ = call(
        "augment", converted, "--method", "eda", "--set", "operations=swap", "--out", "aug", "--preview", 2
    )
    assert code == 0
    assert out.count("[Kobe Bryant](PER)") == 10, "the post and nine copies"
    assert not Path("aug").exists()
    assert not Path("aug.runs").exists()


def test_methods_doctor_and_validate(call, converted):
    code, out, _ = call("methods")
    assert code == 0
    for name in METHODS:
        assert name in out
    code, out, _ = call("doctor")
    assert code == 0
    assert "extra models:" in out
    assert "Hub token:" in out
    code, out, _ = call("validate", converted)
    assert code == 0
    assert "missing_image" in out, "no pictures were given"
    code, out, _ = call("validate", converted, "--json")
    assert {problem["kind"] for problem in json.loads(out)} >= {"missing_image", "duplicate_text"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "lsm"], f"unknown method 'lsm': did you mean 'lsms'? valid are {', '.join(sorted(METHODS))}"),
        (
            ["--method", "lsms", "--set", "ration=1"],
            "unknown parameter of lsms 'ration': did you mean 'ratio'? valid are",
        ),
        (["--method", "lsms", "--set", "ratio=much"], "lsms: ratio='much' is not a valid float"),
        (["--method", "lsms", "--set", "ratio"], "--set ratio: expected NAME=VALUE"),
        (["--method", "lsms", "--set", "ratio=2"], "lsms: ratio must be in (0, 1], found 2.0"),
        (["--method", "lsms", "--fraction", "1.5"], "fraction must be in (0, 1], found 1.5"),
        (["--method", "lsms", "--fraction", "0"], "fraction must be in (0, 1], found 0.0"),
        (["--method", "lsms", "--fraction", "0.1"], "10.000000% of 2 posts is none: take a larger fraction"),
        (["--method", "lsms", "--copies", "0"], "lsms: copies must be at least 1, found 0"),
        (["--method", "lsms", "--config-name", "data"], "config name 'data': the Hub takes letters"),
        (["--method", "lsms", "--config-name", "a/b"], "config name 'a/b': the Hub takes letters"),
        (["--method", "lsms", "--ids-train", "none.txt"], "none.txt: No such file or directory"),
        ([], "name a method with --method, or a recipe with --recipe"),
        (["--recipe", "none.yaml"], "none.yaml"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(call, converted, arguments, said):
    code, _, error = call("augment", converted, "--out", "aug", *arguments)
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not Path("aug").exists()


def test_wrong_folders(call, converted):
    Path("empty").mkdir()
    for source, said in [
        ("./nowhere", "there is no folder ./nowhere"),
        ("empty", "empty holds no Parquet file: make a dataset of raw files with hf-mner-aug convert"),
    ]:
        code, _, error = call("augment", source, "--method", "eda", "--out", "aug")
        assert (code, error) == (2, f"error: {said}\n")
    Path("ids.txt").write_text("train1\nnobody\n")
    code, _, error = call("augment", converted, "--method", "eda", "--out", "aug", "--ids-train", "ids.txt")
    assert (code, error) == (2, "error: 1 of 2 ids are not in train (nobody): check the file and the source\n")
    Path("recipe.yaml").write_text("method: eda\nseeds: 3\n")
    code, _, error = call("augment", converted, "--recipe", "recipe.yaml", "--out", "aug")
    assert code == 2
    assert "unknown key of recipe.yaml 'seeds': did you mean 'seed'?" in error
    Path("file").write_text("x")
    code, _, error = call("augment", converted, "--method", "eda", "--out", "file")
    assert (code, error) == (2, "error: file is a file: name a folder\n")


def test_an_output_folder_of_another_recipe(call, converted):
    assert call("augment", converted, "--method", "eda", "--copies", 1, "--out", "aug")[0] == 0
    before = {path: path.read_bytes() for path in Path("aug").rglob("*") if path.is_file()}
    code, _, error = call("augment", converted, "--method", "eda", "--copies", 2, "--out", "aug")
    assert code == 2
    assert "choose another --config-name, or --overwrite" in error
    assert {path: path.read_bytes() for path in Path("aug").rglob("*") if path.is_file()} == before
    assert call("augment", converted, "--method", "eda", "--copies", 2, "--out", "aug", "--overwrite")[0] == 0


def test_broken_rows_are_named(call, converted):
    from datasets import Dataset

    good = load_dataset(str(converted))["train"]
    features = good.features
    for tags, said in [
        ([[0], [1, 2, 0, 0, 0, 0, 3]], "post train1: 1 tags for 8 tokens"),
        ([[0] * 8, [2, 2, 0, 0, 0, 0, 3]], "post train2: word 0 ('Kobe') is I-PER but follows no B-PER"),
    ]:
        rows = good.remove_columns(["ner_tags", "image"]).to_dict()
        broken = Dataset.from_dict({**rows, "ner_tags": tags, "image": [None, None]}, features=features)
        Path("broken").mkdir(exist_ok=True)
        broken.to_parquet("broken/train-00000-of-00001.parquet")
        code, _, error = call("augment", "broken", "--method", "eda", "--out", "aug")
        assert code == 2
        assert said in error
        assert len(error.strip().splitlines()) == 1
        code, out, _ = call("validate", "broken")
        assert code == 2
        assert rows["id"][0] in out or rows["id"][1] in out


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["hf-mner-aug", "augment", "./nowhere", "--method", "eda", "--out", "x", "--debug"]
    )
    with pytest.raises(Exception, match="there is no folder"):
        cli.main()


def test_a_fault_of_ours_is_one_line_and_exit_1(call, converted, monkeypatch):
    from hf_mner_aug.sources import loading

    monkeypatch.setattr(loading, "load_source", lambda name, **_: 1 / 0)
    code, _, error = call("augment", converted, "--method", "eda", "--out", "aug")
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith("error: unexpected ZeroDivisionError: division by zero (hf-mner-aug --debug")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom hf_mner_aug import cli\nsys.argv = ['hf-mner-aug', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "ours = {f'hf_mner_aug.{room}' for room in ('conversion', 'exporting', 'publishing', 'transform')}\n"
        "heavy = {'datasets', 'torch', 'numpy', 'pyarrow', 'sklearn', 'PIL', 'yaml'}\n"
        "print(sorted((ours | heavy) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "augment" in done.stdout


@pytest.mark.parametrize("verb", ["evaluate", "curve"])
def test_the_help_of_a_study_names_every_backbone(call, verb):
    code, output, _ = call(verb, "--help")
    assert code == 0
    assert set(BACKBONES) <= set(re.findall(r"\w+", output))


def test_a_warning_is_one_line_without_its_place_in_the_code(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "raw" / "train.txt").write_text(RAW.format("train"))
    (tmp_path / "pictures" / "another.jpg").write_bytes(b"")
    arguments = ["convert", "conll", "raw", "--out", "set", "--images", "pictures"]
    code = f"import sys; sys.argv[1:] = {arguments!r}; from hf_mner_aug.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "warning" in line.lower()] == [
        "warning: conll train, 2 posts: 2 posts have no image file: their image is null"
    ]


def test_options_of_several_names_take_them_one_after_the_other():
    verbs = typer.main.get_command(cli.app).commands.values()
    several = {
        option for verb in verbs for one in verb.params if getattr(one, "multiple", False) for option in one.opts
    }
    repeated = {"--set", "--check-against", "--allow-host", "--forget", "--backbone", "--published"}
    assert several - set(cli.LISTS) == repeated, "these are written again for each value"
    assert cli._spread(["evaluate", "x", "--ablations", "a", "b", "--grid"]) == [
        *("evaluate", "x", "--ablations", "a", "--ablations", "b", "--grid")
    ]
