"""Every page has the one head, with the one stylesheet."""

import re
from pathlib import Path

import jinja2
import pytest
from parsed_page import parse

import hf_mner_aug
from hf_mner_aug import pages

PACKAGE, TEMPLATES = Path(hf_mner_aug.__file__).parent, Path(pages.__file__).parent
WRITTEN = {
    name
    for path in PACKAGE.rglob("*.py")
    for name in re.findall(r'fill\(\s*"([\w.]+\.jinja)"', path.read_text(encoding="utf-8"))
}


def head_of(template):
    """Return the head of the page that a template makes, without its title."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES))
    bare = environment.from_string("{% extends name %}{% block title %}{% endblock %}{% block body %}{% endblock %}")
    return bare.render(name=template, hues=(1,))


@pytest.mark.parametrize("template", sorted(WRITTEN))
def test_every_page_has_the_one_head(template):
    html = head_of(template)
    assert html == head_of("page.html.jinja")
    assert html.count("<head>") == html.count("<style>") == 1
    source = (TEMPLATES / template).read_text(encoding="utf-8")
    assert not re.search(r"<(html|head|style|meta|link|body)\b", source), "it stands in page.html.jinja"


def test_no_other_place_writes_a_page():
    assert len(WRITTEN) == 5
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".jinja") and re.search("<!doctype html", path.read_text(encoding="utf-8"), re.I)
    }
    assert found == {"pages/page.html.jinja"}


def test_the_head_is_for_narrow_screens_and_both_schemes():
    (head,) = parse(head_of("page.html.jinja")).find("head")
    named = {meta.attributes.get("name"): meta.attributes["content"] for meta in head.find("meta")[1:]}
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert named["color-scheme"] == "light dark"
    (style,) = head.find("style")
    assert "@media (prefers-color-scheme: dark)" in style.text()
