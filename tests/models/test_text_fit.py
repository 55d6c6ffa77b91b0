"""Fits of InstructBLIP that are killed, meet a full disk or run out of memory learn the same."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import pytest
import tiny_texts
from small_files import small_files
from tiny_texts import TYPES, Cut, blip_engine, cut_at, draws_for, one_step, opened, torch

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.text import instructblip_net as instructblip
from hf_mner_aug.models.text import training as fitting
from hf_mner_aug.models.text.network import FitSettings
from hf_mner_aug.models.text.training import fit

pairs, base, settings, cache, engine = (
    tiny_texts.pairs,
    tiny_texts.base,
    tiny_texts.settings,
    tiny_texts.cache,
    tiny_texts.engine,
)  # fixtures

# ---------------------------------------------------------------- interruptions


def test_an_interrupted_fit_goes_on_from_its_checkpoint_and_learns_the_same(
    pairs, settings, engine, cache, monkeypatch
):
    here = replace(settings, checkpoint_steps=1)
    with monkeypatch.context() as patched:
        assert cut_at(patched, 3) == []
        with pytest.raises(Cut):
            fit(pairs[:6], pairs[6:9], settings=here, tags=TYPES)
    kept = list((cache / "text_models").iterdir())
    assert [path.suffix for path in kept] == [".pt"]
    with monkeypatch.context() as patched:
        taken = cut_at(patched, None)
        again = fit(pairs[:6], pairs[6:9], settings=here, tags=TYPES)
        assert taken == [3]
        assert again == {"text_model": engine.weights}
        # What is finished is not learnt twice, unless what it made is gone.
        assert fit(pairs[:6], pairs[6:9], settings=here, tags=TYPES) == again
        assert taken == [3]
        (cache / "artifacts" / engine.weights).unlink()
        assert fit(pairs[:6], pairs[6:9], settings=here, tags=TYPES) == again
        assert taken == [3, 0, 1, 2, 3]
    assert [path.suffix for path in (cache / "text_models").iterdir()] == [".json"]


FIT = """
import pickle, sys, time, torch
from hf_mner_aug.models.text import training as fitting
torch.set_num_threads(1)
pairs, held_out, settings, types = pickle.load(open(sys.argv[1], "rb"))
keep = fitting.Training._keep
def keep_and_wait(self, path):
    keep(self, path)
    time.sleep(600)
fitting.Training._keep = keep_and_wait
fitting.fit(pairs, held_out, settings=settings, tags=types)
"""


def test_a_killed_fit_goes_on_and_learns_the_same(pairs, settings, engine, cache, tmp_path, monkeypatch):
    import pickle

    (tmp_path / "job").write_bytes(pickle.dumps((pairs[:6], pairs[6:9], settings, TYPES)))
    process = subprocess.Popen([sys.executable, "-c", FIT, str(tmp_path / "job")], env=dict(os.environ))
    deadline = time.monotonic() + 300
    while not list(cache.glob("text_models/*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    taken = cut_at(monkeypatch, None)
    again = fit(pairs[:6], pairs[6:9], settings=settings, tags=TYPES)
    assert taken == [2, 3]  # the first epoch was done
    assert again == {"text_model": engine.weights}


def test_a_full_disk_leaves_nothing_half_written(pairs, settings, cache, monkeypatch):
    """Wherever the disk is full first: at a checkpoint, at the artifact, at the note that all is done."""
    fsync, left = os.fsync, 0

    def full(descriptor):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    small = replace(settings, epochs=1)
    for files, suffixes in ((0, []), (1, [".pt"]), (1, [".json"])):
        left = files
        if suffixes == [".json"]:  # checkpoint there, artifact and note fit
            left = 2
            fit(pairs[:4], [], settings=small, tags=TYPES)
        else:
            with pytest.raises(OSError, match="No space left"):
                fit(pairs[:4], [], settings=small, tags=TYPES)
        found = [path for path in cache.rglob("*") if path.is_file() and path.parent.name != "artifacts"]
        assert [path.suffix for path in found] == suffixes
    stored = [path for path in (cache / "artifacts").rglob("*") if path.is_file()]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in stored] == [path.name for path in stored]


@pytest.mark.parametrize("tune", ["lora", "qformer"])
def test_weights_that_the_disk_does_not_hold_are_one_clear_error(base, tmp_path, tune):
    network = opened(base, tune=tune)
    net = instructblip.adapt(network.net, network.tags, FitSettings(tune=tune))
    with small_files(10_000), pytest.raises(OSError, match=f"{tmp_path.name}: .*File too large"):
        instructblip.write_weights(net, tmp_path)


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-3, atol=1e-6), name


def test_where_memory_ends_a_step_is_taken_in_parts_with_the_same_gradient(pairs, settings):
    calm = replace(settings, dropout=0.0)
    loss, expected, seen, _ = one_step(pairs[:4], calm)
    assert seen == [4]
    with pytest.warns(UserWarning, match="out of memory: continuing with batches of"):
        halved, found, seen, training = one_step(pairs[:4], calm, fail=[1, 3])
    assert seen == [4, 2, 2, 1, 1, 1, 1]  # what two posts had added to the gradient is taken back
    assert halved == pytest.approx(loss, rel=1e-5)
    assert training.counts["halved"] == 2
    assert_close(found, expected)
    warnings.simplefilter("ignore")  # pytest puts the filters back
    with pytest.raises(UsageError, match="out of memory with one post"):
        one_step(pairs[:4], calm, fail=range(99))


def test_activations_computed_twice_give_the_same_gradient(pairs, settings):
    assert settings.gradient_checkpointing
    loss, gradients, _, training = one_step(pairs[:4], settings)
    plain_loss, plain, _, _ = one_step(pairs[:4], replace(settings, gradient_checkpointing=False))
    assert any(getattr(module, "gradient_checkpointing", False) for module in training.network.net.modules())
    assert plain_loss == pytest.approx(loss, rel=1e-6)
    assert_close(gradients, plain)


def test_bfloat16_learns_with_adapters_in_float32(pairs, settings, cache):
    half = fit(pairs[:4], pairs[:4], settings=replace(settings, dtype="bfloat16"), tags=TYPES)
    written = blip_engine(model=settings.model, weights=half["text_model"], dtype="bfloat16", device="cpu", max_text=8)
    first, second = (check["loss"] for check in written.training()["history"])
    assert second < first
    dtypes = {p.dtype for name, p in written._load().network.net.named_parameters() if "lora_" in name}
    assert dtypes == {torch.float32}
    assert len(written.generate([pairs[0][0]], draws_for([pairs[0][0]]))) == 1


def test_where_memory_ends_validation_is_read_in_parts_with_the_same_loss(pairs, settings, monkeypatch):
    training = fitting.Training(replace(settings, dropout=0.0), TYPES, "float32", "cpu")
    held_out = training._read(pairs[6:10], "validation")
    training._check(0, held_out)
    whole, seen = training.network.collate, []

    def collate(chosen, pixels, *, learn):
        seen.append(len(chosen))
        if len(seen) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(chosen, pixels, learn=learn)

    monkeypatch.setattr(training.network, "collate", collate)
    with pytest.warns(UserWarning, match="out of memory: continuing with batches of 2"):
        training._check(1, held_out)
    assert seen == [4, 2, 2]
    first, second = (check["loss"] for check in training.history)
    assert second == pytest.approx(first, rel=1e-5)
