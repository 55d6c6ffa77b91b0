"""A corpus of a few lines."""

import json

import pytest

from hf_mner_aug.corpus import index
from hf_mner_aug.models.search import Query, open_corpus


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def make(folder, rows, **options):
    """Return a corpus of posts, given as texts or as rows of JSON lines."""
    rows = [{"id": f"p{i}", "text": row} if isinstance(row, str) else row for i, row in enumerate(rows)]
    index(write_lines(folder / "posts.jsonl", rows), folder / "corpus.db", **options)
    return open_corpus(folder / "corpus.db")


def ids(corpus, *phrases, **options):
    return {hit.id for hit in corpus.search(Query(phrases=phrases, **options), 100_000)}


@pytest.fixture
def folder(tmp_path, mner):
    """The drawn set as a dataset's folder."""
    (tmp_path / "drawn").mkdir()
    mner.select(range(14)).to_parquet(tmp_path / "drawn" / "train.parquet")
    mner.select(range(14, 20)).to_parquet(tmp_path / "drawn" / "test.parquet")
    (tmp_path / "drawn" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    return tmp_path / "drawn"
