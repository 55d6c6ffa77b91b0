"""LLM-DA: a language model writes a post's context anew, gives its entities other names of their types, or both.

Ye et al. 2024, "LLM-DA: Data Augmentation via Large Language Models for Few-Shot Named Entity Recognition" (arXiv
2402.14568). One operation per copy, drawn evenly from those that apply: the context by one of fourteen strategies in
four dimensions, the entities, first the entities and then the context, or noise, which is typing errors. Deviates: by
default no model is asked: names are train's mentions of the type, contexts are other train posts, and strategies are
not read; prompts and the wording of the strategies are ours; noise is made here and not by the model; an answer whose
entities are not exactly those asked for, word by word, is sent back with what is wrong, and rejected after
``attempts``; new addresses of a text are masked; handles and links are not renamed; a new mention loses its boxes; a
relation's head and tail are entities.
Rejects: nested_mentions, nothing_to_change, no_mention, no_context, no_answer, not_json, off_schema, not_in_text,
malformed, lost_entity, lost_relation, unchanged, other_type, unlabelled_name, copied_text, adult_text, word_count
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.endpoint.engine import ChatEngine, EngineName, run_name
from hf_mner_aug.models.text import free
from hf_mner_aug.models.text.drafting import Job, write_drafts
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.labelled import find_relation, tag_type, with_arguments
from hf_mner_aug.models.text.rewriting import RULES, chat_engine, check_engine, open_engine
from hf_mner_aug.models.text.rewriting.engine import Names, RewritingEngine, RewritingRequest
from hf_mner_aug.models.text.rewriting.strategies import NAMES, STRATEGIES, Strategy
from hf_mner_aug.posts.boxes import carry_boxes
from hf_mner_aug.posts.lexicon import match_case, ordinary_words
from hf_mner_aug.posts.listed_mentions import Writing, as_details, can_be_replaced, in_form_of
from hf_mner_aug.posts.texts import text_key
from hf_mner_aug.posts.tokenising import Style
from hf_mner_aug.reasons import WORD_COUNT, Reason
from hf_mner_aug.schema import Entity, Post, respell
from hf_mner_aug.storage.names import NameList, fit_list, names_of, told_list
from hf_mner_aug.storage.posts import open_posts, save_posts
from hf_mner_aug.transform import Content, Costs, Facts, Method, Reject
from hf_mner_aug.values import Count, Positive, Probability, Share

Operation = Literal["context", "entity", "both", "noise"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
RENAMES, REWRITES = ("entity", "both"), ("context", "both")
LONG = 4  # letters of a word that may be mistyped: shorter ones become other words
OTHER_MODEL = "name another model"


# ---------------------------------------------------------------- noise


def mistype(word: str, draw: Draw) -> str:
    """Return a word of letters with a typing error: two letters swapped, one left out, or one doubled.

    The first letter stays.
    """
    places = range(1, len(word))
    kind = draw.choice(("swap", "drop", "double"))
    if kind == "swap" and (swaps := [i for i in places[:-1] if word[i] != word[i + 1]]):
        i = draw.choice(swaps)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    i = draw.choice(places)
    return word[:i] + word[i] * (2 * (kind == "double")) + word[i + 1 :]


def words_to_mistype(post: Post) -> list[int]:
    """Return the indices of ordinary words outside entities, of at least ``LONG`` letters and nothing else."""
    return [i for i in ordinary_words(post) if post.tokens[i].isalpha() and len(post.tokens[i]) >= LONG]


# ---------------------------------------------------------------- names


def renamed(post: Post, names: Names, style: Style, details: Mapping[str, Any]) -> Post:
    """Return a post with other names for the entities that begin at these words, in the form of the old ones.

    ``a`` and ``an`` before them are adapted.
    """
    edits: dict[int, Sequence[str]] = {}
    for entity in post.entities:
        if entity.start in names:
            words = in_form_of(post.tokens, entity.start, entity.end, names[entity.start], style)
            edits |= {i: [] for i in range(entity.start, entity.end)} | {entity.start: words}
            before = entity.start - 1
            if before >= 0 and before not in edits and post.tokens[before].casefold() in ("a", "an"):
                article = "an" if words[0].lstrip("#")[:1].casefold() in tuple("aeiou") else "a"
                edits[before] = [match_case(article, post.tokens[before])]
    return respell(post, edits, details=details)


def can_be_renamed(post: Post) -> tuple[Entity, ...]:
    """Return the entities of a post that are no handle or link: a made-up one may be somebody's."""
    return tuple(entity for entity in post.entities if can_be_replaced(post.tokens, entity.start, entity.end))


# ---------------------------------------------------------------- the method


@dataclass
class Task:
    """What is asked for a copy: the post as it is labelled, the operation, and how it is with other names so far."""

    post: Post
    operation: Operation
    strategy: Strategy
    named: Post | None = None


@dataclass(frozen=True, kw_only=True)
class LLMDA(Method):
    """Write a post's context anew, give its entities other names, or both, or add typing errors.

    ``HF_MNER_AUG_ENDPOINT`` holds what is this machine's: budget, prices, requests at a time.

    Args:
        operations: the operations to draw from: `context`, `entity`, `both`, `noise`.
        strategies: how a language model may write a context anew, in four dimensions: sentence length, vocabulary,
            subordinate clauses, style.
        engine: `rules`, train's own mentions and contexts; or `endpoint:URL#MODEL,temperature=0.7,max_tokens=512`.
        attempts: the most drafts for a copy; each but the first has what was wrong with the ones before.
        noise: the share of a post's longer words that get a typing error, at least one.
        least_words: a text of fewer words is rejected.
        most_words: a text of more words is rejected; 0 is no limit.
        most_copied: a context of a language model is rejected if another train post has a larger share of its pairs of
            neighbouring words.
        mentions: a file of names, a type and a name on each line, that new mentions also come from.
        mention_share: the chance that a new mention comes from that list, where it has names of its type.
    """

    name: ClassVar[str] = "llm_da"
    rejects: ClassVar[Mapping[str, Reason]] = {
        "nested_mentions": Reason("head and tail of a relation overlap", "use posts in which they do not"),
        "nothing_to_change": Reason(
            "none of the operations applies to the post",
            "take posts with entities that are no handles",
            (f"operations={','.join(OPERATIONS)}",),
        ),
        "no_mention": Reason("train has no other mention of the types of the entities", "fit on more posts"),
        "no_context": Reason("no other train post has a place for the entities", "fit on more posts"),
        "no_answer": Reason("the endpoint gives no text", "name another model, or raise its `max_tokens`"),
        "not_json": Reason("the answer is not JSON", "name another model, or raise its `max_tokens`"),
        "off_schema": Reason("the answer is JSON of another form, or has other entities", OTHER_MODEL, ("attempts=5",)),
        "not_in_text": Reason("an entity of the answer is not in its text", OTHER_MODEL, ("attempts=5",)),
        "malformed": Reason(
            "the answer has an unknown type, or a handle or a link as a name", OTHER_MODEL, ("attempts=5",)
        ),
        "lost_entity": Reason("the answer misses an entity", OTHER_MODEL, ("attempts=5",)),
        "lost_relation": Reason("the text lacks the head or the tail of the relation", OTHER_MODEL),
        "unchanged": Reason("the text is that of a train post, or a name the old one", OTHER_MODEL, ("attempts=5",)),
        "other_type": Reason("a new name has another type in train", OTHER_MODEL, ("attempts=5",)),
        "unlabelled_name": Reason(
            "the text has a mention, which train always labels, without a label", OTHER_MODEL, ("attempts=5",)
        ),
        "copied_text": Reason("the text repeats another train post", OTHER_MODEL, ("most_copied=0.7",)),
        "adult_text": Reason("the text has a word of adult spam", OTHER_MODEL),
        **WORD_COUNT,
    }
    facts: ClassVar[Facts] = Facts(
        does="writes a post's context anew, gives its entities other names, or adds typing errors",
        paper="Ye et al. 2024, https://arxiv.org/abs/2402.14568",
        learns="the train split's mentions by type, its contexts, how it cuts words",
        images="all kept, byte for byte",
        boxes="kept, but for an entity whose words change",
        embedded="train's mentions of the same type, and other train posts as contexts",
        paper_uses="a large language model",
    )

    copies: Positive = 4
    operations: tuple[Operation, ...] = OPERATIONS
    strategies: tuple[Strategy, ...] = NAMES
    engine: EngineName = RULES
    attempts: Positive = 3
    noise: Share = 0.1
    least_words: Count = 5
    most_words: Count = 0
    most_copied: Share = 0.5
    mentions: NameList = ""
    mention_share: Probability = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_engine(self.engine)
        if self.most_words and self.most_words < self.least_words:
            raise UsageError(f"llm_da: most_words {self.most_words} is below least_words {self.least_words}")
        if self.mentions and not set(RENAMES) & {*self.operations}:
            raise UsageError("llm_da: mentions= is for the operations entity and both: pass one, or leave it out")

    # ------------------------------------------------------------ for publishing and the card

    @property
    def content(self) -> Content:
        """New words; without a model, those of other train posts."""
        return Content(joined=self._chat is None and bool(set(REWRITES) & {*self.operations}))

    @property
    def _uses(self) -> Mapping[str, str]:
        """The language model, if there is one."""
        return {"engine": "text"}

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        if self._chat:
            found = (
                f"New contexts and names are a language model's, {self._chat.model}: what they say of people, places "
                "and companies is made up, and nobody has checked that a new name is of its type. Prompts, and "
                "what the 14 strategies say, are this package's.",
            )
        else:
            found = (
                "No language model was asked: new names are other mentions of the same type in train, and new contexts "
                "other train posts with this post's entities written into them (the column provenance names them as "
                "made_of). What they say of these entities is made up, and it is not what LLM-DA would write.",
            )
        return (*found, *told_list(self.mentions))

    @property
    def _chat(self) -> ChatEngine | None:
        return chat_engine(self.engine)

    @property
    def costs(self) -> Costs | None:
        """The calls of an endpoint: one for a context, one for names; what is written again takes more."""
        return self._chat.costs(self, calls=self._calls) if self._chat else None

    def _calls(self, post: Post) -> int:
        labelled = with_arguments(post)
        if labelled is None or not post.tokens:
            return 0
        tasks = [self._task(labelled, post, self._draw(post.id, copy)) for copy in range(self.copies)]
        return sum((t.operation in RENAMES) + (t.operation in REWRITES) for t in tasks if isinstance(t, Task))

    # ------------------------------------------------------------ learning

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the digest of the train posts, the types of tags, and how the set cuts words."""
        writing, types = Writing(), set[str]()

        def noted() -> Iterable[Post]:
            for post in train:
                if post.relation is not None and post.entities:
                    raise UsageError("llm_da: expected tags or relations, found both: leave out one of the columns")
                if post.tokens:
                    types.update(map(tag_type, asked.entities if (asked := with_arguments(post)) else ()))
                    yield replace(post, images=())

        files = {"posts": save_posts(writing.counting(noted()))}
        files |= fit_list(self.mentions, writing)
        return {"files": files, "style": writing.style, "types": sorted(types)}

    # ------------------------------------------------------------ making

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return a changed copy of each post; drafts that fail are written again, all of them together."""
        made: list[Post | Reject | None] = []
        jobs: dict[int, Job[Task, Post]] = {}
        for i, (post, draw) in enumerate(zip(posts, draws, strict=True)):
            labelled = with_arguments(post)
            task = self._task(labelled, post, draw) if labelled else Reject("nested_mentions")
            made.append(task if isinstance(task, Reject) else None)
            if isinstance(task, Task):
                jobs[i] = Job(task, draw)
        engine = self._engine()
        write_drafts([*jobs.values()], lambda waiting: self._write(engine, waiting), attempts=self.attempts)
        for i, job in jobs.items():
            made[i] = job.refused or self._finished(posts[i], job)
        return made

    def _task(self, labelled: Post, post: Post, draw: Draw) -> Task | Reject:
        """Return what to do for a copy of a post, or a Reject if no operation applies."""
        applies = {
            "context": True,
            "entity": bool(can_be_renamed(labelled)),
            "both": bool(can_be_renamed(labelled)),
            "noise": bool(words_to_mistype(post)),
        }
        operations = [name for name in self.operations if applies[name]]
        if not operations or not post.tokens:
            return Reject("nothing_to_change", f"none of {', '.join(self.operations)} applies")
        return Task(
            replace(labelled, details={}), draw.choice(operations), draw.sub("strategy").choice(self.strategies)
        )

    def _write(self, engine: RewritingEngine, jobs: Sequence[Job[Task, Post]]) -> None:
        """Write the next draft of each job, and check it."""
        for job in jobs:
            job.refused, job.draft = None, job.task.post
            if job.task.operation == "noise":
                job.draft = self._with_noise(job.task.post, job.draw.sub("noise"))
        unnamed = [job for job in jobs if job.task.operation == "entity" or job.task.named is None]
        self._rename(engine, [job for job in unnamed if job.task.operation in RENAMES])
        self._rewrite(engine, [job for job in jobs if job.task.operation in REWRITES and not job.refused])
        for job in jobs:
            if not job.refused:
                assert job.draft is not None
                job.refused = self._check(job.draft, job.task)

    def _with_noise(self, post: Post, draw: Draw) -> Post:
        """Return a post with typing errors in some of its longer words."""
        where = words_to_mistype(post)
        chosen = draw.subset(where, self.noise) or [draw.choice(where)]
        return respell(post, {i: [mistype(post.tokens[i], draw.sub(i))] for i in chosen})

    def _rename(self, engine: RewritingEngine, jobs: Sequence[Job[Task, Post]]) -> None:
        """Give the entities of each job other names: of the list, and of the engine."""
        names = names_of(self.learned["files"])
        listed: list[dict[int, str]] = []
        for job in jobs:
            post, found = job.task.post, {}
            if names and job.task.post.relation is None:
                drawn = names.instead(post, can_be_renamed(post), self.mention_share, job.draw.sub("listed"))
                found = {start: " ".join(words) for start, words in drawn.items()}
            listed.append(found)
        requests = [self._request(job, listed[n]) for n, job in enumerate(jobs)]
        asked = [n for n, request in enumerate(requests) if request.entities]
        given: dict[int, Names | Unwritten] = dict(zip(asked, engine.rename([requests[n] for n in asked]), strict=True))
        for n, job in enumerate(jobs):
            answer = given.get(n, {})
            if isinstance(answer, Unwritten) and not listed[n]:
                job.refused = Reject(answer.reason, answer.detail)
                continue
            answer = {} if isinstance(answer, Unwritten) else answer
            details = as_details({start: tuple(name.split()) for start, name in listed[n].items()}, listed[n])
            draft = renamed(job.task.post, {**listed[n], **answer}, self.learned["style"], details)
            job.refused = self._check_names(draft, answer) if self._chat else None
            job.draft = draft
            if not job.refused:
                job.task.named = draft

    def _request(self, job: Job[Task, Post], listed: Mapping[int, str]) -> RewritingRequest:
        left = tuple(entity for entity in can_be_renamed(job.task.post) if entity.start not in listed)
        draw = job.draw.sub("names", job.attempt)
        return RewritingRequest(post=job.task.post, entities=left, critiques=tuple(job.critiques), draw=draw)

    def _check_names(self, draft: Post, names: Names) -> Reject | None:
        """Return a Reject if train gives a new name another type, or always labels a part of it that has no label."""
        return free.check_names(draft, free.knowledge(self.learned["files"]["posts"])) if names else None

    def _rewrite(self, engine: RewritingEngine, jobs: Sequence[Job[Task, Post]]) -> None:
        """Put the entities of each job into another context."""
        requests = [
            RewritingRequest(
                post=job.task.named or job.task.post,
                strategy=job.task.strategy,
                critiques=tuple(job.critiques),
                draw=job.draw.sub("context", job.attempt),
            )
            for job in jobs
        ]
        for job, answer in zip(jobs, engine.rewrite(requests), strict=True):
            if isinstance(answer, Unwritten):
                job.refused = Reject(answer.reason, answer.detail)
            else:
                job.draft = answer

    def _check(self, draft: Post, task: Task) -> Reject | None:
        """Return why a draft is refused, or None."""
        if refused := filters.check_length(draft.tokens, self.least_words, self.most_words):
            return refused
        digest = self.learned["files"]["posts"]
        if task.operation != "noise" and text_key(draft.tokens) in _texts(digest):
            return Reject("unchanged", "the text of a train post")
        if self._chat is None or task.operation not in REWRITES:
            return None
        known = free.knowledge(digest)
        refused = free.check_text(draft.tokens, known, self.most_copied, adult=False, own=draft.id)
        return refused or free.check_names(draft, known)

    def _finished(self, gold: Post, job: Job[Task, Post]) -> Post | Reject:
        """Return a draft as the post that is made: with its relation, its boxes, and how it was made."""
        draft, task = job.draft, job.task
        assert draft is not None
        if self._chat and task.operation in REWRITES:
            settled = free.settle_addresses(draft, free.knowledge(self.learned["files"]["posts"]), "mask")
            assert isinstance(settled, Post)
            draft = settled
        details: dict[str, Any] = {"operation": task.operation, **draft.details}
        if self._chat:
            details["attempts"] = len(job.trail)
        if self._chat and task.operation in REWRITES:
            details |= {"strategy": task.strategy, "dimension": STRATEGIES[task.strategy].dimension}
        made = replace(draft, details=details, images=gold.images)
        if gold.relation is None:
            return carry_boxes(made, gold)
        relation = find_relation(draft.entities)
        if relation is None or relation.type != gold.relation.type:
            return Reject("lost_relation")
        return replace(made, entities=(), relation=relation)

    def _engine(self) -> RewritingEngine:
        learned = self.learned
        posts = learned["files"]["posts"]
        return open_engine(
            self.engine,
            posts=posts,
            types=learned["types"],
            style=learned["style"],
            seed=self.seed,
            run=run_name(self, posts),
        )


@functools.lru_cache(maxsize=4)
def _texts(posts: str) -> frozenset[str]:
    """Return the keys of the texts of train posts."""
    return frozenset(text_key(post.tokens) for post in open_posts(posts))
