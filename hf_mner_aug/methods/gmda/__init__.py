"""GMDA: a new text that holds a post's entities, labelled as it is written, then a picture for it.

Wang et al. 2024, "Generative Multimodal Data Augmentation for Low-Resource Multimodal Named Entity Recognition" (MM).
Texts are the train split's own, recombined (``templates``), those of InstructBLIP fine-tuned on it as the paper does or
of another language model fine-tuned likewise (``lm``), or those of a model behind an endpoint. Pictures start from the
original. Deviates: words that look like tags are escaped; a malformed text, or one that misses a requested entity, is
rejected; each text has a picture of its own; a relation's head and tail are entities, which no backbone checks. The
backbones' words and types are compared, and with ``check_boxes`` their boxes, but only of entities with the gold post's
words. With ``ask="free"`` a language model chooses the entities as well. With ``labels=teacher`` backbones fitted on
train label the words of a text anew, and no detector is asked; the text must hold the requested entities all the same.
With a list of names, a share of the requested entities are names of it, whose labels the detectors are not asked about.
Rejects: nested_mentions, no_context, empty_text, unfinished_text, unreadable_image, no_answer, no_words, bad_escape,
unknown_tag, i_without_b, empty_entity, tag_at_end, lost_entity, lost_relation, word_count, gold_text, inconsistent,
no_entity_found, unsure, not_json, off_schema, not_in_text, malformed, unsafe_image, black_image, no_region,
no_original, copied_text, adult_text, invented_address, other_type, unlabelled_name
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.settings import BackboneSpec
from hf_mner_aug.backbones.teachers import Labels, TeacherSpec, label_texts, taught, teacher_of
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.gmda import consistency, told
from hf_mner_aug.methods.gmda.pictures import open_originals, with_nearest, with_pictures
from hf_mner_aug.models import text as text_engines
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.endpoint.engine import ChatEngine, run_name
from hf_mner_aug.models.image import ImageEngineName, engine_of
from hf_mner_aug.models.image.engine import COLLAGE, Refused, check_fill, check_sources
from hf_mner_aug.models.text import TEMPLATES, TextEngineName, free
from hf_mner_aug.models.text.engine import Composed, TextEngine, TextRequest, Unwritten
from hf_mner_aug.models.text.labelled import (
    MALFORMED,
    delinearize,
    find_relation,
    free_instruction,
    instruction,
    linearize,
    tag_type,
    with_arguments,
)
from hf_mner_aug.models.text.network import Dtype, FitSettings, Marks
from hf_mner_aug.posts.boxes import carry_boxes
from hf_mner_aug.posts.hygiene import MADE_OF
from hf_mner_aug.posts.listed_mentions import LISTED, Writing, listed_details, swap
from hf_mner_aug.posts.pictures import TAKEN, image_digest
from hf_mner_aug.posts.repeats import WordPairs
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.reasons import (
    NO_ORIGINAL,
    NO_PICTURE,
    TEACHER,
    TEACHER_SCORES,
    UNREADABLE_IMAGE,
    WORD_COUNT,
    Reason,
)
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.names import NameList, fit_list, names_of
from hf_mner_aug.storage.posts import open_posts, save_posts
from hf_mner_aug.transform import NSFW, Content, Costs, Facts, Method, Reject
from hf_mner_aug.transform.weights import check_score
from hf_mner_aug.values import Amount, Count, Positive, Probability, Share, later

if TYPE_CHECKING:
    import PIL.Image

    from hf_mner_aug.models.image.engine import ImageEngine

__all__ = ["GMDA", "carry_boxes", "delinearize", "instruction", "linearize"]

PROMPT = "A photo of {sentence}"
CONTEXTS = "contexts"  # a list of ids: the train posts that a text is written into
FREELY = ("free_share", "free_image", "invented", "most_copied", "adult")  # parameters of free texts alone
CHUNK = 16  # posts whose pixels are held at a time

Words = tuple[str, ...]


def check_entities(post: Post, gold: Post) -> Reject | None:
    """Return a Reject ``lost_entity`` if a post lacks an entity of the gold post, or its type; otherwise None."""
    missing = _mentions(gold) - _mentions(post)
    return Reject("lost_entity", " ".join(min(missing)[0])) if missing else None


def _mentions(post: Post) -> Counter[tuple[Words, str]]:
    return Counter((tuple(post.tokens[e.start : e.end]), tag_type(e)) for e in post.entities)


# ---------------------------------------------------------------- the method


@dataclass(frozen=True, kw_only=True)
class GMDA(Method):
    """Write a labelled text for each post's entities, and make a picture for it.

    Args:
        text: write new words; false keeps the gold post's.
        image: make new pictures; false keeps the gold post's.
        text_model: `templates`; `instructblip:` and an id (with `@revision`) or folder; `lm:` and those of a causal
            language model, `vlm:` of one of pictures and text; `endpoint:URL#MODEL,max_tokens=512,shown=3`, a model
            that is shown other posts.
        tune: the part of InstructBLIP that is trained: `lora` or `qformer`.
        epochs: the number of passes of a fine-tuned model over train; `lm` and `vlm` end after one that does not
            lower the validation loss.
        temperature: of sampling from a model.
        top_k: a fine-tuned model samples from the k likeliest tokens.
        top_p: a fine-tuned model samples from the likeliest tokens that together have this probability.
        image_model: `collage` of train pictures, the id or folder of a diffusers pipeline, or `style:FILE`, an ONNX
            network of style transfer for the gold post's picture.
        steps: steps of the diffusers pipeline.
        guidance: how closely its pictures follow the text; 0 is off.
        text_guidance: the same where there is no original to start from.
        strength: how far a picture may depart from the original, from 0 to 1; with `style:FILE`, the share of the
            restyled picture in the new one.
        nsfw_model: folder or id of an image classifier that finds unsafe pictures, where the pipeline has no
            checker.
        least_words: a text of fewer words is rejected.
        most_words: a text of more words is rejected; 0 is no limit.
        all_entities: reject a text that misses a requested entity.
        detector: the backbone, fitted on train, that must find the text's entities, with their fine types; empty asks
            none. One that reads pictures (`umt:…`) is shown the new one. It does not check free texts, since it misses
            the names that train lacks.
        detectors: the number of such backbones.
        agreement: the share of them that must find exactly the text's entities.
        check_boxes: they must also find an entity with the gold post's words where its box is, or in no region if it
            has none; for a detector that grounds entities (`h_index`, `tiger`).
        per_context: the most published texts that `templates` wrote into the same train post; 0 is no limit.
        fill_missing: also draw pictures for posts without one; a collage cannot.
        marks: how `lm` and `vlm` mark entities: `plain`, as `[ Steve Irwin | person ]`, or `tokens`, whose
            embeddings are trained.
        rank: of the adapters of a fine-tuned model; 0 is 8 for `instructblip`, 16 for others.
        learning_rate: of a fine-tuned model; 0 is 0.00005 for `instructblip`, 0.0002 for others.
        dtype: of the weights of a fine-tuned model; `auto` is bfloat16 on a GPU and float32 on a CPU.
        ask: with `gold` a text is asked for with the gold post's entities, with `free` a language model chooses them.
        free_share: the share of the texts that are asked for freely; the others as with `gold`.
        free_image: with `nearest` a free text has the picture of the train post with the most similar words, with `own`
            it is written for the picture of the post that it is asked for.
        invented: handles, links, e-mail addresses and phone numbers of a free text that train lacks: `mask` them,
            `reject` the text, or `keep` them.
        most_copied: a free text is rejected if one train post has a larger share of its pairs of neighbouring words,
            and not published if an earlier free text has.
        adult: keep free texts with words of adult spam.
        labels: as the text is written (`method`), or those that a `teacher` gives its words; then no detector is asked.
        teacher: backbones fitted on train that label, or folders of saved ones.
        teacher_members: the number of such backbones of each kind.
        min_confidence: the least confidence of the teacher in every entity of a post.
        require_entity: reject a text in which the teacher finds no entity.
        mentions: a file of names, a type and a name on each line, that requested entities are replaced by.
        mention_share: the chance that a requested entity is replaced by a name of that list.
    """

    name: ClassVar[str] = "gmda"
    version: ClassVar[int] = 2
    drawn_as: ClassVar[int] = 1
    rejects: ClassVar[Mapping[str, Reason]] = {
        "nested_mentions": Reason("head and tail of a relation overlap", "use posts in which they do not"),
        "no_context": Reason(
            "no other train post has a place for the entities", "fit on more posts, or name another text model"
        ),
        "empty_text": Reason("the model ends before the first word", "train it for more epochs", ("epochs=20",)),
        "unfinished_text": Reason("the model does not end", "train it for more epochs", ("epochs=20",)),
        **UNREADABLE_IMAGE,
        "no_answer": Reason("the endpoint gives no text", "name another model, or raise its `max_tokens`"),
        **MALFORMED,
        "lost_entity": Reason("the text misses a requested entity", "name another text model", ("all_entities=false",)),
        "lost_relation": Reason("the text lacks the head or the tail of the relation", "name another text model"),
        **WORD_COUNT,
        "gold_text": Reason("the text is the gold post's own", "name another text model, or raise its temperature"),
        "inconsistent": Reason(
            "too few backbones find exactly the entities of the text",
            "leave the filter out: `--set detector=none`",
            ("detectors=5", "agreement=0.6"),
        ),
        **TEACHER,
        **NO_PICTURE,
        **NO_ORIGINAL,
        **free.REJECTS,
    }
    drops: ClassVar[Mapping[str, Reason]] = {
        "context_used": Reason(
            "another text was written into the same train post", "fit on more posts", ("per_context=0",)
        ),
        "repeated_text": Reason("a free text repeats an earlier one", "raise the temperature", ("most_copied=0.7",)),
    }
    scores: ClassVar[Mapping[str, str]] = {
        **TEACHER_SCORES,
        "agreement": "the share of detectors that find exactly the post's entities; with labels=teacher, "
        + TEACHER_SCORES["agreement"],
    }
    reads_images: ClassVar[bool] = True
    presets: ClassVar = {
        "paper": {
            "text_model": "instructblip:Salesforce/instructblip-flan-t5-xl",
            "image_model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "detector": "token_classifier:encoder=vinai/bertweet-base",
            "all_entities": False,
        },
        "paper_gmner": {
            "text_model": "instructblip:Salesforce/instructblip-flan-t5-xl",
            "image_model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "detector": "h_index",
            "check_boxes": True,
            "all_entities": False,
        },
    }
    facts: ClassVar[Facts] = Facts(
        does="writes a labelled text for a post's entities, and makes a picture for it",
        paper="Wang et al. 2024, Generative Multimodal Data Augmentation, ACM MM",
        learns="a writer of texts, backbones that check them, the train split's posts and pictures",
        images=f"remade from the original ({TAKEN}) and marked as made; the gold post's with image=False",
        boxes="those of entities with the same words, scaled to the new picture; others have none",
        embedded="train posts with other entities as texts, collages of train pictures, CRFs as detectors",
        paper_uses="InstructBLIP (Flan-T5-XL) for texts, Stable Diffusion v1.5 for pictures, an MNER model as filter",
        extra="core; models for language models, diffusers",
    )

    text: bool = True
    image: bool = True
    text_model: TextEngineName = TEMPLATES
    tune: Literal["lora", "qformer"] = "lora"
    epochs: Positive = 10
    temperature: Amount = 1.0
    top_k: Count = 50
    top_p: Share = 0.95
    image_model: ImageEngineName = COLLAGE
    steps: Positive = 50
    guidance: Amount = 10.0
    strength: Share = 0.8
    nsfw_model: ModelName = ""
    least_words: Count = 5
    most_words: Count = 0
    all_entities: bool = True
    detector: BackboneSpec | None = "crf"
    detectors: Positive = 1
    agreement: Share = 1.0
    per_context: Count = 1
    fill_missing: bool = False
    marks: Marks = later("plain")
    rank: Count = later(0)
    learning_rate: Amount = later(0.0)
    dtype: Dtype = later("auto")
    ask: Literal["gold", "free"] = later("gold")
    free_share: Share = later(1.0)
    free_image: Literal["nearest", "own"] = later("nearest")
    invented: free.Invented = later("mask")
    most_copied: Share = later(0.5)
    adult: bool = later(False)
    labels: Literal["method", "teacher"] = later("method")
    teacher: tuple[TeacherSpec, ...] = later(("crf",))
    teacher_members: Positive = later(1)
    min_confidence: Probability = later(0.5)
    require_entity: bool = later(True)
    mentions: NameList = later("")
    mention_share: Probability = later(0.5)
    text_guidance: Amount = later(7.5)
    check_boxes: bool = later(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text and not self.image:
            raise UsageError("gmda: with text=False and image=False nothing is made: leave one of them out")
        check_fill(self.image_model, self.image and self.fill_missing, "image_model=")
        text_engines.check_engine(self.text_model)
        self._fit_settings()
        self._check_ask()
        if self.mentions and not self.text:
            raise UsageError("gmda: mentions= is for new texts, and text=False makes none: leave one of them out")
        if self.most_words and self.most_words < self.least_words:
            raise UsageError(f"gmda: most_words {self.most_words} is below least_words {self.least_words}")
        if self.check_boxes and not (self._detects and consistency.grounds(self.detector or "")):
            raise UsageError(
                "gmda: check_boxes needs a detector that grounds the entities of new texts in pictures: "
                "detector=h_index or detector=tiger"
            )
        detected = ("agreement",) if self._detects and self.ask == "gold" else ()
        check_score(self, TEACHER_SCORES if self.labels == "teacher" else detected)
        teacher = teacher_of(self)
        if teacher and teacher.asks and self._chat:
            raise UsageError(
                "gmda: a text model and a teacher, both behind endpoints, are not paid for together: take a backbone "
                "as teacher"
            )

    def _check_ask(self) -> None:
        if self.ask == free.FREE and not self.text:
            raise UsageError("gmda: ask=free makes texts, and text=False makes none: leave one of them out")
        if self.ask == free.FREE:
            text_engines.check_free(self.text_model)
        elif given := [field.name for field in fields(self) if field.name in FREELY and field.name in self.params]:
            raise UsageError(f"gmda: {given[0]} is for free texts: pass ask=free, or leave it out")

    # ------------------------------------------------------------ for publishing and the card

    @property
    def content(self) -> Content:
        """Pictures alone, or texts; those of templates are other train posts, with this one's entities."""
        return Content(pictures_only=not self.text, joined=self.text and self.text_model == TEMPLATES)

    @property
    def _uses(self) -> Mapping[str, str]:
        """The parameters of what writes, draws, labels and checks."""
        return {
            **({"text_model": "text"} if self.text else {}),
            **({"image_model": "images"} if self.image else {}),
            **({"nsfw_model": NSFW} if self.image and self.image_model != COLLAGE else {}),
            **({"teacher": "teacher"} if self.text and self.labels == "teacher" else {}),
            **({"detector": "filter"} if self._detects else {}),
        }

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        return told.cautions_of(self)

    @property
    def _chat(self) -> ChatEngine | None:
        return text_engines.chat_engine(self.text_model) if self.text else None

    @property
    def costs(self) -> Costs | None:
        """The calls of an endpoint: a text or its labels for each copy, none where a post's mentions are nested."""
        chat, teacher = self._chat, teacher_of(self)

        def texts(post: Post) -> int:
            return self.copies if with_arguments(post) else 0

        if chat:
            return chat.costs(self, calls=texts)
        return teacher.costs(self, texts) if teacher else None

    def reduce(self) -> Callable[[Post], str | None]:
        """Return a check that drops a text written into a train post as enough others were, or a repeated free text."""
        used: Counter[str] = Counter()
        texts = WordPairs()

        def check(post: Post) -> str | None:
            if post.details.get(free.ASK) == free.FREE:
                if texts.find(post.tokens)[0] > self.most_copied:
                    return "repeated_text"
                texts.add(post.id, post.tokens)
            contexts = post.details.get(CONTEXTS, ())
            if self.per_context and any(used[name] >= self.per_context for name in contexts):
                return "context_used"
            used.update(contexts)
            return None

        return check

    # ------------------------------------------------------------ learning

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the digests of the train posts, the text model and the detectors, and the types of tags."""
        keep = (
            self._learns_to_write or self._finds_pictures or self._sees or (self.image and self.image_model == COLLAGE)
        )
        pictures: set[str] = set()
        types: set[str] = set()
        boxed = 0

        def noted() -> Iterable[Post]:
            nonlocal boxed
            for post in train:
                boxed += any(entity.boxes for entity in post.entities)
                pictures.update(filter(None, map(image_digest, post.images)))
                if post.relation is not None and post.entities:
                    raise UsageError("gmda: expected tags or relations, found both: leave out one of the columns")
                if post.tokens:
                    types.update(map(tag_type, asked.entities if (asked := with_arguments(post)) else ()))
                    yield post if keep else replace(post, images=())

        writing = Writing()
        files = {"posts": save_posts(writing.counting(noted()) if self.mentions else noted())}
        files |= fit_list(self.mentions, writing)
        posts = open_posts(files["posts"])
        sizes: dict[str, list[int]] = {}
        if self.check_boxes and not (boxed and pictures):
            raise UsageError("gmda: check_boxes compares boxes in pictures, and train has none: leave it out")
        if self.image and not pictures:
            if not self.text and not self.fill_missing:
                raise UsageError("gmda: text=False makes pictures, and train has none to make them of")
            warnings.warn("gmda: train has no pictures" + ": texts only" * (not self.fill_missing), stacklevel=3)
        elif self.image:
            check_sources(self.image_model, len(pictures), "pass image=False, or name a pipeline: image_model=MODEL")
        if self.text:
            if teacher_of(self):
                validation = open_posts(save_posts(validation))  # which two of them read
            if self._learns_to_write:
                files |= self._fit_text(posts, validation, sorted(types))
            checkers, sizes = self._fit_checkers(posts, validation)
            files |= checkers
        return {"files": files, "pictures": bool(pictures), "types": sorted(types), **sizes}

    def _fit_checkers(
        self, train: Iterable[Post], validation: Iterable[Post]
    ) -> tuple[dict[str, str], dict[str, list[int]]]:
        """Return the digests of the teacher or the detectors, and the sizes of the sample that they learned from."""
        teacher = teacher_of(self)
        if teacher:
            sample = filters.sample_posts((replace(post, images=()) for post in train), self.seed)
            return teacher.fit(sample.posts, list(validation), self.seed), sample.sizes
        plain = (post for post in train if self._detects and post.relation is None)
        sample = filters.sample_posts(consistency.as_learned(plain, pictures=self._sees), self.seed)
        if self.detector and sample.posts:
            return filters.fit_detectors(sample.posts, self.detector, self.detectors, self.seed), sample.sizes
        return {}, {}

    def _fit_text(self, train: Iterable[Post], validation: Iterable[Post], types: Sequence[str]) -> dict[str, str]:
        def pairs(posts: Iterable[Post]) -> list[tuple[TextRequest, str]]:
            asked = [post for found in posts if found.tokens and (post := with_arguments(found))]
            gold = [] if self._all_free else [(_request(post), linearize(post)) for post in asked]
            return gold + [(self._free_request(post), linearize(post)) for post in asked if self.ask == free.FREE]

        tags = [f"{prefix}-{kind}" for kind in types for prefix in "BI"]
        settings = self._fit_settings()
        assert settings is not None
        return text_engines.fit_engine(settings, pairs(train), pairs(validation), tags=tags)

    def _fit_settings(self) -> FitSettings | None:
        """Return the settings of the text model's fine-tuning, None if it has none; raises UsageError."""
        given = {"marks": self.marks, "r": self.rank, "learning_rate": self.learning_rate, "dtype": self.dtype}
        chosen = {name: value for name, value in given.items() if value and value not in ("plain", "auto")}
        return text_engines.fit_settings(self.text_model, tune=self.tune, epochs=self.epochs, seed=self.seed, **chosen)

    # ------------------------------------------------------------ making

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return a new post for each; pictures for a few at a time, since the pixels of many would fill the memory."""
        made: list[Post | Reject | None] = []
        written = self._written(posts, draws) if self.text else posts
        for first in range(0, len(posts), CHUNK):
            chosen = slice(first, first + CHUNK)
            golds, texts = posts[chosen], written[chosen]
            if self._finds_pictures:
                golds, texts = with_nearest(golds, texts, self.learned["files"]["posts"])
            new = self._pictured(golds, texts, draws[chosen])
            if self._sees:
                there = {i: post for i, post in enumerate(new) if isinstance(post, Post) and post.relation is None}
                asked = {i: post for i, post in there.items() if free.ASK not in post.details}
                seen = self._consistent(asked, posts[chosen])
                new = [seen.get(i, post) for i, post in enumerate(new)]
            made += new
        return made

    def _written(self, posts: Sequence[Post], draws: Sequence[Draw]) -> list[Post | Reject]:
        """Return posts with new words that passed the filters."""
        made: list[Post | Reject] = [Reject("nested_mentions") for _ in posts]
        asked = {i: labelled for i, post in enumerate(posts) if (labelled := with_arguments(post))}
        freely = {i for i in asked if self._asks_freely(draws[i])}
        asked |= {i: self._with_names(post, draws[i]) for i, post in asked.items() if i not in freely}
        requests = [
            self._free_request(post, draws[i].copy) if i in freely else _request(post, draws[i].copy)
            for i, post in asked.items()
        ]
        texts = self._text_engine().generate(requests, [draws[i].sub("text") for i in asked])
        for (i, gold), text in zip(asked.items(), texts, strict=True):
            made[i] = self._read(gold, text, freely=i in freely)
        written = {i: post for i, post in enumerate(made) if isinstance(post, Post) and post.relation is None}
        if self.labels == "teacher" and written:
            words = [post.tokens for post in written.values()]
            taught_labels = label_texts(self, words, self._codec().types, self.learned["files"])
            for (i, post), labels in zip(written.items(), taught_labels, strict=True):
                made[i] = self._with_labels(post, labels)
        checked = {i: post for i, post in written.items() if i not in freely}
        for i, found in self._consistent(checked).items() if not self._sees else ():
            made[i] = found
        return made

    def _consistent(self, posts: Mapping[int, Post], golds: Sequence[Post] = ()) -> dict[int, Post | Reject]:
        """Return posts, or why the detectors reject one; they are by their index in the posts that they are made of."""
        if not (self.detector and self._detects and posts):
            return {}
        digests = filters.detector_digests(self.learned["files"], self.detectors)
        options: dict[str, Any] = {"scored": self.weight == "agreement", "pictures": self._sees}
        boxes = {i: golds[i] for i in posts} if self.check_boxes else {}
        return consistency.checked(self.detector, digests, posts, self.agreement, golds=boxes, **options)

    def _with_names(self, post: Post, draw: Draw) -> Post:
        """Return a post with listed names in the place of some of its entities."""
        names = names_of(self.learned["files"])
        if names is None or post.relation is not None:
            return post
        return swap(post, names.instead(post, post.entities, self.mention_share, draw.sub("listed")))

    def _with_labels(self, post: Post, labels: Labels | Reject) -> Post | Reject:
        """Return a written post with the labels of the teacher, or why it is rejected."""
        if isinstance(labels, Reject):
            return labels
        found = taught(post, labels, least=self.min_confidence, require_entity=self.require_entity)
        if isinstance(found, Reject) or LISTED not in found.details:
            return found
        others = {name: value for name, value in found.details.items() if name != LISTED}
        return replace(found, details=others | listed_details(found.details[LISTED], found.tokens, found.entities))

    def _read(self, gold: Post, text: str | Unwritten, *, freely: bool = False) -> Post | Reject:
        """Return the post of a labelled text, or why it is rejected."""
        if isinstance(text, Unwritten):
            return Reject(text.reason, text.detail)
        found = delinearize(text, self.learned["types"])
        if isinstance(found, Reject):
            return found
        tokens, entities = found
        names = (CONTEXTS, MADE_OF) if self.text_model == TEMPLATES else (MADE_OF,)
        details = {name: list(text.made_of) for name in names} if isinstance(text, Composed) else {}
        details |= listed_details(gold.details.get(LISTED, ()), tokens, entities)
        origins = text.origins if isinstance(text, Composed) else None
        if origins is not None and gold.origins is not None:  # of a post with listed names
            origins = [gold.origins[origin] if isinstance(origin, int) else origin for origin in origins]
        post = Post(gold.id, tokens, entities, gold.images, details=details, origins=origins)
        refused = check_entities(post, gold) if self.all_entities and not freely else None
        refused = refused or filters.check_length(tokens, self.least_words, self.most_words)
        if refused:
            return refused
        if text_key(tokens) == text_key(gold.tokens):
            return Reject("gold_text")
        if freely:
            checked = self._check_free(post)
            if isinstance(checked, Reject):
                return checked
            post = checked
        if gold.relation is None:
            return post
        relation = find_relation(entities)
        if relation is None or (relation.type != gold.relation.type and not freely):
            return Reject("lost_relation")
        return replace(post, entities=(), relation=relation)

    def _check_free(self, post: Post) -> Post | Reject:
        """Return a post with entities of the model's own as it is kept, or why it is rejected."""
        known = free.knowledge(self.learned["files"]["posts"])
        refused = free.check_text(post.tokens, known, self.most_copied, adult=self.adult)
        if self.labels == "method":
            refused = refused or free.check_names(post, known)
        else:  # a teacher replaces the labels
            post = replace(post, entities=())
        return refused or free.settle_addresses(
            replace(post, details={**post.details, free.ASK: free.FREE}), known, self.invented
        )

    def _pictured(
        self, golds: Sequence[Post], written: Sequence[Post | Reject], draws: Sequence[Draw]
    ) -> list[Post | Reject | None]:
        """Return written posts with the gold posts' boxes and with pictures of their own, each with its own draw."""
        made: list[Post | Reject | None] = [
            carry_boxes(post, gold) if isinstance(post, Post) else post
            for post, gold in zip(written, golds, strict=True)
        ]
        wanted = [i for i, gold in enumerate(golds) if self._makes_pictures and (gold.images or self.fill_missing)]
        new = self._with_pictures([golds[i] for i in wanted], [written[i] for i in wanted], [draws[i] for i in wanted])
        for i, post in zip(wanted, new, strict=True):
            made[i] = post
        if not self.text:  # without a new picture it would be the gold post
            return [made[i] if i in set(wanted) else None for i in range(len(made))]
        return made

    def _with_pictures(
        self, golds: Sequence[Post], written: Sequence[Post | Reject], draws: Sequence[Draw]
    ) -> list[Post | Reject]:
        """Return written posts with new pictures, and boxes scaled to these."""
        if not golds:
            return []
        opened = [
            open_originals(post, gold.id) if isinstance(post, Post) else post
            for post, gold in zip(written, golds, strict=True)
        ]
        jobs = [(i, j) for i, found in enumerate(opened) if not isinstance(found, Reject) for j in range(len(found))]
        engine = self._image_engine()
        results = engine.generate(
            [" ".join(written[i].tokens) for i, _ in jobs],  # type: ignore[union-attr]
            [draws[i].sub("image", j) for i, j in jobs],
            originals=[opened[i][j] for i, j in jobs],  # type: ignore[index]
        )
        pictures: dict[int, list[PIL.Image.Image | Refused]] = defaultdict(list)
        for (i, _), picture in zip(jobs, results, strict=True):
            pictures[i].append(picture)
        return [
            found if isinstance(found, Reject) else with_pictures(written[i], golds[i], found, pictures[i], engine)  # type: ignore[arg-type]
            for i, found in enumerate(opened)
        ]

    # ------------------------------------------------------------ asking

    @property
    def _all_free(self) -> bool:
        return self.ask == free.FREE and self.free_share == 1

    @property
    def _detects(self) -> bool:
        """Whether backbones check texts."""
        return self.text and bool(self.detector) and not self._all_free and self.labels == "method"

    @property
    def _sees(self) -> bool:
        """Whether these backbones read pictures, so that they check a post with its own."""
        return self._detects and consistency.reads_pictures(self.detector or "")

    @property
    def _finds_pictures(self) -> bool:
        return self.ask == free.FREE and self.free_image == "nearest"

    def _asks_freely(self, draw: Draw) -> bool:
        return self._all_free or (self.ask == free.FREE and draw.sub(free.ASK).random() < self.free_share)

    def _free_request(self, post: Post, copy: int = 0) -> TextRequest:
        image = post.images[0] if post.images and not self._finds_pictures else None
        asked = free_instruction(seen=not self._finds_pictures)
        return TextRequest(instruction=asked, image=image, post=post, copy=copy, free=True)

    # ------------------------------------------------------------ engines

    @property
    def _learns_to_write(self) -> bool:
        return self.text and text_engines.learns(self.text_model)

    @property
    def _makes_pictures(self) -> bool:
        there = self.learned["pictures"] or self.fill_missing
        return self.image and there and self._codec().image_column is not None

    def _text_engine(self) -> TextEngine:
        files = self.learned["files"]
        return text_engines.open_engine(
            self.text_model,
            files=files,
            types=self.learned["types"],
            seed=self.seed,
            run=run_name(self, files["posts"]),
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            dtype=self.dtype,
        )

    def _image_engine(self) -> "ImageEngine":
        return engine_of(self, prompt=PROMPT, strength=self.strength, text_guidance=self.text_guidance)


def _request(post: Post, copy: int = 0) -> TextRequest:
    image = post.images[0] if post.images else None
    return TextRequest(instruction=instruction(post), image=image, post=post, copy=copy)
