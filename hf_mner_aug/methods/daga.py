"""DAGA: a language model trained on labelled texts writes new ones, words and labels together.

Ding et al. 2020 (EMNLP). An LSTM (``models.text.lstm``) is trained on the train split's labelled texts and sampled at
temperature 1. A made post is of no single gold post: its ``source_id`` is null, and its id only says by whose draw it
was made. Deviates: ``copies`` texts for each gold post instead of 10,000; words seen once, and numbers, are classes by
form and tag, and a drawn class is filled with one of its words, so that no ``<unk>`` gets into a text; tags that would
be malformed are not drawn; a text that does not end, or repeats one of train, is rejected; a picture comes by a rule,
since the paper has none; a relation's head and tail are entities.
Rejects: unfinished_text, word_count, gold_text, unsafe_image, black_image, no_region
"""

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from hf_mner_aug.backbones.detectors import check_length
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.image import ImageEngineName, open_engine
from hf_mner_aug.models.image.engine import COLLAGE, Refused, check_from_text, check_sources
from hf_mner_aug.models.image.nearest import nearest_pictured
from hf_mner_aug.models.text import lstm
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.labelled import delinearize, find_relation, linearize, tag_type, with_arguments
from hf_mner_aug.need import need
from hf_mner_aug.posts.boxes import carry_boxes
from hf_mner_aug.posts.hygiene import MADE_OF, PICTURED
from hf_mner_aug.posts.pictures import image_digest, write_picture
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.reasons import NO_PICTURE, WORD_COUNT, Reason
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.posts import open_posts, save_posts
from hf_mner_aug.transform import NSFW, Content, Facts, Method, Reject
from hf_mner_aug.values import Amount, Count, Positive

NEAREST, NONE = "nearest", "none"
PROMPT = "A photo of {sentence}"
CHUNK = 16  # posts whose pixels are held at a time


@dataclass(frozen=True, kw_only=True)
class DAGA(Method):
    """Write labelled texts with a language model trained on the train split's.

    Args:
        epochs: passes of the language model over train.
        embedding: dimensions of its word vectors.
        hidden: dimensions of its state.
        temperature: of sampling.
        least_words: a text of fewer words is rejected.
        most_words: so is one that does not end after so many.
        image: the picture of a text: with `nearest` that of the train post whose words are most like it, with `none`
            none, with `collage` one of train pictures, or one drawn by a diffusers pipeline, an id or folder.
        steps: steps of the pipeline.
        guidance: how closely its pictures follow the text; 0 is off.
        nsfw_model: folder or id of an image classifier that finds unsafe pictures, where the pipeline has no
            checker.
    """

    name: ClassVar[str] = "daga"
    rejects: ClassVar[Mapping[str, Reason]] = {
        "unfinished_text": Reason("the model does not end", "raise the limit", ("most_words=64",)),
        **WORD_COUNT,
        "gold_text": Reason("the text is one of train's", "raise the temperature, or train it for fewer epochs"),
        **NO_PICTURE,
    }
    reads_images: ClassVar[bool] = True
    facts: ClassVar[Facts] = Facts(
        does="writes words and labels together, with a language model trained on the train split",
        paper="Ding et al. 2020, https://aclanthology.org/2020.emnlp-main.488",
        learns="a language model of labelled texts, the train split's posts and pictures",
        images="those of the train post whose words are most alike, byte for byte, or made for the text, or none",
        boxes="those of that post, on entities with the same words; others have none",
        embedded="the paper's language model, trained on the split",
        paper_uses="the same model, on text alone",
        extra="models",
    )

    copies: Positive = 4
    epochs: Positive = 30
    embedding: Positive = 300
    hidden: Positive = 512
    temperature: Amount = 1.0
    least_words: Count = 5
    most_words: Positive = 32
    image: ImageEngineName = NEAREST
    steps: Positive = 50
    guidance: Amount = 7.5
    nsfw_model: ModelName = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_from_text(self.image, self.name)
        if self.most_words < self.least_words:
            raise UsageError(f"daga: most_words {self.most_words} is below least_words {self.least_words}")

    @property
    def content(self) -> Content:
        """Posts of no single gold post."""
        return Content(sourceless=True)

    @property
    def _uses(self) -> Mapping[str, str]:
        """The model that draws, and the one that checks its pictures."""
        return {"image": "images", "nsfw_model": NSFW} if self._draws else {}

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        told: tuple[str, ...] = (
            "The texts are a small language model's: often ungrammatical, and what they say is made up. None is made "
            "of one gold post, so source_id is null; the first part of an id only names the post by whose draw a text "
            "was made.",
            "The model learned from every post of train and may repeat parts of them: after a post was withdrawn, make "
            "the config again from the posts that are left.",
        )
        if self.image == NEAREST and (self.artifact is None or self.learned["pictures"]):
            told += (
                "The pictures are those of the train posts whose words are most like a text (provenance: pictured): "
                "they were not made for it.",
            )
        return told

    @property
    def _draws(self) -> bool:
        """Whether an engine makes pictures."""
        return self.image not in (NEAREST, NONE)

    # ------------------------------------------------------------ learning

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the digests of the train posts and of the language model, the types of tags, and what train shows."""
        need("torch", extra="models")
        keep = self.image in (NEAREST, COLLAGE)
        pictures: set[str] = set()

        def noted() -> Iterable[Post]:
            for post in train:
                if post.relation is not None and post.entities:
                    raise UsageError("daga: expected tags or relations, found both: leave out one of the columns")
                pictures.update(filter(None, map(image_digest, post.images)))
                if post.tokens:
                    yield post if keep else replace(post, images=())

        files = {"posts": save_posts(noted())}
        if self._draws and pictures:
            check_sources(self.image, len(pictures), "pass image=none")
        elif self.image == NEAREST and not pictures:
            warnings.warn("daga: train has no pictures: texts only", stacklevel=3)
        asked = [post for found in open_posts(files["posts"]) if (post := with_arguments(replace(found, images=())))]
        held_out = [post for found in validation if (post := with_arguments(found))]
        settings = lstm.LSTMSettings(epochs=self.epochs, embedding=self.embedding, hidden=self.hidden, seed=self.seed)
        files["language_model"] = lstm.fit([*map(linearize, asked)], [*map(linearize, held_out)], settings)
        types = {tag_type(entity) for post in asked for entity in post.entities}
        return {"files": files, "types": sorted(types), "pictures": bool(pictures)}

    # ------------------------------------------------------------ making

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return a new post for each draw; nothing of the gold posts is read."""
        made: list[Post | Reject | None] = [
            self._written(post.id, draw) for post, draw in zip(posts, draws, strict=True)
        ]
        if self.image == NONE or not self.learned["pictures"] or self._codec().image_column is None:
            return made
        wanted = [i for i, post in enumerate(made) if isinstance(post, Post)]
        for first in range(0, len(wanted), CHUNK):  # the pixels of many would fill the memory
            chosen = wanted[first : first + CHUNK]
            written: Any = [made[i] for i in chosen]
            pictured = self._drawn(written, [draws[i] for i in chosen]) if self._draws else map(self._found, written)
            for i, post in zip(chosen, pictured, strict=True):
                made[i] = post
        return made

    def _written(self, name: str, draw: Draw) -> Post | Reject:
        """Return a post without pictures that passed the filters."""
        files = self.learned["files"]
        entities_only = not self._codec().relation_names  # where there are relations, no post of train has entities
        text = lstm.write(
            files["language_model"],
            draw.sub("text"),
            temperature=self.temperature,
            most_words=self.most_words,
            relation=not entities_only,
        )
        if isinstance(text, Unwritten):
            return Reject(text.reason, text.detail)
        found = delinearize(text, self.learned["types"])
        assert not isinstance(found, Reject), f"{found} in {text}"
        tokens, entities = found
        if refused := check_length(tokens, self.least_words):
            return refused
        if text_key(tokens) in _texts(files["posts"]):
            return Reject("gold_text")
        return Post(name, tokens, entities) if entities_only else Post(name, tokens, relation=find_relation(entities))

    def _found(self, post: Post) -> Post:
        """Return a post with the pictures of the train post most like it, if one shares a word with it."""
        shown = nearest_pictured(self.learned["files"]["posts"], post.tokens)
        if shown is None:
            return post
        details = {MADE_OF: [shown.id], PICTURED: [shown.id]}
        return carry_boxes(replace(post, images=shown.images, details=details), shown)

    def _drawn(self, posts: Sequence[Post], draws: Sequence[Draw]) -> list[Post | Reject]:
        """Return posts with a picture made for their words."""
        engine = open_engine(
            self.image,
            posts=self.learned["files"]["posts"],
            steps=self.steps,
            guidance=self.guidance,
            nsfw_model=self.nsfw_model or None,
            prompt=PROMPT,
        )
        sentences = [" ".join(post.tokens) for post in posts]
        made: list[Post | Reject] = []
        for post, picture in zip(posts, engine.generate(sentences, [d.sub("image") for d in draws]), strict=True):
            if isinstance(picture, Refused):
                made.append(Reject(picture.reason, picture.detail))
                continue
            shows = sorted(picture.info.get(MADE_OF, ()))
            details = {"synthetic": True, **({MADE_OF: shows, PICTURED: shows} if shows else {})}
            made.append(replace(post, images=(write_picture(picture, engine.source),), details=details))
        return made


@functools.lru_cache(maxsize=4)
def _texts(digest: str) -> frozenset[str]:
    """Return the texts of train posts, as ``text_key`` spells them."""
    return frozenset(text_key(post.tokens) for post in open_posts(digest)) - {""}
