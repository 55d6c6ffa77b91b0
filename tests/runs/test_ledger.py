import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import DatasetDict, concatenate_datasets

from hf_mner_aug import EDA, LSMS, augment
from hf_mner_aug.exceptions import Corrupt, DataError, RecipeMismatch, UsageError
from hf_mner_aug.runs.estimate import estimate
from hf_mner_aug.runs.ranks import fit_once
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.schema import mner_features
from hf_mner_aug.storage.shared import Folder


def files(folder: Path) -> dict[str, bytes]:
    """Return what must not depend on how a run went: every Parquet file and what a folder publishes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.suffix == ".parquet" or path.name in ("README.md", "augmentation.json"))
    }


def rows(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def test_augment_makes_the_rows_of_map(splits, tmp_path):
    method = LSMS(copies=3, seed=5)
    run = augment(splits, method, out=tmp_path / "aug", part_size=4, progress=False)
    fitted = method.fit(splits["train"])
    assert rows(run.dataset) == rows(fitted.map(splits["train"]))
    made = fitted.make(splits["train"].with_format("arrow")[:])
    assert rows(run.rejects) == made.rejects
    counts = run.counts
    assert counts["posts"] == 14
    assert counts["made"] + sum(counts["rejected"].values()) == 14 * 3


def test_a_held_out_post_without_an_id_hinders_nobody(splits, tmp_path):
    test = (
        splits["train"].select([0, 1]).map(lambda row: {"id": None if row["id"] == splits["train"][0]["id"] else "t"})
    )
    gold = DatasetDict(train=splits["train"], test=test)
    fitted = LSMS(copies=1).fit(splits["train"])  # elsewhere: then the ledger compares ids
    assert augment(gold, fitted, out=tmp_path, progress=False).dataset.num_rows


def test_parts_do_not_depend_on_the_number_of_processes(splits, tmp_path):
    one = augment(splits, EDA(copies=2), out=tmp_path / "one", part_size=5, progress=False)
    two = augment(splits, EDA(copies=2), out=tmp_path / "two", part_size=5, num_proc=2, progress=False)
    assert files(one.folder) == files(two.folder)
    assert len(files(one.folder)) == 2 * 3


def test_finished_parts_are_skipped_and_damaged_ones_made_again(splits, tmp_path):
    def go():
        run = augment(splits, EDA(copies=2), out=tmp_path / "aug", part_size=5, progress=False)
        return run, json.loads((run.folder / "run.json").read_text())["parts_made"]

    run, made = go()
    before = files(run.folder)
    assert made == 3
    assert go()[1] == 0
    part = run.folder / "parts" / "00001.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    (run.folder / "rejected" / "00002.parquet").unlink()
    assert go()[1] == 2
    assert files(run.folder) == before


def test_parts_of_another_recipe_are_refused(splits, tmp_path):
    run = augment(splits, EDA(copies=2), out=tmp_path / "aug", progress=False)
    note = run.folder / "parts" / "00000.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "recipe": "0" * 64}))
    with pytest.raises(RecipeMismatch, match=r"00000\.parquet was made by another recipe: delete"):
        augment(splits, EDA(copies=2), out=tmp_path / "aug", progress=False)
    (run.folder / "recipe.json").write_text("{")
    with pytest.raises(Corrupt, match=r"recipe\.json: expected JSON"):
        augment(splits, EDA(copies=2), out=tmp_path / "aug", progress=False)


def test_a_method_fitted_elsewhere_is_kept(splits, tmp_path):
    elsewhere = LSMS(copies=2).fit(splits["test"])
    run = augment(splits, elsewhere, out=tmp_path / "aug", progress=False)
    assert run.method.artifact == elsewhere.artifact
    assert rows(run.dataset) == rows(elsewhere.map(splits["train"]))


def test_a_method_fitted_on_labels_that_lack_some_is_refused(splits, tmp_path):
    other = mner_features(("MISC", "ORG", "LOC", "PERSON"))
    fitted = LSMS(copies=2).fit(splits["test"].cast(other))
    with pytest.raises(UsageError, match="ner_tags has the labels B-PER, I-PER, which are not in O, B-MISC"):
        augment(splits, fitted, out=tmp_path / "aug", progress=False)


def test_what_was_learnt_is_found_in_the_run_by_a_machine_without_the_cache(splits, tmp_path, monkeypatch):
    run = augment(splits, LSMS(copies=2), out=tmp_path / "aug", progress=False)
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "empty"))
    again = fit_once(Folder(run.folder), run.recipe, run.gold)
    assert again == run.method
    assert (tmp_path / "empty" / "artifacts" / again.artifact).exists()


def test_estimate_counts_rows(splits):
    recipe, gold = resolve(recipe_for(LSMS(copies=2, operations=("token",))), splits)
    expected = estimate(recipe, gold, posts=14)
    assert (expected.posts, expected.disk_bytes > 0, expected.seconds > 0) == (14, True, True)
    made = augment(splits, LSMS(copies=2, operations=("token",)), progress=False)
    assert expected.rows == len(made.dataset)


def test_num_proc_must_be_positive(splits, tmp_path):
    with pytest.raises(UsageError, match="num_proc must be at least 1, found 0"):
        augment(splits, EDA(copies=2), out=tmp_path / "aug", num_proc=0, progress=False)


# ---------------------------------------------------------------- faults, in a real process


@pytest.fixture(scope="module")
def many(mner, tmp_path_factory):
    """A folder of 600 posts that load_dataset reads."""
    folder = tmp_path_factory.mktemp("many")
    repeated = concatenate_datasets([mner] * 30)
    numbered = repeated.map(lambda row, i: {"id": f"{row['id']}-{i}"}, with_indices=True, input_columns=None)
    DatasetDict(train=numbered).save_to_disk(folder / "arrow")
    (folder / "set").mkdir()
    numbered.to_parquet(folder / "set" / "train-00000-of-00001.parquet")
    return folder / "set"


def command(source, out, *more):
    options = ["--method", "lsms", "--copies", "2", "--part-size", "10", "--out", str(out), *more]
    return [sys.executable, "-c", "from hf_mner_aug.cli import main; main()", "augment", str(source), *options]


def test_killed_and_started_again_gives_the_same_bytes(many, tmp_path):
    whole, killed = tmp_path / "whole" / "aug", tmp_path / "killed" / "aug"
    subprocess.run(command(many, whole), check=True, capture_output=True, timeout=120)

    process = subprocess.Popen(command(many, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "killed").glob("aug.runs/*/parts/*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=10) == -signal.SIGKILL
    done = len(list((tmp_path / "killed").glob("aug.runs/*/parts/*.json")))
    assert 5 <= done < 60, "the run ended before it was killed"
    assert not killed.exists()

    subprocess.run(command(many, killed), check=True, capture_output=True, timeout=120)
    run = next((tmp_path / "killed").glob("aug.runs/lsms*"))
    assert json.loads((run / "run.json").read_text())["parts_made"] == 60 - done
    assert files(whole) == files(killed)
    assert files(whole.parent / "aug.runs" / run.name) == files(run)


def test_a_worker_killed_ends_in_one_line_and_the_run_goes_on(many, tmp_path):
    process = subprocess.Popen(
        command(many, tmp_path / "aug", "--num-proc", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("aug.runs/*/parts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a worker process died, perhaps for lack of memory" in said
    assert "Traceback" not in said
    subprocess.run(command(many, tmp_path / "aug"), check=True, capture_output=True, timeout=120)


def test_a_full_disk_ends_in_one_line_and_the_run_goes_on(many, tmp_path):
    # A file may grow to 64 kB: the parts fit, the published file does not.
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY)); "
    call = command(many, tmp_path / "aug")
    call[2] = limited + call[2]
    # A module that is compiled into a file in part stays so, see small_files.
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "PYTHONDONTWRITEBYTECODE": "1"}
    # The Arrow cache of the source is larger than that, so it is there before.
    prepare = f"from datasets import load_dataset; load_dataset({str(many)!r})"
    subprocess.run([sys.executable, "-c", prepare], check=True, env=environment, capture_output=True, timeout=60)

    failed = subprocess.run(call, capture_output=True, text=True, timeout=120, env=environment)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert failed.stderr.strip().splitlines()[-1].startswith("error: ")
    full = re.compile(
        r"error: (\S+): File too large: needs at least [\d,]+ bytes, [\d,]+ bytes are free; make room, .*"
    )
    assert full.fullmatch(failed.stderr.strip().splitlines()[-1])
    assert not (tmp_path / "aug").exists()
    assert not [path for path in tmp_path.rglob("*.tmp")]

    subprocess.run(command(many, tmp_path / "aug"), check=True, capture_output=True, timeout=120, env=environment)
    run = next(tmp_path.glob("aug.runs/lsms*"))
    assert json.loads((run / "run.json").read_text())["parts_made"] < 60


def test_the_recipe_is_bound_to_its_source(splits):
    recipe, _ = resolve(recipe_for(EDA()), splits)
    other = DatasetDict({**splits, "train": splits["train"].select(range(3))})
    with pytest.raises(DataError, match="was made for a source with fingerprint"):
        resolve(recipe, other)
