"""A page of results says how each of its tables was made."""

import re
import shutil
from types import SimpleNamespace

import pytest

import hf_mner_aug
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.studies import record

COMMAND = ["hf-mner-aug", "evaluate", "my aug", "--configs", "lsms_10pct"]


def test_a_page_is_made_and_a_study_of_the_same_title_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "CHECKOUT", tmp_path)  # no checkout
    page = tmp_path / "lsms.md"
    record.write_page(page, "study of lsms with crf", "| a |\n|---|\n| 1 |\n", COMMAND)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Results\n\n<!-- study of lsms with crf -->\n## Study of lsms with crf\n\n| a |\n")
    assert "\n\n```text\n$ hf-mner-aug evaluate 'my aug' --configs lsms_10pct\n```\n\nRecorded on 2" in text
    version = re.escape(hf_mner_aug.__version__)
    assert re.search(rf"on \d{{4}}-\d\d-\d\d with hf_mner_aug {version} on \S+ \S+, Python 3\.\S+, \d+ CPUs, ", text)

    page.write_text(text + "\nWords of mine.\n", encoding="utf-8")
    record.write_page(page, "curve of eda with crf", "second", COMMAND)
    record.write_page(page, "study of lsms with crf", "third", COMMAND)
    text = page.read_text(encoding="utf-8")
    assert text.index("third") < text.index("Words of mine.") < text.index("second")
    assert "| a |" not in text


def test_a_checkout_gives_its_commit(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(record, "CHECKOUT", tmp_path)
    assert record.commit() == "", "an empty folder is no checkout"
    answer = SimpleNamespace(returncode=0, stdout="1a2b3c4-dirty\n")
    monkeypatch.setattr(record.subprocess, "run", lambda *_, **__: answer)
    assert record.commit() == " (commit 1a2b3c4-dirty)"


def test_a_page_in_no_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none/page\.md: expected a Markdown file in a folder that exists"):
        record.write_page(tmp_path / "none" / "page.md", "study", "", COMMAND)


@pytest.mark.parametrize("verb", ["evaluate", "curve"])
def test_the_verbs_write_the_command_that_was_typed(verb, call, monkeypatch, tmp_path):
    report = SimpleNamespace(title="study of lsms with crf", to_markdown=lambda: "the table\n", folder="folder")
    monkeypatch.setattr(hf_mner_aug, verb, lambda *_, **__: report)
    typed = {
        "evaluate": ["repo", "--configs", "lsms_10pct", "--seeds", "0", "1"],
        "curve": ["set", "--ids", "ids", "--methods", "lsms", "--out", "out"],
    }[verb]
    code, said, _ = call(verb, *typed, "--write-page", "page.md")
    assert (code, said.splitlines()[0]) == (0, "the table")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert f"$ hf-mner-aug {verb} {typed[0]} " in text
    assert {"evaluate": "## Study of lsms with crf", "curve": "## Curve of lsms with crf"}[verb] in text
