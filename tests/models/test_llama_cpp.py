"""The endpoint client and a real llama.cpp server: Qwen of the laboratory, in JSON and in labelled text."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from places import ROOT

from hf_mner_aug import GMDA
from hf_mner_aug.models.endpoint import Endpoint
from hf_mner_aug.untrusted import hosts

MODEL = Path(os.environ.get("MNER_LAB", ROOT / "lab-models")) / "qwen.gguf"
LAB_PYTHON = ROOT / ".venv-lab" / "bin" / "python"  # of ``make lab``; the tests run in .venv
PYTHON = LAB_PYTHON if LAB_PYTHON.exists() else Path(sys.executable)
SCHEMA = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string"}, "maxItems": 3}},
    "required": ["names"],
    "additionalProperties": False,
}
START_SECONDS = 300
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MODEL.exists(), reason=f"{MODEL} is missing: make lab ($MNER_LAB)"),
    pytest.mark.skipif(
        PYTHON != LAB_PYTHON and find_spec("llama_cpp") is None, reason="llama-cpp-python is missing: make lab"
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server and its process, which is ended by its id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    words = [PYTHON, ROOT / "benchmarks" / "lab" / "serve.py", "--port", str(port)]
    environment = {**os.environ, "MNER_LAB": str(MODEL.parent)}
    with log.open("wb") as written:
        process = subprocess.Popen(words, stdout=written, stderr=written, env=environment)
    try:
        url = f"http://127.0.0.1:{port}/v1"
        wait_for(url, process, log)
        yield url, process
    finally:
        process.kill()
        process.wait(30)


def wait_for(url, process, log):
    for _ in range(START_SECONDS):
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/models", timeout=5):
                return
        except OSError:
            time.sleep(1)
    pytest.fail(f"the server did not start in {START_SECONDS} s: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def endpoint(server, tmp_path):
    url, _ = server
    hosts.allow(url)
    return Endpoint(
        base_url=url, model="qwen", responses=tmp_path / "responses", timeout_s=300, max_concurrency=1, run="try"
    )


def resident_gigabytes(process):
    (line,) = [
        line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1e6


def test_json_of_a_schema_is_answered_and_replayed(server, endpoint, tmp_path):
    ask = [{"role": "user", "content": "Who is named? Curry met Steve Kerr in Oakland . Answer in JSON."}]
    with pytest.warns(UserWarning, match="refuses response_format=json_schema: schemas are sent as response_format"):
        reply = endpoint.chat(ask, seed=1, temperature=0, max_tokens=60, json_schema=SCHEMA)
    assert list(reply.data) == ["names"]
    assert any("Kerr" in name for name in reply.data["names"])
    assert endpoint.spent().calls == 2, "one was refused"
    (record,) = (tmp_path / "responses").glob("??/*.json")
    assert json.loads(record.read_text())["form"] == "json_object"
    replayed = Endpoint(base_url=endpoint.base_url, model="qwen", responses=tmp_path / "responses", replay=True)
    assert replayed.chat(ask, seed=1, temperature=0, max_tokens=60, json_schema=SCHEMA).data == reply.data
    assert resident_gigabytes(server[1]) < 3.5


def test_gmda_writes_with_it(server, mner, monkeypatch, tmp_path):
    url, _ = server
    hosts.allow(url)
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "max_concurrency=1,timeout_s=300")
    posts = mner.remove_columns("image").select(range(4))
    text_model = f"endpoint:{url}#qwen,answer=json,max_tokens=80,shown=1"
    method = GMDA(text_model=text_model, detector=None, image=False).fit(posts)
    made = method.map(posts)
    assert len(made) > 0, "Qwen writes most of the texts that it is asked for"
    for row in made:
        assert row["source_id"] in posts["id"]
        assert len(row["tokens"]) >= 5
    assert method.map(posts)["tokens"] == made["tokens"], "answered from the record"
