"""README and the pages of docs/ are followed to the letter, each in a folder of its own.

Files that a page shows are written, its Python and its commands are run, in order. A block below a comment
``<!-- not run: REASON -->`` is only compiled, or parsed as the command line parses it.
"""

import re
import shutil
import sys

import pytest
from blocks import INLINE, PAGES, blocks, commands
from places import ROOT

from hf_mner_aug import cli, load_sample
from hf_mner_aug.schema import Codec, spans_to_bio

SPLITS = {"train": 60, "validation": 20, "test": 20}
WITH_CONTRIBUTING = [*PAGES, ROOT / "CONTRIBUTING.md"]
RUN = [page for page in PAGES if any(not block.why for block in blocks(page))]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def name(page):
    return page.relative_to(ROOT).as_posix()


def call(*words):
    """Run the command line, which must end well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(words))
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code, " ".join(words)


def check(words):
    """See that a command exists, with its options and arguments."""
    from typer.main import get_command

    program, *rest = words
    if program == "hf-mner-aug":
        verb, *arguments = cli._spread(cli._Options.taken_from(rest)[1])
        get_command(cli.app).commands[verb].make_context(verb, arguments)
    elif program == "make":
        assert rest[0] in TARGETS, words
    elif program == "python":
        assert [part for part in rest if part.endswith(".py") and (ROOT / part).is_file()], words
    else:
        assert words[:2] in (["pip", "install"], ["export", "SERPER_API_KEY=…"]), words


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder as a reader has it: raw posts with pictures, and the dataset made of them."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "RAW_FOLDER").mkdir()
    (folder / "IMAGE_FOLDER").mkdir()
    for split, rows in load_sample().items():
        codec = Codec(rows.features)
        lines = []
        for row in rows.with_format("arrow")[: SPLITS[split]].to_pylist():
            post = codec.to_post(row)
            tags = spans_to_bio([(e.start, e.end, e.type) for e in post.entities], len(post.tokens))
            lines += [f"IMGID:{post.id}", *map("\t".join, zip(post.tokens, tags, strict=True)), ""]
            for image in post.images:
                (folder / "IMAGE_FOLDER" / f"{post.id}.png").write_bytes(image["bytes"])
        (folder / "RAW_FOLDER" / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")
    shutil.copytree(folder / "IMAGE_FOLDER", folder / "pictures")
    for i, picture in enumerate(sorted((folder / "IMAGE_FOLDER").iterdir())[:3], 1):
        shutil.copyfile(picture, folder / "pictures" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        call("hf-mner-aug", "convert", "twitter2015", "RAW_FOLDER", "--images", "IMAGE_FOLDER", "--out", "twitter2015")
    return folder


@pytest.mark.parametrize("page", RUN, ids=name)
def test_a_page_is_followed(page, prepared, tmp_path, monkeypatch):
    folder = tmp_path / "reader"
    shutil.copytree(prepared, folder)
    if page.name == "README.md":
        shutil.rmtree(folder / "twitter2015")  # which it makes
    monkeypatch.chdir(folder)
    names = {}
    for block in blocks(page):
        if block.why:
            continue
        if block.path:
            (folder / block.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.path).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, name(page), "exec"), names)
        elif block.language == "bash":
            for words in commands(block.text):
                check(words)
                if words[0] == "hf-mner-aug":
                    call(*words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_is_read(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, name(page), "exec")
        elif block.language == "bash":
            for words in commands(block.text):
                check(words)


@pytest.mark.parametrize("page", WITH_CONTRIBUTING, ids=name)
def test_commands_in_sentences_exist(page):
    from typer.main import get_command

    known = get_command(cli.app)
    for command in INLINE.findall(page.read_text(encoding="utf-8")):
        program, verb, *rest = command.split()
        if program == "make":
            assert verb in TARGETS, command
            continue
        asked = {word for word in [verb, *rest] if word.startswith("--")}
        of_verb = known if verb.startswith("-") else known.commands[verb]
        assert asked <= {option for parameter in of_verb.params for option in parameter.opts}, command


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):  # those of docs/ are checked by the strict build of the site
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_table_of_methods_names_the_extras_that_the_methods_name():
    from hf_mner_aug.methods import METHODS, method_class

    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Methods\n")[2]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| ([^|]*) \|", table, re.MULTILINE)
    assert {name: extra.replace("`", "") for name, extra in rows if name in METHODS} == {
        name: method_class(name).facts.extra for name in METHODS
    }
