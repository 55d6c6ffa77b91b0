"""The table of the README's claims: what it names exists, and it covers what the README has."""

import re

import pytest
from places import ROOT

TABLE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")][1:]
PROGRAMS = r"(?:hf-mner-aug|make|python|pytest) "


def missing(cell):
    """Return the scripts, folders of tests, and tests that a cell names and the checkout lacks."""
    absent, path = [], None
    for name in re.findall(r"`([^`]+)`", cell):
        for file in re.findall(r"\b(?:tests|benchmarks|docs|examples)/[\w/.]+\.py", name):
            path = file
            absent += [] if (ROOT / file).is_file() else [file]
        test = re.search(r"\b(test_\w+)$", name)
        if test and path and (ROOT / path).is_file():
            known = re.findall(r"^def (test_\w+)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            absent += [] if test[1] in known else [test[0]]
    return absent


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_what_shows_and_holds_a_claim_exists(row):  # verbs, options and links are checked with those of all pages
    claim, shown, held = row
    assert re.search(rf"`{PROGRAMS}|\]\(results/\w+\.md\)", shown), claim
    assert re.search(r"`tests/|\]\(results/\w+\.md\)", held), claim
    assert missing(shown) + missing(held) == [], claim


def test_a_missing_script_and_a_missing_test_are_found():
    assert missing(
        "`tests/docs/test_claims.py::test_nothing`, `test_a_missing_script_and_a_missing_test_are_found`"
    ) == ["test_nothing"]
    assert missing("`python benchmarks/nothing.py` of `benchmarks/amia.py`") == ["benchmarks/nothing.py"]


def test_each_finding_of_the_readme_has_a_row():
    found = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## What we found\n")[2].partition("\n## ")[0]
    numbers = re.findall(r"^(\d+)\. ", found, re.MULTILINE)
    assert numbers == re.findall(r"^\| found (\d+):", TABLE, re.MULTILINE)
