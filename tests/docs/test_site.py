"""The site builds strictly, and its pages load nothing from elsewhere."""

import re

import pytest
from places import ROOT

pytest.importorskip("mkdocs", reason="needs pip install 'hf-mner-aug[docs]'")
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; any warning fails."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    assert {str(page): LOADED.findall(page.read_text(encoding="utf-8")) for page in pages} == {
        str(page): [] for page in pages
    }
