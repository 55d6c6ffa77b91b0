"""A tiny InstructBLIP, its pairs of posts and requests, and fits that are cut."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
tiny = pytest.importorskip("tiny_instructblip")

from hf_mner_aug.draw import draw  # noqa: E402
from hf_mner_aug.models.text import instructblip_net as instructblip  # noqa: E402
from hf_mner_aug.models.text import training as fitting  # noqa: E402
from hf_mner_aug.models.text.engine import TextRequest  # noqa: E402
from hf_mner_aug.models.text.finetuned import FineTuned  # noqa: E402
from hf_mner_aug.models.text.labelled import instruction, linearize  # noqa: E402
from hf_mner_aug.models.text.network import PAPER_MODEL, FitSettings  # noqa: E402
from hf_mner_aug.models.text.training import fit  # noqa: E402
from hf_mner_aug.schema import Codec  # noqa: E402
from hf_mner_aug.transform import iterate_posts  # noqa: E402

ROWS = {f"language_model.{name}" for name in ("decoder.embed_tokens", "lm_head")}
TYPES = tiny.TAGS


def blip_engine(**settings):
    return FineTuned(**{"kind": "instructblip", "model": PAPER_MODEL, **settings})


def as_pair(post):
    image = post.images[0] if post.images else None
    return TextRequest(instruction=instruction(post), image=image, post=post), linearize(post)


def draws_for(requests):
    return [draw(0, "test", 1, request.post.id, 0) for request in requests]


@pytest.fixture(scope="module")
def pairs(mner):
    return [as_pair(post) for post in iterate_posts(mner, Codec(mner.features), images=True)]


@pytest.fixture(scope="module")
def base(pairs, tmp_path_factory):
    texts = [text for request, linear in pairs for text in (request.instruction, linear)]
    return tiny.build(tmp_path_factory.mktemp("models") / "base", texts)


@pytest.fixture(scope="module")
def settings(base):
    return FitSettings(
        model=str(base), learning_rate=5e-3, batch_size=4, epochs=2, max_text=64, max_instruction=96, device="cpu"
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A store of its own, so that nothing was learnt before."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def engine(pairs, settings):
    found = fit(pairs[:6], pairs[6:9], settings=settings, tags=TYPES)
    return blip_engine(model=settings.model, weights=found["text_model"], max_text=12, batch_size=4, device="cpu")


def opened(base, **settings):
    limits = {"max_instruction": 128, "max_text": 64, **settings}
    return instructblip.open_base(FitSettings(model=str(base), **limits), TYPES, "float32")


class Cut(Exception):
    """Power failure."""


def cut_at(monkeypatch, step):
    """Let a training fail before a step; return the steps that it takes."""
    learn, taken = fitting.Training._learn, []

    def learn_or_fail(self, examples):
        if self.step == step:
            raise Cut
        taken.append(self.step)
        return learn(self, examples)

    monkeypatch.setattr(fitting.Training, "_learn", learn_or_fail)
    return taken


def one_step(pairs, settings, fail=()):
    """Return loss, gradients, batch sizes and the training after a step of which these calls find no memory."""
    training = fitting.Training(settings, TYPES, "float32", "cpu")
    examples = training._read(pairs, "train")
    whole, seen = training.network.collate, []

    def collate(chosen, pixels, *, learn):
        seen.append(len(chosen))
        if len(seen) in fail:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(chosen, pixels, learn=learn)

    training.network.collate = collate
    loss = training._learn(examples)
    return loss, {name: p.grad for name, p in training.learnable.items()}, seen, training


def written_ids(network, engine, requests):
    """Return the ids that an engine draws, also those of texts that do not end."""
    seen = {}

    def text_of(ids):
        return f"text {len(seen)}: {seen.setdefault(len(seen), ids[: [*ids, network.end].index(network.end)])}"

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network, "text_of", text_of)
        made = engine.generate(requests, draws_for(requests))
    return [seen[int(text.split(":")[0].split()[1])] for text in made]
