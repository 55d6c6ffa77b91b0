"""A path in data is not an order to read: sets, exports and corpora of a stranger against every verb that reads them.

The user's secret is a file outside the set, in pictures' clothes in every way that a path can name it. No verb may put
its bytes, or a line of it, into anything that it writes or prints.
"""

import errno
import json
import os
import random
import shutil
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import home_of_secrets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture
from datasets import Audio, Dataset, DatasetDict, Features, Image, List
from home_of_secrets import (
    FEATURES,
    MARK,
    OWN,
    assert_clean,
    attacks,
    dataset_of,
    images_of,
    is_secret,
    pictures_of,
    rows_of,
)
from PIL import Image as Pillow

from hf_mner_aug import EDA, augment, publish
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.search import Query, open_corpus
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.storage import picture_files
from hf_mner_aug.storage.parquet import write_table
from hf_mner_aug.storage.picture_files import NOWHERE, Allowed, FileRefused, own_folders, read_picture_file

home, call = home_of_secrets.home, home_of_secrets.call  # fixtures


def hostile_set(home):
    """Write the stranger's Parquet into the set's folder and return it; texts differ."""
    rows = rows_of(attacks(home))
    data = Dataset.from_list(rows, features=FEATURES)
    pq.write_table(data.data.table, home / "set" / "train.parquet")
    return home / "set"


# ---------------------------------------------------------------- one file


def test_every_path_is_read_or_refused_for_its_reason(home):
    allowed = Allowed.of(home / "set")
    for path, reason in attacks(home).items():
        if reason is None:
            assert read_picture_file(path, allowed).startswith(b"\xff\xd8")
            with pytest.raises(FileRefused) as refused:
                read_picture_file(path, NOWHERE)
            assert refused.value.reason == "not_allowed"
            continue
        with pytest.raises(FileRefused) as refused:
            read_picture_file(path, allowed)
        assert refused.value.reason == reason, path
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400
        assert MARK.decode() not in str(refused.value)


def test_trust_opens_the_folder_but_no_device_key_or_address(home, monkeypatch):
    monkeypatch.chdir(home)
    anywhere = Allowed.of(trust_image_paths=True)
    assert read_picture_file(home / "private.jpg", anywhere) == read_picture_file("private.jpg", anywhere)
    for path, reason in {
        str(home / ".ssh" / "id_rsa"): "not_a_picture",
        "/etc/passwd": "not_a_picture",
        "/dev/zero": "not_a_file",
        "/proc/self/environ": "not_a_picture",
        "set/pipe.jpg": "not_a_file",
        "set/sparse.jpg": "too_large",
        "http://127.0.0.1:9/x.jpg": "address",
    }.items():
        with pytest.raises(FileRefused) as refused:
            read_picture_file(path, anywhere)
        assert refused.value.reason == reason, path


def test_a_device_is_never_opened(home, monkeypatch):
    opened = []
    real = os.open

    def spy(path, *arguments, **options):
        opened.append(os.fspath(path) if not isinstance(path, int) else path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", spy)
    for path in ("/dev/zero", str(home / "set" / "pipe.jpg")):
        with pytest.raises(FileRefused, match="is not a regular file"):
            read_picture_file(path, Allowed.of(trust_image_paths=True))
    assert "zero" not in opened
    assert "pipe.jpg" not in opened


def test_a_link_put_in_between_is_not_followed(home, monkeypatch):
    """A change of the folder after it was checked has no effect."""
    own, real = home / "set", os.path.realpath

    def swap(path, **options):
        found = real(path, **options)
        if str(path).endswith("pics/3.jpg") and not (own / "pics").is_symlink():
            shutil.move(own / "pics", own / "old")
            (own / "pics").symlink_to(home / "other")
        return found

    (home / "other").mkdir()
    shutil.copy(home / "private.jpg", home / "other" / "3.jpg")
    allowed = Allowed.of(own)
    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(FileRefused) as refused:
        read_picture_file("pics/3.jpg", allowed)
    assert refused.value.reason == "unreadable"
    (own / "4.jpg").write_bytes(picture(4, "JPEG")["bytes"])

    def swap_file(path, **options):
        found = real(path, **options)
        if str(path).endswith("4.jpg"):
            (own / "4.jpg").unlink()
            (own / "4.jpg").symlink_to(home / "private.jpg")
        return found

    monkeypatch.setattr(os.path, "realpath", swap_file)
    with pytest.raises(FileRefused) as refused:
        read_picture_file("4.jpg", allowed)
    assert refused.value.reason == "not_a_file"


@pytest.mark.parametrize("reason", ["unreadable", "not_a_file", "too_large"])
def test_a_file_put_in_after_the_look_is_not_read(home, monkeypatch, reason):
    file, real = home / "set" / "pics" / "3.jpg", os.stat

    def swap(path, **options):
        found = real(path, **options)
        if path == "3.jpg":
            file.unlink()
            if reason == "unreadable":
                file.symlink_to(home / "private.jpg")
            elif reason == "not_a_file":
                os.mkfifo(file)
            else:
                os.link(home / "set" / "sparse.jpg", file)
        return found

    allowed = Allowed.of(home / "set")
    monkeypatch.setattr(os, "stat", swap)
    with pytest.raises(FileRefused) as refused:
        read_picture_file("pics/3.jpg", allowed)
    assert refused.value.reason == reason


def test_a_file_that_grows_is_not_read_for_ever(home, monkeypatch):
    monkeypatch.setattr(picture_files, "MAX_BYTES", 100)
    (home / "set" / "long.jpg").write_bytes(picture(1, "JPEG")["bytes"])
    with pytest.raises(FileRefused, match=r"has [0-9,]+ bytes, at most 100 are read"):
        picture_files.read_file("long.jpg", Allowed.of(home / "set"), 100)


def test_a_picture_with_too_many_pixels_is_none(home, monkeypatch):
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(FileRefused, match="pixels") as refused:
        read_picture_file("pics/0.jpg", Allowed.of(home / "set"))
    assert refused.value.reason == "not_a_picture"


def test_the_system_says_no(home, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    allowed = Allowed.of(home / "set")
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(FileRefused, match="cannot be read: Permission denied") as refused:
        read_picture_file("pics/0.jpg", allowed)
    assert refused.value.reason == "unreadable"


def test_the_named_folder_may_be_a_link_itself(home):
    (home / "mount").symlink_to(home / "set")
    allowed = Allowed.of(home / "mount")
    assert read_picture_file(home / "mount" / "pics" / "0.jpg", allowed)
    assert read_picture_file(home / "set" / "pics" / "0.jpg", allowed)
    with pytest.raises(UsageError, match="no such folder of pictures"):
        Allowed.of(home / "nowhere")


def test_a_snapshot_of_the_hub_reads_its_blobs_and_nobody_elses(home):
    cache = home / "datasets--org--posts"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "blobs" / "1f").write_bytes(picture(1, "JPEG")["bytes"])
    (cache / "snapshots" / "abc" / "1.jpg").symlink_to(Path("..", "..", "blobs", "1f"))
    (cache / "snapshots" / "abc" / "2.jpg").symlink_to(home / "private.jpg")
    allowed = Allowed(own_folders(str(cache / "snapshots" / "abc")))
    assert read_picture_file("1.jpg", allowed)
    with pytest.raises(FileRefused, match="lies outside"):
        read_picture_file("2.jpg", allowed)
    (cache / "blobs" / "1f").unlink()
    (cache / "blobs").rmdir()
    (cache / "blobs").symlink_to(home)
    assert own_folders(str(cache / "snapshots" / "abc")) == ((cache / "snapshots" / "abc").resolve(),)


@pytest.mark.attack
def test_paths_made_at_random_reach_nothing_outside(home):
    """5,000 paths of parts that lead anywhere; whatever is read is one of the set's own pictures."""
    draw = random.Random(17)
    own = home / "set"
    parts = ["..", ".", "", "pics", "up", "link.jpg", "photo.jpg", "inside.jpg", "pipe.jpg", "key.jpg", "loop.jpg", "~"]
    parts += [
        "0.jpg",
        "pics/3.jpg",
        "pics/0.jpg",
        "private.jpg",
        ".ssh",
        "id_rsa",
        "set",
        "\0",
        "%2e%2e",
        "é",
        "x" * 300,
        str(own)[1:],
    ]
    starts = ["", "", "/", f"{home}/", f"{own}/", "/proc/self/cwd/", "/dev/fd/", "file://", "./", "//", f"{own}/up/"]
    allowed = Allowed.of(own)
    pictures = {(own / "pics" / f"{i}.jpg").read_bytes() for i in range(OWN)}
    counts = Counter()
    for _ in range(5000):
        path = draw.choice(starts) + "/".join(draw.choices(parts, k=draw.randint(1, 5)))
        try:
            assert read_picture_file(path, allowed) in pictures, path
            counts["read"] += 1
        except FileRefused as error:
            counts[error.reason] += 1
    print("\n".join(f"{reason:<15}{n:>6}" for reason, n in counts.most_common()))
    assert sum(counts.values()) == 5000
    assert counts["read"] > 50
    assert set(counts) <= {"read", *picture_files.REASONS}


# ---------------------------------------------------------------- whole sets


def test_a_strangers_set_is_read_in_its_own_folder_only(home):
    source = hostile_set(home)
    with pytest.warns(UserWarning, match="the data names by path are missing") as told:
        found = load_source(str(source))["train"]
    expected = list(attacks(home).values())
    images = images_of(found)
    assert [image is not None for image in images] == [reason is None for reason in expected]
    (line,) = [str(w.message) for w in told if "by path" in str(w.message)]
    for reason in filter(None, expected):
        assert f"{expected.count(reason)} {reason} (" in line
    assert "\n" not in line
    assert "--images DIR" in line
    assert {image["path"] for image in images if image} == {"0.jpg", "1.jpg", "2.jpg", "inside.jpg"}


def test_augment_publishes_no_file_of_the_user(home, call):
    source = hostile_set(home)
    code, _, error = call(
        "augment", source, "--method", "eda", "--copies", 5, "--out", "aug", "--part-size", 10, "--num-proc", 2
    )
    assert code == 0, error
    assert error.count("the data names by path are missing") == 1
    assert_clean(home / "aug", home / "aug.runs", os.environ["HF_MNER_AUG_CACHE"])
    table = pq.read_table(next((home / "aug").glob("*/train-*.parquet")))
    assert {picture["path"] for picture in pictures_of(table)} == {"0.jpg", "1.jpg", "2.jpg", "inside.jpg"}
    assert "eda" in table["method"].to_pylist()
    first = (home / "aug" / "eda_100pct" / "augmentation.json").read_bytes()
    code, _, error = call("augment", source, "--recipe", "aug/eda_100pct/augmentation.json", "--out", "again")
    assert code == 0, error
    assert json.loads(first)["content_fingerprint"] in (home / "again/eda_100pct/augmentation.json").read_text()
    assert call("verify", "aug", "eda_100pct", "--rerun", "--source", source)[0] == 0
    assert call("show", "aug", "eda_100pct", "--source", source, "--out", "page.html")[0] == 0
    assert_clean(home / "again")
    assert not is_secret((home / "page.html").read_bytes())


def test_a_card_names_no_data_files_but_its_own(home, mner):
    private = home / "private"
    private.mkdir()
    mner.to_parquet(private / "train.parquet")
    source = home / "cards"
    source.mkdir()
    mner.select([0]).to_parquet(source / "own.parquet")
    (source / "link.parquet").symlink_to(private / "train.parquet")
    for pattern in (private / "train.parquet", "../private/*.parquet", "link.parquet", "*.parquet"):
        configs = [{"config_name": "default", "data_files": [{"split": "train", "path": str(pattern)}]}]
        (source / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
        with pytest.raises(UsageError, match=r"its data file .*\.parquet' lies outside of it|expected a path inside"):
            load_source(str(source))
    (source / "README.md").unlink()
    (source / "link.parquet").unlink()
    assert len(load_source(str(source))["train"]) == 1


def test_images_names_a_folder_for_every_verb(home, call):
    outside = home / "elsewhere"
    outside.mkdir()
    for i in range(6):
        (outside / f"{i}.jpg").write_bytes(picture(i, "JPEG")["bytes"])
    (home / "bare").mkdir()
    rows = rows_of([f"{i}.jpg" for i in range(5)] + [str(outside / "5.jpg")])
    pq.write_table(Dataset.from_list(rows, features=FEATURES).data.table, home / "bare" / "train.parquet")
    bare, images = home / "bare", ("--images", outside)
    assert call("validate", bare)[0] == 2
    code, out, _ = call("validate", bare, *images)
    assert (code, out.startswith("0 errors")) == (0, True)
    assert call("augment", bare, "--method", "eda", "--copies", 5, "--out", "aug", *images)[0] == 0
    table = pq.read_table(next((home / "aug").glob("*/train-*.parquet")))
    assert (table["image"].null_count, "eda" in table["method"].to_pylist()) == (0, True)
    assert call("verify", "aug", "eda_100pct", "--rerun", "--source", bare)[0] == 2, "without them it is another set"
    assert call("verify", "aug", "eda_100pct", "--rerun", "--source", bare, *images)[0] == 0
    assert call("show", "aug", "eda_100pct", "--source", bare, *images)[0] == 0
    code, out, _ = call("index", bare, "--out", "c.db", *images)
    assert code == 0
    hits = open_corpus(home / "c.db").search(Query(text="happy0 happy1 happy2 happy3 happy4 happy5"))
    assert sum(len(hit.images) for hit in hits) == 6
    code, _, error = call(
        "augment", bare, "--method", "eda", "--copies", 5, "--out", "aug", "--images", home / "nowhere"
    )
    assert (code, "no such folder of pictures" in error) == (2, True)


def test_validate_names_each_row_and_its_reason(home, call):
    source = hostile_set(home)
    code, out, _ = call("validate", source, "--json")
    assert code == 2
    found = {p["row"]: p for p in json.loads(out) if p["kind"] in ("refused_image", "unreadable_image")}
    reasons = list(attacks(home).values())
    assert {row: p["severity"] for row, p in found.items()} == {
        i: "error" for i, reason in enumerate(reasons) if reason is not None
    }
    own = ("not_there", "not_a_picture", "unreadable")
    for row, problem in found.items():
        assert problem["kind"] == ("unreadable_image" if reasons[row] in own else "refused_image"), problem
    assert call("validate", source, "--no-images")[1].startswith("0 errors")


def test_no_writer_of_parquet_reads_a_file_or_an_address(home):
    with Listener() as server:
        paths = [*attacks(home), f"{server.url}/x.jpg", f"zip://a.jpg::{server.url}/x.zip", "hf://datasets/a/b/c.jpg"]
        features = Features({**FEATURES, "images": List(Image()), "deep": [{"pic": Image()}], "sound": Audio()})
        value = [{"bytes": None, "path": path} for path in paths]
        rows = [
            {**row, "images": value, "deep": [{"pic": each}], "sound": each}
            for row, each in zip(rows_of(paths), value, strict=True)
        ]
        table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
        with pytest.warns(UserWarning, match="other_kind"):
            path = write_table(home / "out.parquet", table, features)
    assert server.asked == []
    back = pq.read_table(path)
    assert not is_secret(path.read_bytes())
    assert back["image"].null_count == len(paths)
    assert back["images"].to_pylist() == [[]] * len(paths)
    assert [deep[0]["pic"] for deep in back["deep"].to_pylist()] == [None] * len(paths)
    assert back["sound"].null_count == len(paths)


def test_names_in_what_is_written_are_base_names(home):
    paths = ["/home/ann/x.jpg", "C:\\Users\\Ann\\x.jpg", f"zip://x.jpg::{home}/a.zip", "x.jpg", None]
    data = picture(1, "JPEG")["bytes"]
    rows = [row | {"image": {"bytes": data, "path": path}} for row, path in zip(rows_of(paths), paths, strict=True)]
    path = write_table(home / "x.parquet", pa.Table.from_pylist(rows, FEATURES.arrow_schema), FEATURES)
    assert [image["path"] for image in pictures_of(pq.read_table(path))] == ["x.jpg", "x.jpg", "a.zip", "x.jpg", None]


def test_withdraw_reads_no_file_of_the_user(home):
    source = DatasetDict(train=dataset_of([f"{home}/set/pics/{i}.jpg" for i in range(3)]))
    run = augment(source, EDA(copies=1), out=home / "aug", trust_image_paths=True, progress=False)
    publish(run, home / "aug")
    file = next((home / "aug").glob("*/train-*.parquet"))
    features = Features.from_arrow_schema(pq.read_schema(file))
    rows = pq.read_table(file).to_pylist()
    for row, path in zip(rows, attacks(home), strict=False):
        row["image"] = {"bytes": None, "path": path}
    rows[1]["image"] = {"bytes": None, "path": f"{home}/private.jpg"}
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), file)
    with pytest.warns(UserWarning, match="named? by path|names by path"):
        gone = withdraw_posts(home / "aug", ["r0"])
    assert sum(gone.values()) >= 1
    assert_clean(home / "aug")


def test_a_config_that_names_files_is_no_config_of_ours(home, call):
    run = augment(
        dataset_of(["0.jpg", "1.jpg"]), EDA(copies=5), out=home / "aug", images=home / "set/pics", progress=False
    )
    publish(run, home / "aug")
    file = next((home / "aug").glob("*/train-*.parquet"))
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0]["image"] = {"bytes": None, "path": f"{home}/private.jpg"}
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    code, _, error = call("verify", "aug", "eda_100pct")
    assert (code, "names the file" in error, "which is not read" in error) == (2, True, True)
    assert call("show", "aug", "eda_100pct", "--out", "page.html")[0] == 0
    assert not is_secret((home / "page.html").read_bytes())
    assert call("quality", "aug", "eda_100pct")[0] == 2


# ---------------------------------------------------------------- what is listened to


class Listener:
    """A loopback server that records every request."""

    def __enter__(self):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join(5)
        self.server.server_close()
