"""A server of S3 on loopback (moto), with one bucket, for this process and those that it starts."""

import logging
import uuid

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAOFNOBODY000001", "AWS_SECRET_ACCESS_KEY": "secret/of+nobody00002"}


@pytest.fixture(scope="session")
def s3_server():
    """The settings with which the server is found."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        **KEYS,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_MAX_ATTEMPTS": "1",
    }
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The URL of an empty bucket."""
    import fsspec

    from hf_mner_aug.storage import shared

    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # it remembers the settings of the environment
    shared._file_system.cache_clear()
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"
