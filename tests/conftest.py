"""Small sets drawn in memory for all tests; caches lie in a temporary folder of the session."""

import atexit
import gc
import io
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job in the background, and so in all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["OMP_NUM_THREADS"] = "1"  # networks here are so small that a second thread only costs

# Before any import of datasets, which reads them once.
SESSION = Path(tempfile.mkdtemp(prefix="hf_mner_aug_tests_"))
atexit.register(shutil.rmtree, SESSION, ignore_errors=True)
os.environ["HF_HOME"] = str(SESSION / "hf")
os.environ["HF_MNER_AUG_CACHE"] = str(SESSION / "cache")
os.environ["XDG_CONFIG_HOME"] = str(SESSION / "config")
os.environ.pop("HF_MNER_AUG_HOSTS", None)
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # else datasets and evaluate count a load at amazonaws.com
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody is there: a Hub is what a test starts
LOOPBACK_ONLY = str(Path(__file__).parent / "loopback_only")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [LOOPBACK_ONLY, os.environ.get("PYTHONPATH")]))
if not str(getattr(sys.modules.get("sitecustomize"), "__file__", "")).startswith(LOOPBACK_ONLY):
    sys.modules.pop("sitecustomize", None)  # the environment's own
sys.path.insert(0, LOOPBACK_ONLY)
import sitecustomize as loopback_only  # noqa: E402

sys.path.remove(LOOPBACK_ONLY)

import deprecations  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from datasets import Dataset, DatasetDict, disable_progress_bars  # noqa: E402
from hub_client import hub_client  # noqa: E402, F401
from PIL import Image as Pillow  # noqa: E402
from s3_server import s3, s3_server  # noqa: E402, F401
from tiny_pipelines import folders  # noqa: E402, F401

from hf_mner_aug import cli  # noqa: E402
from hf_mner_aug.schema import Codec, Entity, Post, Relation, mner_features  # noqa: E402

deprecations.watch()
disable_progress_bars()


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self):
        return True


def pytest_collectstart(collector):
    """Set up hypothesis before a file that uses it is imported: that takes a second, which most runs can do without."""
    if isinstance(collector, pytest.Module) and "hypothesis" in collector.path.read_text(encoding="utf-8"):
        from hypothesis import settings

        settings.register_profile("tests", deadline=None, derandomize=True, database=None, max_examples=100)
        settings.load_profile("tests")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail a test, or what was set up for it, that made a call which a library deprecates."""
    result = yield
    if told := deprecations.taken():
        pytest.fail("deprecated calls of ours:\n" + "\n".join(told), pytrace=False)
    return result


# Words frequent enough to have neighbours (three times or more), tweets' own oddities, and every number of entities.
TEXTS = [
    "RT @fan10 : so happy to see [PER Lionel Messi] in [LOC Barcelona] today 😂 http://t.co/x1",
    "so glad to see [PER Stephen Curry] in [LOC Oakland] today #NBA",
    "very happy to see [PER Adele] at [ORG Google] tonight !",
    "very glad to meet [PER Taylor Swift] at [ORG Apple] tonight !",
    "so happy to meet @jane in [LOC New York City] today",
    "nothing happens here today \u00a0 just rain",
    "nothing happens there tonight , just snow",
    "[PER Jordan]",
    "[PER Jordan] wins",
    "@joe http://t.co/x2",
    "watch [MISC The Office] with [PER Steve Carell] of [ORG NBC] today in [LOC Scranton] so HAPPY",
    "watch [MISC Game of Thrones] with me tonight so Happy",
    "RT @ nba : [ORG Warriors] beat [ORG Cavs] tonight # finals http://t. co/x3",
    "we love [LOC Paris] so very much today 👩‍👩‍👧 ️",
    "we love [LOC Rome] so very much tonight",
    "they love [LOC Paris] too",
    "[ORG Amazon] [LOC Amazon]",
    "just rain in [LOC London] and snow in [LOC Oslo]",
    "just snow in [LOC Bergen] and rain in [LOC Turin]",
    "happy happy joy joy",
]
FINE = {"PER": ("PER", "person"), "LOC": ("LOC", "city"), "ORG": ("ORG", "company"), "MISC": ("MISC", "show")}
RELATIONS = ("None", "/per/loc/place_of_residence", "/per/org/member_of")


def parse(text):
    """Return the words and entities of ``we love [LOC New York] today``."""
    tokens, entities = [], []
    for found in re.finditer(r"\[([A-Z]+) ([^]]+)\]|([^ ]+)", text):
        words = (found[2] or found[3]).split(" ")
        if found[1]:
            entities.append(Entity(len(tokens), len(tokens) + len(words), found[1]))
        tokens += words
    return tokens, tuple(entities)


def picture(i, kind):
    """Return noise as an encoded image, such that another encoder run would change a JPEG's bytes."""
    pixels = np.random.default_rng(i).integers(0, 256, (12 + i % 3, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": f"{i}.{'jpg' if kind == 'JPEG' else 'png'}"}


def pictures(i):
    """Return post i's image, none for every fifth."""
    return () if i % 5 == 4 else (picture(i, "JPEG" if i % 2 else "PNG"),)


def as_dataset(posts, features):
    codec = Codec(features)
    return Dataset.from_list([codec.to_row(post) for post in posts], features=features)


def draw_posts():
    return [Post(f"p{i}", *parse(text), pictures(i)) for i, text in enumerate(TEXTS)]


def draw_set(name):
    """Return one of the sets: mner, multi_image, gmner, fmnerg, mre."""
    posts = draw_posts()
    if name == "mner":
        return as_dataset(posts, mner_features())
    if name == "multi_image":
        many = [
            Post(p.id, p.tokens, p.entities, tuple(picture(4 * n + i, "JPEG") for i in range(n % 4)))
            for n, p in enumerate(posts)
        ]
        return as_dataset(many, mner_features(images="many"))
    if name in ("gmner", "fmnerg"):
        boxed = []
        for n, post in enumerate(posts):
            entities = [
                Entity(e.start, e.end, e.type, FINE[e.type][1] if name == "fmnerg" else None, boxes_of(n, i, post))
                for i, e in enumerate(post.entities)
            ]
            boxed.append(Post(post.id, post.tokens, tuple(entities), post.images))
        fine = tuple(kind for _, kind in FINE.values()) if name == "fmnerg" else ()
        return as_dataset(boxed, mner_features(boxes=True, fine_types=fine))
    assert name == "mre"
    related = []
    for post in posts:
        if len(post.entities) >= 2:
            head, tail = ((e.start, e.end) for e in post.entities[:2])
            kind = RELATIONS[len(related) % len(RELATIONS)]
            related.append(Post(post.id, post.tokens, (), post.images, Relation(head, tail, kind)))
    return as_dataset(related, mner_features((), relations=RELATIONS))


def boxes_of(n, i, post):
    """Return no, one or two boxes of an entity; none where there is no image."""
    if not post.images:
        return ()
    return tuple((float(k), 1.0, 5.0 + i, 9.5) for k in range((n + i) % 3))


SETS = ("mner", "multi_image", "gmner", "fmnerg", "mre")


@pytest.fixture(autouse=True)
def no_name_is_looked_up():
    """Fail the test that asks for a name, or for another machine: what it found there is no one's promise."""
    before = len(loopback_only.refused)
    yield
    assert loopback_only.refused[before:] == [], "tests stay on loopback"


@pytest.fixture(autouse=True)
def no_server_is_remembered():
    """Forget in which form a server takes a schema: the next test's server may have the same port."""
    yield
    if forms := sys.modules.get("hf_mner_aug.models.endpoint.forms"):
        forms._TAKEN.clear()


@pytest.fixture(autouse=True)
def what_was_imported_is_no_garbage():
    """Keep the collection at the end of each command that fails from going through all that tests have imported."""
    if len(sys.modules) > what_was_frozen["modules"] + 20:
        gc.collect()
        gc.freeze()
        what_was_frozen["modules"] = len(sys.modules)


what_was_frozen = {"modules": 0}


@pytest.fixture(scope="session")
def sets():
    """All sets by name."""
    return {name: draw_set(name) for name in SETS}


@pytest.fixture(scope="session")
def mner(sets):
    """Twenty posts with PNG and JPEG images, some without: the plain case."""
    return sets["mner"]


@pytest.fixture(scope="session")
def splits(mner):
    """The plain set as a dict of splits."""
    return DatasetDict(
        train=mner.select(range(14)), validation=mner.select(range(14, 17)), test=mner.select(range(17, 20))
    )


@pytest.fixture(scope="session")
def two_configs(splits, tmp_path_factory):
    """A repo folder with the configs eda_100pct and lsms_100pct, made once: change a copy of it."""
    from hf_mner_aug import EDA, LSMS, augment, publish

    out = tmp_path_factory.mktemp("two_configs") / "aug"
    for method in (EDA(copies=1), LSMS(copies=1)):
        publish(augment(splits, method, out=out, progress=False), out)
    return out


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Call the command line here, in a folder of its own: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run
