"""``slurm.sh`` and ``hub_job.py``: schedulers that are played here share a run among ranks."""

import importlib.util
import inspect
import os
import shlex
import subprocess
import sys
import types

import huggingface_hub
import pytest
from places import ROOT

from hf_mner_aug import EDA, augment, publish

SLURM, HUB = ROOT / "examples" / "slurm.sh", ROOT / "examples" / "hub_job.py"


@pytest.fixture(scope="module")
def source(splits, tmp_path_factory):
    """A folder that load_dataset reads."""
    folder = tmp_path_factory.mktemp("ranks") / "set"
    folder.mkdir()
    for split, rows in splits.items():
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def expected(source, tmp_path):
    """The train rows that one process publishes."""
    out = tmp_path / "one" / "aug"
    publish(augment(str(source), EDA(copies=1), out=out, part_size=5, progress=False), out, source=str(source))
    return next(out.glob("*/train-*.parquet")).read_bytes()


# ---------------------------------------------------------------- Slurm


@pytest.fixture
def slurm(tmp_path):
    """Run the script as a job of Slurm; ``sbatch`` writes its words down instead of queueing."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    main = f'exec {shlex.quote(sys.executable)} -c "from hf_mner_aug.cli import main; main()" "$@"\n'
    for name, text in {"hf-mner-aug": main, "sbatch": f'printf "%s\\n" "$@" > {tmp_path}/queued\n'}.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{text}")
        (bin_ / name).chmod(0o755)

    def run(*words, **variables):
        env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", **variables}
        return subprocess.run([*words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)

    return run


def task(number, last=1, **more):
    numbers = {"ID": number, "MIN": 0, "MAX": last, "STEP": 1, **more}
    return {"SLURM_ARRAY_JOB_ID": "77"} | {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in numbers.items()}


def test_an_array_makes_the_parts_and_a_job_after_it_publishes(slurm, source, expected, tmp_path):
    asked = [str(source), "a b", "--method", "eda", "--copies", "1", "--part-size", "5"]
    for rank in (1, 0):
        done = slurm(str(SLURM), *asked, **task(rank))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"rank {rank} of 2: finished its ")
    assert not (tmp_path / "a b").exists()
    words = (tmp_path / "queued").read_text().splitlines()
    assert "--dependency=afterany:77" in words, "also when a rank has failed"
    done = slurm("bash", "-c", words[words.index("--wrap") + 1])
    assert done.returncode == 0, done.stderr
    assert next((tmp_path / "a b").glob("*/train-*.parquet")).read_bytes() == expected


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        ((), {}, "usage: sbatch --array=0-LAST slurm.sh SOURCE OUT"),
        (("a", "b"), task(1, MIN=1), "expected an array that counts from 0 by 1, found --array=1-1:1"),
        (("a", "b"), task(2, last=4, STEP=2), "expected an array that counts from 0 by 1, found --array=0-4:2"),
    ],
)
def test_a_wrong_array_is_one_line(slurm, tmp_path, words, variables, said):
    done = slurm(str(SLURM), *words, **variables)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(said)
    assert not (tmp_path / "queued").exists()


# ---------------------------------------------------------------- jobs of the Hub


@pytest.fixture
def job(monkeypatch, tmp_path):
    """Call the script; a job that it starts runs here at once, in a folder of its own, as on a machine of its own."""
    spec = importlib.util.spec_from_file_location("hub_job", HUB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = inspect.signature(huggingface_hub.run_uv_job)
    jobs = {}

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hub_job.py", *words])
        told = module.arguments()
        module.work(told) if told.job else module.start(told)

    def run(script, **options):
        asked.bind(script, **options)
        name = options["name"]
        (tmp_path / name).mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as machine:
            machine.chdir(tmp_path / name)
            machine.setenv("HF_MNER_AUG_CACHE", str(tmp_path / name / "cache"))
            stage = "COMPLETED"
            try:
                call(*options["script_args"]) if name not in failing else failing[name]()
            except OSError:
                stage = "ERROR"
        jobs[name] = types.SimpleNamespace(
            id=name, url=f"https://hub/{name}", options=options, status=types.SimpleNamespace(stage=stage)
        )
        return jobs[name]

    failing = {}
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    monkeypatch.setattr(huggingface_hub, "run_uv_job", run)
    monkeypatch.setattr(huggingface_hub, "wait_for_job", lambda ids, poll_interval: [jobs[name] for name in ids])
    monkeypatch.setattr(huggingface_hub, "create_repo", lambda *words, **options: None)
    monkeypatch.setattr(module, "push", lambda out, repo: f"pushed to {repo}")
    return types.SimpleNamespace(call=call, jobs=jobs, failing=failing)


def fail():
    raise OSError("the job was preempted")


def test_jobs_share_the_parts_and_the_last_one_publishes(job, source, expected, tmp_path, capsys):
    (tmp_path / "shared").mkdir()
    words = [str(source), "org/aug", "--storage", f"{tmp_path}/shared", "--method", "eda:copies=1"]
    words += ["--part-size", "5", "--ranks", "3"]
    job.failing["mner-aug-1"] = fail
    job.call(*words)
    said = capsys.readouterr()
    assert [*job.jobs] == ["mner-aug-0", "mner-aug-1", "mner-aug-2", "mner-aug-publish"]
    assert said.err.count("failed: https://hub/") == said.err.count("failed: https://hub/mner-aug-1\n") == 1
    assert said.out.splitlines()[-2:] == ["pushed to org/aug", "publish: https://hub/mner-aug-publish"]
    (train,) = (tmp_path / "mner-aug-publish" / "augmented").glob("*/train-*.parquet")
    assert train.read_bytes() == expected
    assert "rank 0: 1 parts\n" in said.out
    for started in job.jobs.values():
        assert started.options["secrets"] == {"HF_TOKEN": "hf_secret"}
        assert "hf_secret" not in started.options["script_args"]

    job.failing["mner-aug-publish"] = fail
    with pytest.raises(OSError, match="nothing was pushed; what is finished is kept"):
        job.call(*words)
