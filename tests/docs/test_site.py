"""The site builds strictly, and its pages load nothing from elsewhere."""

import re

from generators import site

LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


def test_pages_load_nothing_from_elsewhere():
    pages = list(site().rglob("*.html"))
    assert len(pages) > 25
    assert {str(page): LOADED.findall(page.read_text(encoding="utf-8")) for page in pages} == {
        str(page): [] for page in pages
    }


def test_no_code_of_ours_lies_in_the_site():
    assert [path.name for path in site().rglob("*") if path.suffix in (".py", ".pyc", ".md")] == []
