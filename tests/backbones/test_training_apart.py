"""A CRF of many posts is trained by another process: the same model, and Ctrl-C does not wait for it."""

import signal
import subprocess
import time
import warnings
from dataclasses import replace

import pytest

from hf_mner_aug.backbones import crf
from hf_mner_aug.backbones.crf import CRF
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Entity, Post

ODD = Post(
    "odd",
    ["\u0928\u092e\u0938\u094d\u0924\u0947", "👩‍💻", 'a "quoted\\n" word', "é", "\t", "\x00"],
    (Entity(0, 2, "PER"),),
)
WAITS = "import sys, time\nfor line in iter(sys.stdin.readline, '\\n'): pass\ntime.sleep(60)"


@pytest.fixture
def processes(monkeypatch):
    """The processes that are started, all for training."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return started


def test_the_model_is_the_same(processes, monkeypatch):
    posts = [*(replace(found.post, images=()) for found in draw_posts()["train"][:60]), ODD]
    here = CRF(iterations=20).fit(posts)
    assert not processes
    monkeypatch.setattr(crf, "APART", 60)
    assert CRF(iterations=20).fit(posts).model == here.model
    assert [process.returncode for process in processes] == [0]
    CRF(iterations=20).fit(posts[:60])
    assert len(processes) == 1, "few posts are trained on here"


def test_an_interrupt_ends_the_training_process_at_once(processes, monkeypatch):
    monkeypatch.setattr(crf, "APART", 0)
    monkeypatch.setattr(crf, "TRAINING", WAITS)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1)
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            CRF().fit([ODD])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun < 10
    assert [process.returncode for process in processes] == [-signal.SIGKILL]


@pytest.mark.parametrize("dies", ["raise SystemExit(1)", "input(); input(); raise SystemExit(1)"])
def test_a_training_process_that_dies_is_a_line(processes, monkeypatch, dies):
    monkeypatch.setattr(crf, "APART", 0)
    monkeypatch.setattr(crf, "TRAINING", dies)
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(OSError, match=r"^crf: the training process \(900 posts\)"),
    ):
        CRF().fit([replace(ODD, id=str(i)) for i in range(900)])


def test_a_training_process_ends_with_its_parent(tmp_path):
    """Closing the pipe is what the end of the parent does, also when it is killed."""
    options = (
        '{"algorithm": "lbfgs", "params": {"max_iterations": 1000000, "epsilon": 0, "delta": 0}, "verbose": false}'
    )
    process = subprocess.Popen(
        [crf.sys.executable, "-P", "-c", crf.TRAINING, tmp_path / "model"], stdin=subprocess.PIPE, text=True
    )
    words = [[[f"word={i % 7}", f"other={i % 11}"], "B-PER" if i % 5 else "O"] for i in range(3000)]
    lines = [crf.json.dumps([[word for word, _ in words], [tag for _, tag in words]])] * 300  # half a minute of work
    process.stdin.write("\n".join([options, *lines, "", ""]))
    process.stdin.flush()
    time.sleep(2)
    assert process.poll() is None, "it trains"
    process.stdin.close()
    assert process.wait(timeout=20) == 1
