"""RMDA: posts that people wrote, found by the entities of a gold post, with its labels.

Huang et al. 2025, "Retrieval-Based Multimodal Data Augmentation for Multimodal Information Extraction in Social Media".
Copy n of a post is the nth post that its search found and the filters kept; missing copies give the reasons why other
posts were rejected. The paper does not say how labels are placed on foreign text: here, wherever a mention's words
occur. Deviates: there are several detectors, which predict types and must agree on the mentions as well; more filters
check the mention (case, length, how often train labels it), capitalised words outside mentions, and the text's length;
a text that is in train must have train's labels; at most ``per_entity`` posts for one mention; URLs and ``RT @user :``
are left out of the query. Pictures of posts on the web are fetched after the text has passed. With ``labels=teacher``
backbones fitted on train label the text, and of the filters those of its length and of train's own texts are left.
Rejects: no_entity, no_hit, no_image, no_mention, contradicts_train, word_count, short_mention, other_case,
ambiguous_mention, capital, other_entity, doubtful_mention, dissimilar, no_entity_found, unsure, no_answer, not_json,
off_schema, not_in_text, malformed, search_failed, robots, private, gone, login_wall, no_text, bad_image, not_html,
wrong_charset, redirect_loop, forbidden_address, too_slow, too_large, unreachable
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.settings import BackboneSpec
from hf_mner_aug.backbones.teachers import (
    Labels,
    TeacherSpec,
    label_texts,
    taught,
    teacher_of,
    told_teacher,
)
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.rmda.projection import (
    Known,
    bare_words,
    judge,
    known_of,
    labels_of,
    mention_key,
    mentions_of,
    project_labels,
    project_relation,
    same_post,
    score,
)
from hf_mner_aug.methods.rmda.projection import keep as keep
from hf_mner_aug.methods.rmda.web import illustrated, web_search
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.endpoint import Endpoint, host_of
from hf_mner_aug.models.search import (
    IMAGES,
    TRAIN,
    WEB_REASONS,
    CorpusName,
    Hit,
    LocalCorpus,
    Query,
    Require,
    TrainPosts,
    found_words,
    open_engine,
)
from hf_mner_aug.models.search import words as query_words
from hf_mner_aug.models.search.serper import SERPER as SERPER_URL
from hf_mner_aug.models.search.serper import build_query as build_query
from hf_mner_aug.models.words import likeness, sentence
from hf_mner_aug.posts import masking
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.posts.scripts import written_length
from hf_mner_aug.posts.texts import normalise_text, strip_urls, text_key, too_long
from hf_mner_aug.posts.tokenising import word_style
from hf_mner_aug.reasons import TEACHER, TEACHER_SCORES, WORD_COUNT, Reason
from hf_mner_aug.schema import Entity, Post, Relation
from hf_mner_aug.storage.posts import open_posts, save_posts
from hf_mner_aug.transform import CallPrice, Content, Costs, Facts, Method, Reject, Retrieval
from hf_mner_aug.transform.weights import check_score
from hf_mner_aug.untrusted.hosts import Host
from hf_mner_aug.values import Count, Positive, Probability, Range, later

SERPER = "serper"
ON_WEB: Mapping[str, Any] = {"require": "all", "results": 10}  # as in the paper, since each page costs
LOCALLY: Mapping[str, Any] = {"require": "any", "results": 50}
GOLD_LABELS = "Their labels are the gold post's, put wherever its mentions stand: nobody has checked them by hand."
PAGE_SECONDS = 1.0  # assumed for a page before any is fetched


@dataclass(frozen=True, kw_only=True)
class RMDA(Method):
    """Take over posts that hold a post's entities, found in a corpus.

    The speed and the cost of searching the web are settings of the machine: ``models.search.fetching``.

    Args:
        corpus: a file of `hf-mner-aug index`; `train`, the other posts of it; or the web: `serper` or
            `serper:URL`, with its key in SERPER_API_KEY.
        results: the number of results of a search (50 in a corpus, 10 on the web); at most ``copies`` are kept.
        require: a found post must hold `all` entities of the gold post (on the web) or `any` of them (in a corpus);
            `none` asks for none, takes the posts most like the gold post, with ``labels=teacher``, and searches for
            posts without entities as well.
        sites: the hosts that posts may come from; on the web twitter.com if none is named.
        image: take the found post's pictures; false keeps the gold post's.
        text: take the found post's words; false keeps the gold post's.
        filter: false applies no filter.
        detector: the backbone, fitted on train, that checks the labels.
        detectors: the number of such backbones.
        agreement: the share of them that must see no other entity.
        support: the share of them that must see every mention with its type.
        consistency: the share of a mention's occurrences in train that must carry its type.
        letters: the least number of letters of a mention.
        capitals: reject a text with other capitalised words, unless train has them in lower case.
        cased: a mention must be written as in the gold post.
        least_words: a post of fewer words is rejected.
        most_words: a post of more words is rejected.
        per_entity: the most published posts for a mention, 0 for no limit; of those with one picture the first.
        mask: the kinds of words masked outside entities: `handles`, `emails`, `phones`.
        similarity: for relations, the minimum cosine of the two texts.
        encoder: folder or id of a sentence encoder for that cosine; empty for TF-IDF. With ``require=none`` the posts
            of the corpus are ranked by it; empty ranks them by the words that they share (BM25).
        labels: those of the gold post where its mentions occur (`method`), or those that a `teacher` gives the text;
            then nothing is asked of mentions, capitals and detectors.
        teacher: backbones fitted on train that label, or folders of saved ones.
        teacher_members: the number of such backbones of each kind.
        min_confidence: the least confidence of the teacher in every entity of a post.
        require_entity: reject a text in which the teacher finds no entity.
    """

    name: ClassVar[str] = "rmda"
    version: ClassVar[int] = 2
    drawn_as: ClassVar[int] = 1
    rejects: ClassVar[Mapping[str, Reason]] = {
        "no_entity": Reason("the post has no entity to search for", "take gold posts with entities"),
        "no_hit": Reason(
            "the search finds no other post, or fewer than the requested copies",
            "search more posts: `--set corpus=FILE`, a file of `hf-mner-aug index`",
            ("require=any", "results=50"),
        ),
        "no_image": Reason("the post found has no picture", "index posts with pictures", ("image=false",)),
        "no_mention": Reason(
            "no entity of the gold post occurs word for word in the post found", "search more posts", ("results=50",)
        ),
        "contradicts_train": Reason(
            "the post found is in train, with other labels", "search posts that are not in train: `--set corpus=FILE`"
        ),
        **WORD_COUNT,
        "short_mention": Reason(
            "a mention is so short that it may mean something else", "search more posts", ("letters=0",)
        ),
        "other_case": Reason("a mention is written in another case", "search more posts", ("cased=false",)),
        "ambiguous_mention": Reason(
            "train gives the words of a mention no label, or another one, more often",
            "search more posts",
            ("consistency=0",),
        ),
        "capital": Reason("a capitalised word may be a name without a label", "search more posts", ("capitals=false",)),
        "other_entity": Reason(
            "the detectors see an entity that the gold post does not have", "search more posts", ("agreement=0.4",)
        ),
        "doubtful_mention": Reason("the detectors do not see a mention", "search more posts", ("support=0.4",)),
        "dissimilar": Reason("the text is unlike the gold post's", "search more posts", ("similarity=0.3",)),
        **TEACHER,
        **WEB_REASONS,
    }
    drops: ClassVar[Mapping[str, Reason]] = {
        "repeated_text": Reason("the same post was found before", "search more posts"),
        "repeated_image": Reason("a post with the same picture was found before", "search more posts"),
        "too_many": Reason("enough posts hold the mention already", "search more posts", ("per_entity=0",)),
    }
    scores: ClassVar[Mapping[str, str]] = {
        **TEACHER_SCORES,
        "agreement": "the share of detectors that see no other entity; with labels=teacher, "
        + TEACHER_SCORES["agreement"],
        "support": "the share of detectors that see the mention that fewest of them see",
    }
    reads_images: ClassVar[bool] = True
    presets: ClassVar = {
        "paper": {
            "detector": "token_classifier:encoder=vinai/bertweet-base,boundary=true",
            "detectors": 1,
            "agreement": 1.0,
            "support": 0.0,
            "consistency": 0.0,
            "letters": 0,
            "capitals": False,
            "cased": False,
            "least_words": 1,
            "most_words": 1000,
            "per_entity": 0,
            "similarity": 0.77,
            **ON_WEB,
            "encoder": "princeton-nlp/sup-simcse-roberta-large",
        }
    }
    needs: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "paper": {
            "corpus": "the paper searches the web: pass --set corpus=serper, or --set corpus=FILE, a file of "
            "hf-mner-aug index"
        }
    }
    facts: ClassVar[Facts] = Facts(
        does="takes over posts that people wrote and that hold the same entities",
        paper="Huang et al. 2025, Retrieval-Based Multimodal Data Augmentation",
        learns="detectors of entities, and how train labels and writes its mentions",
        images="those of the posts found, byte for byte (of the web, encoded again); the gold post's with image=False",
        boxes="kept with image=False where a mention is found, else left out",
        embedded="posts of the train split or of a local corpus, CRFs as detectors",
        paper_uses="Google search and BERTweet as detector",
        extra="core; web for the web",
        key="SERPER_API_KEY with corpus=serper",
    )

    copies: Positive = 10
    corpus: CorpusName = TRAIN
    results: Annotated[int | None, Range(1)] = None
    require: Literal[Require, "none"] | None = None
    sites: tuple[str, ...] = ()
    image: bool = True
    text: bool = True
    filter: bool = True
    detector: BackboneSpec = "crf"
    detectors: Positive = 5
    agreement: Probability = 0.6
    support: Probability = 0.6
    consistency: Probability = 0.5
    letters: Count = 4
    capitals: bool = True
    cased: bool = True
    least_words: Count = 5
    most_words: Positive = 30
    per_entity: Count = 3
    mask: tuple[str, ...] = ()
    similarity: Probability = 0.5
    encoder: ModelName = ""
    labels: Literal["method", "teacher"] = later("method")
    teacher: tuple[TeacherSpec, ...] = later(("crf",))
    teacher_members: Positive = later(1)
    min_confidence: Probability = later(0.5)
    require_entity: bool = later(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (ON_WEB if self.on_web else LOCALLY).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if not self.image and not self.text:
            raise UsageError("rmda: with image=False and text=False nothing is taken over: leave one of them out")
        if self.most_words < self.least_words:
            raise UsageError(f"rmda: most_words {self.most_words} is below least_words {self.least_words}")
        detected = ("agreement", "support") if self.filter else ()
        check_score(self, TEACHER_SCORES if self.labels == "teacher" else detected)
        teacher = teacher_of(self)
        if teacher and teacher.asks and self.on_web:
            raise UsageError(
                "rmda: a search of the web and a teacher behind an endpoint are not paid for together: take a "
                "backbone as teacher, or a corpus"
            )
        if self.require == "none":
            self._check_likeness()
        if self.on_web:
            Endpoint(base_url=self._engine_url, model=SERPER)  # raises where the address is invalid or holds a key
        object.__setattr__(self, "mask", masking.parse_kinds(self.mask))

    def _check_likeness(self) -> None:
        """Check the parameters of ``require=none``."""
        if self.labels != "teacher":
            raise UsageError(
                "rmda: require=none takes posts that need not share an entity with the gold post, so its labels do not "
                "fit them: pass labels=teacher"
            )
        if self.on_web:
            raise UsageError(
                "rmda: require=none takes the posts of a corpus that are most like train: search engines rank pages "
                "by other things, and each page costs: pass corpus=FILE"
            )
        if self.encoder and self.sites:
            raise UsageError("rmda: an encoder ranks posts of all sites: leave out sites, or encoder")

    # ------------------------------------------------------------ for publishing and the card

    @property
    def content(self) -> Content:
        """Words or pictures of other people's posts: those of a corpus or the web, or other train posts."""
        mask = self.masked if self.text else lambda post: post
        return Content(
            pictures_only=not self.text,
            retrieved=self.corpus != TRAIN,
            retrieval=Retrieval(text=self.text, image=self.image, words=found_words, mask=mask),
            comparable=lambda tokens: masking.mask(tokens, self.mask)[0] if self.mask else tokens,
        )

    @property
    def on_web(self) -> bool:
        """True if posts are searched on the web."""
        return self.corpus.partition(":")[0] == SERPER

    @property
    def _most(self) -> int:
        """The number of results of a search, which ``__post_init__`` has set."""
        return self.results or 0

    @property
    def _engine_url(self) -> str:
        return self.corpus.partition(":")[2] or SERPER_URL

    @property
    def costs(self) -> Costs | None:
        """The searches of the web: one for a post with something to search for; or the calls of a teacher."""
        if not self.on_web:
            teacher = teacher_of(self)
            return teacher.costs(self, lambda post: self._most if self._query(post) else 0) if teacher else None
        from hf_mner_aug.models.search.web import usage

        return Costs(
            calls=lambda post: int(self._query(post) is not None),
            price=self._search_price,
            usage=usage,
            hosts=self._hosts,
        )

    def _hosts(self) -> Mapping[str, Host]:
        """Return the search engine at ``serper:URL``; the default one is no choice of a recipe's."""
        engine = web_search(self._engine_url, "").serper.endpoint
        host = host_of(engine.base_url, engine.key_env)
        return {} if engine.replay or host.origin == SERPER_URL else {"corpus": host}

    def _search_price(self) -> CallPrice:
        """Return the assumed cost of a search and its pages, all on one host; nothing is sent."""
        from hf_mner_aug.models.search.fetching import web_settings

        web = web_settings()
        each = max(web.delay, PAGE_SECONDS / web.concurrency)
        told = f"USD {web.price:g} a search and {self.results} pages of one host for it, {each:g} seconds each"
        return CallPrice(web.price, self._most * each, told)

    @property
    def _uses(self) -> Mapping[str, str]:
        """The backbones that label or check, and the encoder that ranks or compares."""
        if self.labels == "teacher":
            return {"teacher": "teacher", **({"encoder": "similarity"} if self._ranked_by_encoder else {})}
        return {"detector": "detector", "encoder": "similarity"} if self.filter else {}

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        where = "other posts of the train split" if self.corpus == TRAIN else "posts of a local corpus"
        where = "posts on the web, found by a search engine," if self.on_web else where
        return (
            f"The made posts are {where}, written by people; the column provenance names the id, source, url, date and "
            "licence of each, where known. Their authors have rights in them, and may have deleted them since.",
            *(told_teacher(self, teacher) if (teacher := teacher_of(self)) else (GOLD_LABELS,)),
            *(filters.told_sample(self.learned) if self.artifact is not None else ()),
        )

    def reduce(self) -> Callable[[Post], str | None]:
        """Return a check that drops repeated texts and pictures, and posts of a mention that has enough."""
        seen: Counter[Any] = Counter()
        whole = self.text and self.image  # a post as it was found, so a picture seen before is the same post again

        def check(post: Post) -> str | None:
            text = text_key(post.tokens)
            if post.relation is None:
                keys: set[Any] = {(mention_key(post.tokens, e), e.type) for e in post.entities}
                row: Any = text
            else:
                keys = set(labels_of(post))
                row = (text, *keys)
            if self.text and seen[row]:
                return "repeated_text"
            pictures = {image_digest(image) for image in post.images if whole and post.relation is None} - {None}
            if any(seen[picture] for picture in pictures):
                return "repeated_image"
            if self.per_entity and any(seen[key] >= self.per_entity for key in keys):
                return "too_many"
            seen.update([*keys, row, *pictures])
            return None

        return check

    # ------------------------------------------------------------ fitting

    def pinned(self) -> Self:
        """Return a copy that names the files of this machine by their content, and the default search by its name."""
        return super(RMDA, self._searching()).pinned()

    def _searching(self) -> Self:
        """Return a copy that names the default search of the web by its name."""
        if not self.on_web:
            return self
        return replace(self, corpus=SERPER if self._engine_url == SERPER_URL else f"{SERPER}:{self._engine_url}")

    def fit(self, train: Any, **options: Any) -> Self:
        """Return a fitted copy, whose corpus is named by its content; raises as ``Method.fit``.

        Raises:
            UsageError: there is no such corpus, or it has no picture and ``image`` is set; no search engine's address.
        """
        return super(RMDA, self._searching()).fit(train, **options)

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the digests of the train posts and of the detectors, and the style of words."""
        if self.require == "none" and self.corpus == TRAIN:
            warnings.warn(
                "rmda: require=none with corpus=train finds train posts again, which are dropped as repetitions unless "
                "their labels differ, and then rejected: search other posts with --set corpus=FILE, a file of "
                "hf-mner-aug index",
                stacklevel=3,
            )
        kept = (post if self.corpus == TRAIN else replace(post, images=()) for post in train if post.tokens)
        files = {"posts": save_posts(kept)}
        posts = open_posts(files["posts"])
        sizes: dict[str, list[int]] = {}
        if self._ranked_by_encoder:
            likeness.prepare(open_engine(self.corpus, posts=files["posts"]), self.encoder)
        if self.image and not self.on_web:
            self._check_images(posts, open_engine(self.corpus, posts=files["posts"]))
        if teacher := teacher_of(self):
            sample = filters.sample_posts((replace(post, images=()) for post in posts), self.seed)
            files |= teacher.fit(sample.posts, list(validation), self.seed)
            sizes = sample.sizes
        elif self.filter and any(post.relation is None for post in posts):
            sample = filters.sample_posts((replace(post, images=()) for post in posts), self.seed)
            files |= filters.fit_detectors(sample.posts, self.detector, self.detectors, self.seed)
            sizes = sample.sizes
        return {"files": files, "style": word_style(posts), **sizes}

    def _check_images(self, posts: Iterable[Post], searcher: TrainPosts | LocalCorpus) -> None:
        found = 0
        for post in posts:
            for hit in next(self._search(searcher, [post])):
                if hit.images:
                    return
                found += 1
        if found:
            raise UsageError(
                f"rmda: none of the {found} posts that were found has a picture: "
                "pass image=False to keep the gold posts' own, or index posts with pictures"
            )

    # ------------------------------------------------------------ making

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return, for a post's copies, first the posts found and kept, then the reasons why others were not."""
        first = [i for i, draw in enumerate(draws) if draw.copy == 0]  # copies of a post follow each other
        gold = [posts[i] for i in first]
        judged = self._taught if self.labels == "teacher" else self._judged
        found = judged(list(zip(gold, self._found(gold), strict=True)))
        if self.on_web and self.image:
            found = illustrated(found)
        made: list[Post | Reject | None] = []
        for i, end, results in zip(first, [*first[1:], len(posts)], found, strict=True):
            ordered: list[Post | Reject | None] = [result for result in results if isinstance(result, Post)]
            ordered += [result for result in results if isinstance(result, Reject)]
            made += (ordered + [Reject("no_hit")] * (end - i))[: end - i]
        return made

    @property
    def _ranked_by_encoder(self) -> bool:
        return self.require == "none" and bool(self.encoder)

    def _query(self, post: Post) -> Query | None:
        """Return the query for a post's entities, or None if it has none to search for; or for its words alone."""
        text = normalise_text(post.tokens, casefold=False)
        if self.require == "none":
            return Query(text=text, sites=self.sites) if query_words(text) else None
        phrases = tuple(dict.fromkeys(" ".join(m.words) for m in mentions_of(post) if bare_words(m.words)))
        if not phrases:
            return None
        sites = self.sites or (("twitter.com",) if self.on_web else ())
        return Query(text=text, phrases=phrases, require=self.require or "all", sites=sites)

    def _search(self, searcher: TrainPosts | LocalCorpus, posts: Sequence[Post]) -> Iterator[list[Hit]]:
        """Yield, for each post, the posts that its query finds, except for itself and others with its text."""
        queries = [self._query(post) for post in posts]
        most = self._most + 5
        found: Iterator[list[Hit]]
        if self._ranked_by_encoder:
            texts = [query.text for query in queries if query]
            found = likeness.find_alike(searcher, self.encoder, texts, most)
        else:
            found = (searcher.search(query, most) for query in queries if query)
        for post, query in zip(posts, queries, strict=True):
            hits = next(found) if query else []
            yield [hit for hit in hits if not same_post(hit, post)][: self._most]

    def _search_web(self, posts: Sequence[Post]) -> list[list[Hit | Reject]]:
        """Return, for each post, the posts on the web that hold its entities, or why a page gave none."""
        from hf_mner_aug.models.search.web import WebSearch

        search: WebSearch = web_search(self._engine_url, str(self.artifact)[:12])
        queries = [self._query(post) for post in posts]
        answers = iter(search.find([query for query in queries if query], self._most))
        found = [next(answers) if query else [] for query in queries]
        return [
            [hit for hit in hits if isinstance(hit, Reject) or not same_post(hit, post)]
            for hits, post in zip(found, posts, strict=True)
        ]

    def _found(self, posts: Sequence[Post]) -> list[list[tuple[Post, Post] | Reject]]:
        """Return, for each post, the made posts with the posts they were made of, or why there is none."""
        return [
            self._taken_over(post, hits)
            if self._query(post)
            else [Reject("no_hit" if self.require == "none" else "no_entity")] * self.copies
            for post, hits in zip(posts, self._searched(posts), strict=True)
        ]

    def _taken_over(self, post: Post, hits: Sequence[Hit | Reject]) -> list[tuple[Post, Post] | Reject]:
        """Return what is made of the hits of one post; the cosines of all of them are computed at once."""
        texts = {i: found_words(hit, self.learned["style"]) for i, hit in enumerate(hits) if isinstance(hit, Hit)}
        cosines: dict[int, float] = {}
        if self.filter and self.labels == "method" and post.relation is not None:
            compared = [i for i, words in texts.items() if not too_long(words)]
            cosines = dict(zip(compared, self._cosines(post, [texts[i] for i in compared]), strict=True))
        return [
            hit if isinstance(hit, Reject) else self._take_over(post, hit, texts[i], cosines.get(i, 0.0))
            for i, hit in enumerate(hits)
        ]

    def _cosines(self, post: Post, texts: Sequence[Sequence[str]]) -> list[float]:
        """Return the cosine of a post's text and each of some others [n_texts][n_words]."""
        known = known_of(self.learned["files"]["posts"])
        alike = sentence.open_encoder(self.encoder) if self.encoder else known.similarity
        return alike(strip_urls(" ".join(post.tokens)), [strip_urls(" ".join(words)) for words in texts])

    def _searched(self, posts: Sequence[Post]) -> Iterable[Sequence[Hit | Reject]]:
        """Return the posts found for each post, or why there are none."""
        if self.on_web:
            return self._search_web(posts)
        return self._search(open_engine(self.corpus, posts=self.learned["files"]["posts"]), posts)

    def _take_over(self, post: Post, hit: Hit, tokens: list[str], cosine: float) -> tuple[Post, Post] | Reject:
        """Return a post made of a hit with these words, and the hit with its labels; or why there is none."""
        column = self._codec().image_column
        if self.image and not hit.images and not (self.on_web and hit.image_urls) and column:
            return Reject("no_image", hit.id)
        if too_long(tokens):
            return Reject("too_large", hit.id)
        relation: Relation | None = None
        entities: tuple[Entity, ...] = ()
        if post.relation is not None:
            head, tail = (post.tokens[slice(*span)] for span in (post.relation.head, post.relation.tail))
            spans = project_relation(tokens, head, tail)
            if spans is None:
                return Reject("no_mention", hit.id)
            relation = Relation(*spans, post.relation.type)
        mentions = [m if not self.image else m._replace(entity=replace(m.entity, boxes=())) for m in mentions_of(post)]
        if post.relation is None and self.labels == "method":
            entities = project_labels(tokens, mentions)
            if not entities:
                return Reject("no_mention", hit.id)
        known = known_of(self.learned["files"]["posts"])
        details: dict[str, Any] = dict(hit.origin())
        spelt = {mention_key(tokens, entity) for entity in entities}
        ambiguous = sorted(" ".join(words) for words in spelt if len(known.labelled.get(words, ())) > 1)
        if ambiguous:
            details["ambiguous"] = ambiguous
        if self.on_web and self.image:
            details["image_urls"] = hit.image_urls[: IMAGES if column == "images" else 1] if column else ()
        found = Post(post.id, tokens, entities, tuple(hit.images[:IMAGES]), relation, details)
        refused = self._check_text(post, found, known, cosine) if self.filter else None
        if refused:
            return refused
        if self.filter and self.text and self.labels == "method" and known.contradicts(found):
            return Reject("contradicts_train", hit.id)
        if self.text:
            return replace(self.masked(found), images=found.images if self.image else post.images), found
        own = tuple(replace(entity, boxes=()) for entity in post.entities)
        return replace(post, entities=own, images=found.images, details=details), found

    def masked(self, found: Post) -> Post:
        """Return a retrieved post with its words masked, and the number of each kind in its details."""
        tokens, counts = masking.mask(found.tokens, self.mask, found.protected())
        return replace(found, tokens=tokens, details={**found.details, "masked": counts}) if counts else found

    def _check_text(self, post: Post, found: Post, known: Known, cosine: float) -> Reject | None:
        """Return why a retrieved post is rejected by its own words, or None; ``cosine`` is that of the two texts."""
        tokens = found.tokens
        if refused := filters.check_length(tokens, self.least_words, self.most_words):
            return refused
        if self.labels == "teacher":
            return None
        if found.relation is not None:
            return Reject("dissimilar", f"{cosine:.2f}") if cosine < self.similarity else None
        written = {bare_words(mention.words) for mention in mentions_of(post)}
        for entity in found.entities:
            words = bare_words(tokens[entity.start : entity.end])
            spelt = " ".join(words)
            if written_length(spelt) < self.letters:
                return Reject("short_mention", spelt)
            if self.cased and words not in written:
                return Reject("other_case", spelt)
            if known.consistency(mention_key(tokens, entity), entity.type) < self.consistency:
                return Reject("ambiguous_mention", f"{spelt} as {entity.type}")
        if self.capitals:
            inside = {i for entity in found.entities for i in range(entity.start, entity.end)}
            others = filters.capitalised_words(tokens, inside, known.ordinary)
            if others:
                return Reject("capital", tokens[others[0]])
        return None

    def _judged(self, groups: list[tuple[Post, list[tuple[Post, Post] | Reject]]]) -> list[list[Post | Reject]]:
        """Return the made posts; those that the detectors do not confirm are rejected."""
        pending = [pair[1] for _, results in groups for pair in results if isinstance(pair, tuple) and pair[1].entities]
        verdicts: dict[int, Reject | None] = {}
        scores: dict[int, dict[str, float]] = {}
        if self.filter and pending:
            digests = filters.detector_digests(self.learned["files"], self.detectors)
            detected = filters.detect(self.detector, digests, [found.tokens for found in pending])
            for found, spans in zip(pending, detected, strict=True):
                verdicts[id(found)] = judge(found, list(map(set, spans)), self.agreement, self.support)
                scores[id(found)] = score(found, list(map(set, spans)), self.weight)

        def judged(made: Post, found: Post) -> Post | Reject:
            return verdicts.get(id(found)) or replace(made, details={**made.details, **scores.get(id(found), {})})

        return [[pair if isinstance(pair, Reject) else judged(*pair) for pair in results] for _, results in groups]

    def _taught(self, groups: list[tuple[Post, list[tuple[Post, Post] | Reject]]]) -> list[list[Post | Reject]]:
        """Return the made posts with the labels of the teacher, or why it gives them none.

        The teacher labels as many posts found as copies are missing, until there are enough or no more. Results are in
        the order in which posts were found.
        """
        results: list[dict[int, Post | Reject]] = [
            {n: pair for n, pair in enumerate(found) if isinstance(pair, Reject)} for _, found in groups
        ]
        pending = [[(n, pair) for n, pair in enumerate(found) if isinstance(pair, tuple)] for _, found in groups]
        while any(pending):
            chosen = []
            for i, pairs in enumerate(pending):
                missing = self.copies - sum(isinstance(result, Post) for result in results[i].values())
                chosen += [(i, n, pair) for n, pair in pairs[:missing]]
                pending[i] = pairs[missing:] if missing else []
            words = [found.tokens for _, _, (_, found) in chosen]
            labelled = label_texts(self, words, self._codec().types, self.learned["files"])
            for (i, n, pair), labels in zip(chosen, labelled, strict=True):
                results[i][n] = self._with_labels(*pair, labels)
        return [[ordered[n] for n in sorted(ordered)] for ordered in results]

    def _with_labels(self, made: Post, found: Post, labels: Labels | Reject) -> Post | Reject:
        """Return a made post with the labels of the words found."""
        if isinstance(labels, Reject):
            return labels
        post = taught(found, labels, least=self.min_confidence, require_entity=self.require_entity)
        if isinstance(post, Reject):
            return post
        if self.filter and known_of(self.learned["files"]["posts"]).contradicts(post):
            return Reject("contradicts_train", found.details["post_id"])
        return replace(self.masked(post), images=made.images)
