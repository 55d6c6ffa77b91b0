"""Commands of the package in forked processes: without the seconds that imports take, so that they can die by hundreds.

Run as a script it imports what the commands need, then forks one for each line of JSON that it reads.
"""

import contextlib
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


class Forks:
    """The process that forks, seen from a test."""

    def __init__(self, home):
        environment = {**os.environ, "HF_HOME": str(home)}
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._read() == "ready"

    def start(self, *arguments, cwd):
        """Begin a command in a folder, its cache and temporary files below it; return its process."""
        self._say(start=list(map(str, arguments)), cwd=str(cwd))
        return self._read()

    def wait(self, pid, seconds=120):
        """Return the exit code of a command, negative for a signal; None if it has not ended after some seconds."""
        self._say(wait=pid, seconds=seconds)
        return self._read()

    def run(self, *arguments, cwd):
        """Return the seconds that a command took, and see that it ended well."""
        begun = time.monotonic()
        pid = self.start(*arguments, cwd=cwd)
        code = self.wait(pid)
        assert code == 0, (arguments, code, said_by(cwd)[-600:])
        return time.monotonic() - begun

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)

    def _say(self, **message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _read(self):
        return json.loads(self.process.stdout.readline())


def said_by(folder):
    """Return what the commands in a folder wrote to both outputs; it lies beside."""
    return Path(f"{folder}.said").read_text()


def ended(pid, seconds):
    """Return the exit code of a child, or None if it lives on."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def fork(arguments, cwd):
    """Begin a command as the command line does, and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.chdir(cwd)
    said = os.open(f"{cwd}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(said, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ["HF_MNER_AUG_CACHE"], os.environ["TMPDIR"] = f"{cwd}/cache", f"{cwd}/tmp"
    Path("tmp").mkdir(exist_ok=True)
    tempfile.tempdir = None
    sys.argv = ["hf-mner-aug", *arguments]
    code = 1
    try:
        from hf_mner_aug.cli import main

        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def few_of(splits):
    """Return the first posts of each split, as a demo of them is over soon."""
    return type(splits)({name: rows.select(range(80 if name == "train" else 24)) for name, rows in splits.items()})


def main():
    import datasets
    import jinja2  # noqa: F401
    import pandas  # noqa: F401
    import PIL.ImageOps
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401
    import pycrfsuite  # noqa: F401
    import scipy.io
    import scipy.stats  # noqa: F401
    import sklearn.feature_extraction.text
    import sklearn.linear_model  # noqa: F401

    from hf_mner_aug import cli, conversion, corpus, demo, readers, sample  # noqa: F401
    from hf_mner_aug.backbones import crf, detectors  # noqa: F401
    from hf_mner_aug.methods import eda, lsms, memory_hard, rmda  # noqa: F401
    from hf_mner_aug.pages import config  # noqa: F401
    from hf_mner_aug.publishing import folder, hydration  # noqa: F401
    from hf_mner_aug.studies import curves, errors, quality_tables, tables  # noqa: F401

    sample.load_sample = functools.cache(lambda whole=sample.load_sample: few_of(whole()))
    datasets.disable_progress_bars()
    with contextlib.suppress(ImportError):  # newer releases of typer need it
        importlib.import_module("pydantic.type_adapter")
    assert threading.active_count() == 1, [thread.name for thread in threading.enumerate()]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "demo" in asked.get("start", ()):
            sample.load_sample()  # drawn here once
        answer = fork(asked["start"], asked["cwd"]) if "start" in asked else ended(asked["wait"], asked["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
