"""Commands in forked processes, and a prepared folder for them to run in copies of."""

import pytest
from forked import Forks
from verbs import LSMS, RMDA, write_raw


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    forks = Forks(tmp_path_factory.mktemp("home"))
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def prepared(forks, tmp_path_factory):
    """A folder with what the verbs read."""
    folder = tmp_path_factory.mktemp("kills") / "prepared"
    write_raw(folder)
    for command in (
        ("convert", "conll", "raw", "--images", "images", "--out", "set"),
        (*LSMS, "--out", "aug"),
        ("index", "posts.txt", "--out", "corpus.db"),
        ("export", "aug", "lsms_100pct", "--to", "doccano", "--out", "review"),
    ):
        forks.run(*command, cwd=folder)
    (folder / "review" / "posts.jsonl").rename(folder / "reviewed.jsonl")  # as if all posts were right
    return folder


@pytest.fixture(scope="session")
def prepared_with_ids(forks, prepared):
    """The same folder with a config of ids, too, which takes longest to make and few verbs read."""
    forks.run("augment", "set", "--method", "rmda", *RMDA, "--out", "ids", "--yes", cwd=prepared)
    return prepared
