"""A client of a scripted endpoint, and what it is asked."""

import io
import os

import pytest
from endpoint_server import EndpointServer
from PIL import Image

from hf_mner_aug.models.endpoint import (
    KEY_ENV,
    ChatRequest,
    Endpoint,
)

KEY = "sk-this-key-must-stand-nowhere-42"
QUICK = {"backoff_s": 0.01, "max_wait_s": 3.0, "retries": 3, "timeout_s": 5.0}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(KEY_ENV, KEY)


@pytest.fixture
def server():
    with EndpointServer() as running:
        yield running


@pytest.fixture
def llm(server, tmp_path):
    return Endpoint(base_url=server.url, model="org/model", responses=tmp_path / "responses", **QUICK)


def ask(text, **more):
    return ChatRequest(messages=[{"role": "user", "content": text}], seed=7, **more)


def asks(n, **more):
    return [ask(f"tweet {i}", **more) for i in range(n)]


def recorded(folder):
    return sorted(folder.glob("responses/??/*.json"))


def encode(mode, kind, **options):
    buffer = io.BytesIO()
    Image.effect_noise((9, 7), 80).convert(mode).save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def edit(**values):
    """Return an edit of a right chat: the model, the finish reason, the message."""

    def change(body):
        body["choices"][0]["finish_reason"] = values.get("finish", "stop")
        body["choices"][0]["message"].update({k: v for k, v in values.items() if k in ("content", "refusal")})
        body["model"] = values.get("model", body["model"])

    return change
