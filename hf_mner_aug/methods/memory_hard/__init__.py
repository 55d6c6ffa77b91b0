"""Memory-guided hard data: what a model gets wrong, the patterns behind it, and new posts that test them.

Liu et al. 2026, "Memory-Guided Hard Data Augmentation for Multimodal Named Entity Recognition" (Findings of ACL). Only
its abstract is public; how each step works is decided here. ``fit`` mines the train split (K folds, several
seeds), keeps its failures in a tree of patterns, and writes a first post for each hard one; the counts of what passed
the filters decide what the further copies are written for. A post that is not hard gives no row. The detectors are not
asked about names of a user's list. The preset ``paper`` is after a summary of the paper, not its text (``of_paper``).
Rejects: no_place, no_mention, no_answer, not_json, off_schema, not_in_text, malformed, lost_entity, word_count,
near_duplicate, off_pattern, inconsistent, unsafe_image, black_image, no_region, no_original, no_hit, no_image,
no_entity_found, unsure, unsupported, unlike_picture
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.settings import BackboneSpec, parse_backbone
from hf_mner_aug.backbones.teachers import Teacher, TeacherSpec, taught, told_teacher
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.memory_hard import of_paper
from hf_mner_aug.methods.memory_hard.merging import merge_nodes
from hf_mner_aug.methods.memory_hard.mining import Hard, mine, random_failures, share_out, similarities
from hf_mner_aug.methods.memory_hard.pictures import (
    check_pictures,
    picture_of,
    with_pictures,
)
from hf_mner_aug.methods.memory_hard.requests import (
    STAGES,
    Job,
    Memory,
    Outcome,
    as_post,
    as_stubborn,
    check_alike,
    check_draft,
    choose_failure,
    counted,
    entities_of,
    funnel,
    known_of,
    outcome_of,
)
from hf_mner_aug.methods.memory_hard.retrieval import LOOKED_AT, Retriever
from hf_mner_aug.methods.memory_hard.tree import OUTSIDERS, ROUNDS, Gardener, Tree
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.endpoint.engine import EngineName, run_name
from hf_mner_aug.models.image import ImageEngineName, engine_of
from hf_mner_aug.models.image.engine import COLLAGE, check_fill, check_sources
from hf_mner_aug.models.patterns import RETRIEVE, RULES, chat_engine, check_engine, open_engine
from hf_mner_aug.models.patterns.cues import Space
from hf_mner_aug.models.patterns.endpoint import BATCH, PatternEndpoint
from hf_mner_aug.models.patterns.engine import PatternEngine, Question, WriteRequest, as_failure
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.patterns.rules import Rules
from hf_mner_aug.models.search import TRAIN, CorpusName, found_words
from hf_mner_aug.models.search import open_engine as open_corpus_of
from hf_mner_aug.models.text.drafting import write_drafts
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.posts.listed_mentions import LISTED, Writing, listed_words
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.tokenising import word_style
from hf_mner_aug.reasons import NO_ORIGINAL, NO_PICTURE, TEACHER_SCORES, WORD_COUNT, Reason
from hf_mner_aug.schema import Post
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.names import NameList, fit_list, names_of, told_list
from hf_mner_aug.storage.posts import open_posts, save_posts
from hf_mner_aug.transform import NSFW, Content, Costs, Facts, Method, Reject, Retrieval
from hf_mner_aug.transform.weights import check_score
from hf_mner_aug.values import Amount, Count, Positive, Probability, Range, Share, later

if TYPE_CHECKING:
    from hf_mner_aug.models.image.engine import ImageEngine

PROMPT = "A photo of {sentence}"
OF_RETRIEVAL = ("corpus", "results", "teacher", "teacher_members", "min_confidence")


@dataclass(frozen=True, kw_only=True)
class MemoryHard(Method):
    """Write posts that test what a model gets wrong.

    Copy n is made in round n, by the counts of the rounds before. Entities seen where there is none are kept in the
    tree, but posts are written for them only with ``spurious``: gold often lacks what was seen (in 15 of 42 on 10% of
    Twitter-2015, by reading), and new posts would teach that. ``HF_MNER_AUG_ENDPOINT`` holds what is this machine's:
    budget, prices, requests at a time.

    Args:
        target: the backbone whose errors are mined, as `crf` or `token_classifier:encoder=DIR`.
        references: other backbones, separated by commas, which show which errors are the target's own.
        folds: the number of parts of train; each is predicted by a model trained on the others.
        seeds: the number of models that predict each fold.
        guard: where all backbones contradict gold with at least this confidence, a label error is suspected.
        engine: names patterns and writes posts: `rules`, or `endpoint:URL#MODEL,temperature=0.7,max_tokens=1024`;
            `retrieve` finds posts that people wrote, in ``corpus``, which ``teacher`` labels.
        distance: failures nearer than this are one pattern.
        support: the least number of failures of a pattern.
        exemplars: the number of other failures that the writer of a post is shown.
        attempts: the most drafts for a pattern, and then for its parent.
        rounds: the number of rounds; each uses the counts of the earlier ones.
        detector: the backbone, fitted on train, that must find a draft's entities; empty asks none.
        detectors: the number of such backbones.
        agreement: the share of them that must find exactly the draft's entities.
        least_words: a draft of fewer words is rejected.
        alike: a draft is rejected if it shares more than this part of its word pairs with a post it is made of.
        spurious: also write posts for entities that were predicted where gold has none.
        mining: false takes as many random posts instead of hard ones (ablation).
        tree: false works from the failure alone, without patterns (ablation).
        iterate: false writes once (ablation).
        image: make new pictures for posts that have some; false keeps the gold post's.
        fill_missing: also draw pictures for posts without one; a collage cannot.
        corpus: with `retrieve`, a file of `hf-mner-aug index`; image takes its posts' pictures.
        results: with `retrieve`, the number of results of a search.
        teacher: with `retrieve`, the backbones that label the posts found.
        teacher_members: the number of backbones of each of them.
        min_confidence: with `retrieve`, the least confidence in each entity of a post.
        mentions: with `rules`, a file of names, a type and a name on each line, that new mentions also come from.
        mention_share: the chance that a new mention comes from that list, where it has names of its type and form.
        image_model: `collage` of train pictures, the id or folder of a diffusers pipeline, or `style:FILE`, an ONNX
            network of style transfer for the hard post's picture.
        steps: steps of the diffusers pipeline.
        guidance: how closely its pictures follow the text; 0 is off.
        nsfw_model: folder or id of an image classifier that finds unsafe pictures, where the pipeline has no
            checker.
        hard: an error counts if `half` of the ``seeds`` make it, or `any` of them.
        coarse: branches of the tree are four errors (omission, hallucination, boundary, type) whatever the types.
        merge: patterns of a branch that the language model says are the same become one.
        judge: the language model must say that a draft's text supports its labels.
        shows_images: the language model sees the hard post's picture when it writes, if the server takes pictures.
        caption_similarity: the least cosine of the language model's description of a new picture with what the picture
            was drawn for; 0 compares none.
        encoder: folder or id of a sentence encoder for that cosine.
    """

    name: ClassVar[str] = "memory_hard"
    version: ClassVar[int] = 2
    drawn_as: ClassVar[int] = 1
    scores: ClassVar[Mapping[str, str]] = TEACHER_SCORES
    rejects: ClassVar[Mapping[str, Reason]] = {
        "no_place": Reason(
            "the mention that went wrong lies inside another one", "leave it: other engines may write it"
        ),
        "no_mention": Reason("train has no other mention like the one that went wrong", "fit on more posts"),
        "no_answer": Reason("the endpoint gives no text", "name another model, or raise its `max_tokens`"),
        "not_json": Reason("the answer is not JSON", "name another model, or raise its `max_tokens`"),
        "off_schema": Reason("the answer is JSON of another form", "name another model"),
        "not_in_text": Reason("a mention of the answer is not in its text", "name another model"),
        "malformed": Reason("the answer's spans overlap, or are of an unknown type", "name another model"),
        "lost_entity": Reason("the mention to test is not labelled as asked", "name another engine", ("attempts=6",)),
        **WORD_COUNT,
        "near_duplicate": Reason(
            "the text is too similar to a post that it was made of", "fit on more posts", ("alike=1", "attempts=6")
        ),
        "off_pattern": Reason("the text does not match the pattern", "fit on more posts", ("attempts=6",)),
        "inconsistent": Reason(
            "too few detectors find exactly the entities of the text",
            "fit on more posts",
            ("agreement=0.4", "attempts=6"),
        ),
        **NO_PICTURE,
        **NO_ORIGINAL,
        "no_hit": Reason("the corpus has no other post with a word of the pattern", "index more posts"),
        "no_image": Reason("no post found has a picture", "index posts with pictures", ("image=false",)),
        "no_entity_found": Reason("the teacher finds no entity in most of the posts found", "index more posts"),
        "unsure": Reason(
            "the teacher's confidence in an entity is below `min_confidence` in most of the posts found",
            "take a stronger teacher: `--set teacher=BACKBONE`",
        ),
        **of_paper.REJECTS,
    }
    presets: ClassVar = {"paper": of_paper.PRESET}
    reads_images: ClassVar[bool] = True
    facts: ClassVar[Facts] = Facts(
        does="writes posts that test the patterns of what a model gets wrong",
        paper="Liu et al. 2026, https://aclanthology.org/2026.findings-acl.1075",
        learns="what a backbone gets wrong out of fold, a tree of its patterns, detectors, how posts fared",
        images="made for the new text and marked as made; the gold post's with image=False",
        boxes="none: the pictures are new",
        embedded="rules as writer, collages of train pictures, CRFs as target and detectors",
        paper_uses="large language models and a text-to-image model",
        extra="core; models for diffusers",
        idle=Reason(
            "the model makes no error that a post could be written for",
            "mine another model: `--set target=BACKBONE`",
            ("spurious=true", "mining=false"),
        ),
    )

    copies: Positive = 2
    target: BackboneSpec = "crf"
    references: tuple[BackboneSpec, ...] = ()
    folds: Annotated[int, Range(2)] = 5
    seeds: Positive = 3
    guard: Share = 0.9
    engine: EngineName = RULES
    distance: Annotated[float, Range(0, 2, "(]")] = 0.8
    support: Annotated[int, Range(2)] = 3
    exemplars: Count = 4
    attempts: Positive = 3
    rounds: Positive = 2
    detector: BackboneSpec = "crf"
    detectors: Positive = 5
    agreement: Share = 0.6
    least_words: Count = 5
    alike: Share = 0.9
    spurious: bool = False
    mining: bool = True
    tree: bool = True
    iterate: bool = True
    image: bool = True
    image_model: ImageEngineName = "collage"
    steps: Positive = 50
    guidance: Amount = 7.5
    nsfw_model: ModelName = ""
    fill_missing: bool = False
    corpus: CorpusName = later("")
    results: Positive = later(50)
    teacher: tuple[TeacherSpec, ...] = later(("crf",))
    teacher_members: Positive = later(1)
    min_confidence: Probability = later(0.5)
    mentions: NameList = later("")
    mention_share: Probability = later(0.5)
    hard: Hard = later("half")
    coarse: bool = later(False)
    merge: bool = later(False)
    judge: bool = later(False)
    shows_images: bool = later(False)
    caption_similarity: Probability = later(0.0)
    encoder: ModelName = later("")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fill(self.image_model, self.image and self.fill_missing, "image_model=")
        check_engine(self.engine)
        self._check_retrieval()
        of_paper.check(self)
        if self.mentions and self.engine != RULES:
            engine = self.engine.partition(":")[0]
            raise UsageError(
                f"memory_hard: mentions= is for engine=rules, found engine={engine}: leave one of them out"
            )
        check_score(self, TEACHER_SCORES if self.retrieves else ())
        for spec in (self.target, *self.references, *filter(None, [self.detector])):
            parse_backbone(spec)

    def _check_retrieval(self) -> None:
        """Check the parameters of the engine ``retrieve``, and that no other engine is given them."""
        if self.retrieves and not self.corpus:
            raise UsageError(
                "memory_hard: engine=retrieve searches posts: name a file of hf-mner-aug index, corpus=FILE"
            )
        if self.retrieves and self.corpus.partition(":")[0] in (TRAIN, "serper"):
            raise UsageError(
                f"memory_hard: engine=retrieve searches a corpus=FILE, not {self.corpus.partition(':')[0]}"
            )
        if self.retrieves and self.fill_missing:
            raise UsageError(
                "memory_hard: engine=retrieve takes the pictures of the posts found: leave out fill_missing"
            )
        if not self.retrieves and (given := [name for name in OF_RETRIEVAL if name in self.params]):
            raise UsageError(f"memory_hard: {given[0]} is of engine=retrieve: pass that, too, or leave it out")
        if self.retrieves:
            Teacher.of(self.teacher, self.teacher_members)

    # ------------------------------------------------------------ for publishing and the card

    @property
    def retrieves(self) -> bool:
        """True if posts are found in a corpus instead of written."""
        return self.engine == RETRIEVE

    @property
    def content(self) -> Content:
        """With ``retrieve``, words and pictures of other people's posts."""
        if not self.retrieves:
            return Content()
        how = Retrieval(text=True, image=self.image, words=found_words, mask=lambda post: post)
        return Content(retrieved=True, retrieval=how)

    @property
    def _uses(self) -> Mapping[str, str]:
        """The backbones that are mined, that check and label, the writer, and the image engine."""
        drawn = {"image_model": "images", **({"nsfw_model": NSFW} if self.image_model != COLLAGE else {})}
        return {
            "target": "target",
            "detector": "detector",
            "references": "reference",
            "engine": "text",
            **({"teacher": "teacher"} if self.retrieves else {}),
            **({"encoder": "similarity"} if "caption_similarity" in of_paper.looks(self) else {}),
            **(drawn if self._draws else {}),
        }

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        found = [f"The posts target errors of {self.target} on this train split: another model may need others."]
        if chat := chat_engine(self.engine):
            found.append(
                f"The texts and their labels are a language model's, {chat.model}: what they say of people, places "
                "and companies is made up. The column provenance names the train posts that it saw as made_of."
            )
        elif self.retrieves:
            found += [
                "The made posts are posts of a local corpus, written by people; the column provenance names the id, "
                "source, url, date and licence of each, where known. Their authors have rights in them, and may have "
                "deleted them since.",
                *told_teacher(cast(Any, self), self._teacher),
            ]
        else:
            found.append(
                "The texts are put together from other train posts and mentions (the column provenance "
                "names the posts as made_of): what they say of people, places and companies is made up."
            )
        found += [*told_list(self.mentions), *of_paper.cautions(self)]
        if self.artifact is not None:
            found += filters.told_sample(self.learned, "Mistakes were looked for, and detectors learned, in")
        if self._draws and (self.artifact is None or self.learned["pictures"] or self.fill_missing):
            maker = "collages of train pictures" if self.image_model == COLLAGE else f"what {self.image_model} drew"
            missing = "have one, too" if self.fill_missing else "stay without"
            found.append(
                f"The pictures are {maker} for the new text: their files say so (IPTC's DigitalSourceType). Posts "
                f"without one {missing}."
            )
        return tuple(found)

    @property
    def costs(self) -> Costs | None:
        """The calls of an endpoint: at least a draft for each copy; rewriting and matching take more."""
        if self.retrieves:
            return self._teacher.costs(self, self._texts, self._texts_to_fit)
        chat = chat_engine(self.engine)
        return chat.costs(self, calls=self._calls, to_fit=self._calls_to_fit) if chat else None

    def _calls(self, post: Post) -> int:
        """Return the calls for a post if each first draft passes: of its writer, of its judge, of who looks at it."""
        described = self._draws and bool(self.caption_similarity) and self.learned["pictures"]
        return self._drafts(post) * (1 + self.judge + described)

    def _drafts(self, post: Post) -> int:
        return self.copies if post.id in self._memory().by_post else 0

    def _texts(self, post: Post) -> int:
        """Return the most texts that a teacher labels for a post if each first draft passes."""
        return LOOKED_AT * self._drafts(post)

    def _texts_to_fit(self, train: Iterable[Post]) -> tuple[int, int]:
        """Return the least and most texts that a teacher labels in the first rounds."""
        _, drafts = self._tree_to_fit(train)
        return drafts, drafts * LOOKED_AT * self._tries

    def _calls_to_fit(self, train: Iterable[Post]) -> tuple[int, int]:
        """Return the least and most calls for patterns and the first rounds."""
        tree, drafts = self._tree_to_fit(train)
        naming = [
            ROUNDS * (1 + 2 * math.ceil(min(len(branch.members), len(node.members) + OUTSIDERS) / BATCH))
            for branch in tree.branches
            for node in branch.nodes
        ]
        merging = 2 * len(naming) * self.merge
        least = len(naming) + drafts * (1 + self.judge)
        return least, sum(naming) + merging + (3 + 2 * self.judge) * self._tries * drafts + bool(of_paper.looks(self))

    def _tree_to_fit(self, train: Iterable[Post]) -> tuple[Tree, int]:
        """Return a tree by rules and the number of drafts of the first rounds; mining is free, and kept for ``fit``."""
        reset = (*OF_RETRIEVAL, *of_paper.ASKING, "encoder", "weight")
        plain: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in reset}
        learned = replace(self, engine=RULES, detector="", rounds=1, **plain).learn(train, ())
        tree = Tree.from_dict(artifacts.load_json(learned["files"]["tree"])["tree"])
        return tree, (self.rounds - 1) * len({f.post for f in tree.failures.values() if f.gold or self.spurious})

    @property
    def _tries(self) -> int:
        """The most drafts for a request."""
        return self.attempts * len(STAGES) if self.iterate else 1

    # ------------------------------------------------------------ learning

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the digests of the posts, the tree and the detectors, and what mining and the first rounds found.

        Raises:
            UsageError: the posts have no entity, or are fewer than the folds.
        """
        specs = (self.target, *self.references)
        seen = any(parse_backbone(spec).reads_images for spec in specs)
        looks = of_paper.looks(self)
        keep = seen or bool(looks) or (self.image and (self.retrieves or self.image_model == COLLAGE))
        pictured: list[str] = []  # the first post with a picture

        def kept() -> Iterable[Post]:
            for post in train:
                if post.images and not pictured:
                    pictured.append(post.id)
                if post.tokens:
                    yield post if keep else replace(post, images=())

        sample = filters.sample_posts(kept(), self.seed)
        posts = sample.posts
        self._check_posts(posts)
        files = {"posts": save_posts(posts)}
        options = {"folds": self.folds, "seeds": self.seeds, "seed": self.seed, "guard": self.guard, "least": self.hard}
        mined = mine(posts, target=self.target, references=self.references, **options)  # type: ignore[arg-type]
        alike = similarities(posts) if keep else {}
        failures: Sequence[Failure] = [replace(f, similarity=alike.get(f.post)) for f in mined.failures]
        if not self.mining:
            hard = {failure.post for failure in failures if failure.gold or self.spurious}
            failures = random_failures(posts, len(hard), self.seed)
        texts = [replace(post, images=()) for post in posts]
        types, keys = known_of(texts)
        files |= fit_list(self.mentions, Writing.of(texts))
        found = self._learn_retrieval(texts, [replace(post, images=()) for post in validation], files)
        pictures = bool(pictured)
        engine = self._engine(texts, {"files": files, "pictures": pictures, **found})
        if looks:
            found |= {"sees": of_paper.sees(self, engine, posts)}
        tree = Tree(self.target, {failure.id: failure for failure in failures})
        if self.tree:
            gardener = Gardener(engine, Space.of(texts), self.distance, self.support, self.seed, self.coarse)
            if self.merge:
                assert isinstance(engine, PatternEndpoint)
                gardener = replace(gardener, merge=functools.partial(merge_nodes, engine, seed=self.seed))
            tree = gardener.grow(self.target, failures)
        if self.detector:
            files |= filters.fit_detectors(texts, self.detector, self.detectors, self.seed)
        memory = Memory(tree, engine, types, keys, self._detectors(files), self.spurious)
        memory, written = self._first_rounds(replace(memory, shown=self._shown(files, found)))
        tree = replace(tree, counts=memory.rounds[-1] if memory.rounds else {})
        files["tree"] = artifacts.save_json(
            {
                "funnel": funnel(written),
                "notes": list(mined.notes),
                "posts": len(posts),
                "specific": dict(mined.specific),
                "stubborn": [as_stubborn(outcome) for outcome in written if outcome.draft is None],
                "suspects": [failure.to_dict() for failure in mined.suspects],
                "tree": tree.to_dict(),
            }
        )
        rounds = [{key: list(count) for key, count in sorted(counts.items())} for counts in memory.rounds]
        return {"files": files, "pictures": pictures, "rounds": rounds, **found, **sample.sizes}

    def _check_posts(self, posts: Sequence[Post]) -> None:
        """Raise UsageError unless models can be wrong about some of these posts, and pictures can be made of them."""
        if not any(post.entities for post in posts):
            raise UsageError(
                "memory_hard: no post has an entity, so no model can be wrong about one: expected an MNER set"
            )
        if self.retrieves and any(entity.fine for post in posts for entity in post.entities):
            raise UsageError(
                "memory_hard: engine=retrieve: a teacher gives no fine types: take engine=rules for this set"
            )
        share_out(posts, self.folds, self.seed)  # raises where there are too few
        shown = {digest for post in posts for image in post.images if (digest := image_digest(image))}
        if self._draws and shown:
            check_sources(self.image_model, len(shown), "pass image=False, or name a pipeline: image_model=MODEL")

    def _first_rounds(self, memory: Memory) -> tuple[Memory, list[Outcome]]:
        """Return the memory with the counts of all rounds but the last, and what these wrote."""
        written: list[Outcome] = []
        for n in range(self.rounds - 1):
            outcomes = self._write(memory, [(name, self._draw(name, n)) for name in sorted(memory.by_post)])
            memory = replace(memory, rounds=(*memory.rounds, counted(outcomes, memory.rounds)))
            written += outcomes
        return memory, written

    def _shown(self, files: Mapping[str, str], learned: Mapping[str, Any]) -> str:
        """Return the digest of the posts whose pictures the writer sees, empty for none."""
        return files["posts"] if self.shows_images and learned["sees"] else ""

    def _learn_retrieval(
        self, train: Sequence[Post], validation: Sequence[Post], files: dict[str, str]
    ) -> dict[str, Any]:
        """Add a teacher's digests to the files, and return the style of words; nothing for other engines."""
        if not self.retrieves:
            return {}
        files |= self._teacher.fit(train, validation, self.seed)
        return {"style": word_style(train)}

    def _engine(self, texts: Sequence[Post], learned: Mapping[str, Any]) -> PatternEngine:
        """Return the engine; ``texts`` are those of train."""
        types, keys = known_of(texts)
        files = learned["files"]
        run = run_name(self, files["posts"])
        written = open_engine(self.engine, texts, types, run)
        if not isinstance(written, Rules):
            return written
        if not self.retrieves:
            return replace(written, names=names_of(files), share=self.mention_share)

        def teach(found: Sequence[Sequence[str]]) -> list[Post | Reject]:
            labelled = self._teacher.label(files, found, types=types, run=run)
            return [
                labels
                if isinstance(labels, Reject)
                else taught(Post("", [*words], ()), labels, least=self.min_confidence, require_entity=True)
                for words, labels in zip(found, labelled, strict=True)
            ]

        return Retriever(
            rules=written,
            searcher=open_corpus_of(self.corpus, posts=files["posts"]),
            teach=teach,
            style=learned["style"],
            known=keys,
            results=self.results,
            images=self.image,
            pictures=self.image and learned["pictures"],
        )

    @property
    def _teacher(self) -> Teacher:
        return Teacher.of(self.teacher, self.teacher_members)

    @property
    def _draws(self) -> bool:
        """True if pictures are made."""
        return self.image and not self.retrieves

    def _detectors(self, files: Mapping[str, str]) -> tuple[str, ...]:
        return filters.detector_digests(files, self.detectors) if self.detector else ()

    def _memory(self) -> Memory:
        return _memory(self)

    # ------------------------------------------------------------ making

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return a new post for each copy of a hard post, None for the others."""
        memory = self._memory()
        wanted = [i for i, post in enumerate(posts) if post.id in memory.by_post]
        outcomes = self._write(memory, [(posts[i].id, draws[i]) for i in wanted])
        made: list[Post | Reject | None] = [None] * len(posts)
        for i, outcome in zip(wanted, outcomes, strict=True):
            made[i] = as_post(posts[i], outcome)
        return made if self.retrieves else self._pictured(made, draws)

    def _write(self, memory: Memory, asked: Sequence[tuple[str, Draw]]) -> list[Outcome]:
        """Return the outcomes of requests (post, draw); drafts that fail are written again, all of them together."""
        jobs = [
            Job(choose_failure(memory, post, min(d.copy, self.rounds - 1), d.sub("failure")), d) for post, d in asked
        ]
        attempts = self.attempts if self.iterate else 1
        stages = STAGES if self.iterate and self.tree else STAGES[:1]

        def write(waiting: Sequence[Job]) -> None:
            self._draft(memory, waiting)
            self._ask_detectors(memory, [job for job in waiting if job.draft and not job.refused])
            self._ask_judge(memory, [job for job in waiting if job.draft and not job.refused])

        write_drafts(jobs, write, attempts=attempts, stages=stages)
        return [outcome_of(memory, job) for job in jobs]

    def _draft(self, memory: Memory, jobs: Sequence[Job]) -> None:
        """Write the next draft of each job, and check its words."""
        requests = [self._request(memory, job) for job in jobs]
        doubtful: list[tuple[Job, Question]] = []
        for job, request, answer in zip(jobs, requests, memory.engine.write(requests), strict=True):
            if isinstance(answer, Unwritten):
                job.draft, job.refused = None, Reject(answer.reason, answer.detail)
                continue
            job.draft = answer
            job.refused = check_draft(answer, job.task, memory.types)
            job.refused = job.refused or filters.check_length(answer.tokens, self.least_words)
            job.refused = job.refused or check_alike(memory, answer, [job.task, *request.exemplars], self.alike)
            leaf = memory.leaf(job)
            if not job.refused and leaf and leaf.told_apart:
                doubtful.append((job, (leaf.pattern, [as_failure(answer, job.task)])))
        verdicts = memory.engine.matches([question for _, question in doubtful])
        for (job, (pattern, _)), (matches,) in zip(doubtful, verdicts, strict=True):
            if not matches:
                job.refused = Reject("off_pattern", pattern.name)

    def _request(self, memory: Memory, job: Job) -> WriteRequest:
        """Return the request for a job's next draft."""
        branch, _ = memory.places.get(job.task.id, (None, None))
        leaf = memory.leaf(job)
        members = leaf.members if leaf else branch.members if branch else ()
        names = [name for name in members if name != job.task.id]
        stream = job.draw.sub(STAGES[job.stage], job.attempt)
        exemplars = [memory.tree.failures[name] for name in stream.sub("exemplars").sample(names, self.exemplars)]
        patterns = [place.pattern for place in (leaf, branch) if place]
        image = picture_of(memory.shown, job.task.post) if memory.shown else None
        return WriteRequest(job.task, patterns, exemplars, tuple(job.critiques), stream, image)

    def _ask_detectors(self, memory: Memory, jobs: Sequence[Job]) -> None:
        if not memory.detectors or not jobs:
            return
        drafts = [job.draft for job in jobs if job.draft]
        detected = filters.detect(self.detector, memory.detectors, [draft.tokens for draft in drafts])
        for job, draft, found in zip(jobs, drafts, detected, strict=True):
            entities = entities_of(draft)
            sure = listed_words(draft.tokens, [(e.start, e.end) for e in entities], draft.details.get(LISTED, ()))
            entities, found = filters.except_sure(entities, found, sure)
            job.refused = filters.check_labels(draft.tokens, entities, found, self.agreement)

    def _ask_judge(self, memory: Memory, jobs: Sequence[Job]) -> None:
        if not self.judge or not jobs:
            return
        assert isinstance(memory.engine, PatternEndpoint)
        verdicts = memory.engine.judge([job.draft for job in jobs if job.draft])
        for job, against in zip(jobs, verdicts, strict=True):
            job.refused = Reject("unsupported", against) if against else None

    # ------------------------------------------------------------ pictures

    def _pictured(self, made: list[Post | Reject | None], draws: Sequence[Draw]) -> list[Post | Reject | None]:
        """Return the posts with pictures for their texts, where the set has any."""
        there = self.learned["pictures"] or self.fill_missing
        if not (self.image and there and self._codec().image_column is not None):
            return made
        prompted = self.image_model != COLLAGE
        new = dict(with_pictures(made, draws, self._image_engine(), fill=self.fill_missing, prompted=prompted))
        if self.learned.get("sees") and self.caption_similarity:
            engine = self._memory().engine
            assert isinstance(engine, PatternEndpoint)
            new = check_pictures(new, engine, self.encoder, self.caption_similarity, prompted=prompted)
        return [new.get(i, post) for i, post in enumerate(made)]

    def _image_engine(self) -> "ImageEngine":
        return engine_of(self, prompt=PROMPT)


# ---------------------------------------------------------------- inside


@functools.lru_cache(maxsize=4)
def _memory(method: MemoryHard) -> Memory:
    """Return the state that a fitted method writes with."""
    learned = method.learned
    posts = [replace(post, images=()) for post in open_posts(learned["files"]["posts"])]
    tree = Tree.from_dict(artifacts.load_json(learned["files"]["tree"])["tree"])
    rounds = tuple({key: (tried, kept) for key, (tried, kept) in counts.items()} for counts in learned["rounds"])
    types, keys = known_of(posts)
    engine, detectors = method._engine(posts, learned), method._detectors(learned["files"])
    shown = method._shown(learned["files"], learned)
    return Memory(tree, engine, types, keys, detectors, method.spurious, rounds, shown)
