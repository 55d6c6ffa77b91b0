"""A home with secrets, sets that name them, and what shows that none got out."""

import os
import sys
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import picture
from datasets import Dataset

from hf_mner_aug import cli
from hf_mner_aug.schema import mner_features

SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n"
MARK = b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
OWN = 4  # rows whose pictures lie in the set's own folder, or are in it


@pytest.fixture
def home(tmp_path):
    """A user's home: a key, a private photo, and the folder of a stranger's set with every way to name them."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_rsa").write_bytes(SECRET)
    (tmp_path / "private.jpg").write_bytes(picture(90, "JPEG")["bytes"])
    own = tmp_path / "set"
    own.mkdir()
    (own / "pics").mkdir()
    for i in range(OWN):
        (own / "pics" / f"{i}.jpg").write_bytes(picture(i, "JPEG")["bytes"])
    (own / "link.jpg").symlink_to(tmp_path / ".ssh" / "id_rsa")
    (own / "photo.jpg").symlink_to(tmp_path / "private.jpg")
    (own / "up").symlink_to(tmp_path)
    (own / "loop.jpg").symlink_to(own / "loop.jpg")
    (own / "key.jpg").write_bytes(SECRET)
    os.mkfifo(own / "pipe.jpg")
    (own / "empty.jpg").write_bytes(b"")
    (own / "folder.jpg").mkdir()
    with (own / "sparse.jpg").open("wb") as file:
        file.truncate(10 << 30)
    (own / "inside.jpg").symlink_to(own / "pics" / "0.jpg")
    return tmp_path


def attacks(home):
    """Return, by path, why it is refused in the set's folder; None where a picture is read."""
    own = home / "set"
    return {
        "pics/0.jpg": None,
        str(own / "pics" / "1.jpg"): None,
        "pics/../pics/2.jpg": None,
        "inside.jpg": None,
        str(home / ".ssh" / "id_rsa"): "outside",
        "/etc/passwd": "outside",
        "../.ssh/id_rsa": "outside",
        "pics/../../private.jpg": "outside",
        str(home / "private.jpg"): "outside",
        "link.jpg": "outside",
        "photo.jpg": "outside",
        "up/private.jpg": "outside",
        "/dev/zero": "outside",
        "/dev/stdin": "outside",
        "/proc/self/environ": "outside",
        "/proc/self/fd/0": "outside",
        "~/.ssh/id_rsa": "not_there",
        "loop.jpg": "not_a_file",
        "key.jpg": "not_a_picture",
        "pipe.jpg": "not_a_file",
        "folder.jpg": "not_a_file",
        "": "not_a_file",
        ".": "not_a_file",
        "empty.jpg": "not_a_picture",
        "sparse.jpg": "too_large",
        "gone.jpg": "not_there",
        "pics/0.jpg\0.png": "not_there",
        "x" * 5000: "unreadable",
        "file:///etc/passwd": "address",
        "http://127.0.0.1:9/x.jpg": "address",
        "hf://datasets/org/x/a.jpg": "address",
        f"zip://id_rsa::{home}/.ssh/id_rsa": "address",
        f"local://{home}/private.jpg": "address",
    }


def is_secret(data):
    return MARK in data or picture(90, "JPEG")["bytes"] in data


def assert_clean(*folders):
    """See that no file below the folders holds the secret, and that no Parquet names a folder or lacks bytes."""
    for path in [path for folder in folders for path in Path(folder).rglob("*")]:
        if not path.is_file() or path.is_symlink():
            continue
        assert not is_secret(path.read_bytes()), path
        if path.suffix == ".parquet":
            for value in pictures_of(pq.read_table(path)):
                assert value["bytes"] is not None
                assert "/" not in (value["path"] or "")


def pictures_of(table):
    for name in ("image", "images"):
        for value in table[name].to_pylist() if name in table.column_names else []:
            yield from filter(None, value if isinstance(value, list) else [value])


def rows_of(paths, name="image"):
    wrap = {"image": lambda path: path, "images": lambda path: [path]}[name]
    named = {"bytes": None}
    return [
        {"id": f"r{i}", "tokens": ["so", "very", f"happy{i}", "Paris"], "ner_tags": [0, 0, 0, 3]}
        | {name: wrap({**named, "path": path})}
        for i, path in enumerate(paths)
    ]


FEATURES = mner_features()


def dataset_of(paths):
    return Dataset.from_list(rows_of(paths), features=FEATURES)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Call the command line in another folder, with a time limit: exit code and all that was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *map(str, arguments)])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("default")
            with pytest.raises(SystemExit) as end:
                cli.main()
        out = capsys.readouterr()
        error = out.err + "".join(f"{each.message}\n" for each in told)
        assert not is_secret((out.out + error).encode())
        return end.value.code, out.out, error

    return run


def images_of(dataset):
    return dataset.with_format("arrow")[:]["image"].to_pylist()
