"""A process with the real Hub clients for tests: it imports once, and runs each script in a fork of its own."""

import json
import os
import subprocess
import sys

import pytest
from hub_server import HubServer

CODE = """
import contextlib, json, os, sys, traceback, urllib.request
import time
import datasets, jinja2, pyarrow.parquet
import hf_mner_aug.publishing.hub as hub
from hf_mner_aug.sources.loading import load_source
time.sleep = lambda seconds: None
REPO = "org/aug"

def attempt(function, *arguments, **options):
    try:
        return str(function(*arguments, **options))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def order(**fault):
    url = os.environ["HF_ENDPOINT"] + "/_control/fault"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(fault).encode(), method="POST")).read()

for line in sys.stdin:
    script, folder, cwd = json.loads(line)
    if pid := os.fork():  # what a script changes is gone with it
        os.waitpid(pid, 0)
        continue
    os.chdir(cwd)
    answers, error = [], ""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            exec(script)
        except BaseException:
            error = traceback.format_exc()
    print(json.dumps([answers, error]), flush=True)
    os._exit(0)
"""


class HubClient:
    """The process, seen from a test, and the server that it talks to."""

    def __init__(self, server):
        environment = server.env("hf_write") | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = server
        self.process = subprocess.Popen([sys.executable, "-c", CODE], env=environment, **pipes)

    def run(self, script, folder):
        """Run a script beside a folder; return what it put into ``answers``. No fault is left for the next one."""
        print(json.dumps([script, str(folder), str(folder.parent)]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        self.server.faults.clear()
        assert answer, "the process of the script died"
        answers, error = json.loads(answer)
        assert not error, error
        return answers


@pytest.fixture(scope="session")
def hub_client(tmp_path_factory):
    """A client with a server of its own, for all tests of a session."""
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        found = HubClient(server)
        yield found
        found.process.communicate(timeout=60)
