"""AMIA: each image becomes a mix of itself and one synthesised from the text, weighted by how well the two match.

Xu et al. 2025, "Enhancing Multimodal Named Entity Recognition through Adaptive Mixup Image Augmentation" (COLING). All
splits are remade, labels and sizes stay. Deviates: a post's 63 negatives are drawn from the train split by the post's
own draw, without those of its text or picture, in place of the batch it happens to be in; the score is made monotone
in the loss; URLs and ``RT @user :`` are no part of a prompt; a post without an image stays without one, unless a model
draws what is missing (``fill_missing``). Several images are mixed one by one, and the post's score is that of its best.
Rejects: unreadable_image, unsafe_image, black_image, no_region
"""

import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hf_mner_aug.backbones import detectors
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.device import ModelName
from hf_mner_aug.models.image import ImageEngineName, engine_of
from hf_mner_aug.models.image.engine import COLLAGE, Refused, check_fill, check_from_text, check_sources
from hf_mner_aug.models.matching import MatcherName
from hf_mner_aug.models.matching.engine import TooFewPairs
from hf_mner_aug.models.matching.matcher import Matcher, fit_matcher
from hf_mner_aug.models.matching.mixture import Mixture, fit_mixture, histogram_svg, matching_score
from hf_mner_aug.posts.hygiene import MADE_OF, PICTURED
from hf_mner_aug.posts.pictures import MIXED, TAKEN, Source, image_digest, mix_images, open_rgb, write_picture
from hf_mner_aug.reasons import NO_PICTURE, UNREADABLE_IMAGE, Reason
from hf_mner_aug.schema import EncodedImage, Post
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.posts import StoredPosts, open_posts, save_posts
from hf_mner_aug.transform import NSFW, Content, Exhibits, Facts, Method, Reject
from hf_mner_aug.values import Amount, Positive

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from hf_mner_aug.models.image.engine import ImageEngine

__all__ = ["AMIA", "matching_score", "mix_images", "triplet_loss", "without_persons"]

MARGIN = 0.1
NEGATIVES = 63  # the others of the paper's batch of 64
DIGITS = 6  # of a loss and a score: the last bits of a sum depend on the machine
SIDE = 512  # of a picture for a post without one
CHUNK = 16  # posts whose pixels are held at a time
LEARNED = "Of the posts with pictures, the matcher learned from"


def triplet_loss(
    text: "np.ndarray",
    image: "np.ndarray",
    other_texts: "np.ndarray",
    other_images: "np.ndarray",
    margin: float = MARGIN,
) -> "np.ndarray":
    """Return the loss [n] of pairs against their hardest negatives, in both directions, summed (eq. 1-7).

    Args:
        text: vectors [n, dim] of the texts, of any length.
        image: vectors [n, dim] of the images.
        other_texts: vectors [n, n_negatives, dim] of the negatives of each pair.
        other_images: vectors [n, n_negatives, dim].
        margin: how much better than its hardest negative a pair must be to have no loss.
    """
    import numpy as np

    text, image, other_texts, other_images = map(_normalised, (text, image, other_texts, other_images))
    positive = np.einsum("nd,nd->n", text, image)
    image_to_text = np.einsum("nd,nkd->nk", image, other_texts).max(1, initial=-1.0)
    text_to_image = np.einsum("nd,nkd->nk", text, other_images).max(1, initial=-1.0)
    return np.maximum(0, margin - positive + image_to_text) + np.maximum(0, margin - positive + text_to_image)


class Match(NamedTuple):
    """The triplet loss of a pair, and the cosine of its vectors."""

    loss: float
    cosine: float


def match_pairs(matcher: Matcher, pairs: Sequence[tuple[Post, int]], draws: Sequence[Draw]) -> list[Match | None]:
    """Return how well posts match one picture each, against 63 train pairs taken by each post's draw.

    None where the picture cannot be read.
    """
    import numpy as np

    found = matcher.embed([(post.tokens, post.images[place]) for post, place in pairs])
    matches: list[Match | None] = []
    for i, ((_, place), of_post) in enumerate(zip(pairs, draws, strict=True)):
        text, image, fold = found.text[i], found.image[i], int(found.fold[i])
        if np.isnan(image).any():
            matches.append(None)
            continue
        others = matcher.candidates(fold, int(found.text_of[i]), int(found.image_of[i]))
        chosen = of_post.sub("negatives", place).sample(range(len(others)), min(NEGATIVES, len(others)))
        texts, images = matcher.negatives(fold, [int(others[k]) for k in chosen])
        loss = triplet_loss(text[None], image[None], texts[None], images[None])[0]
        cosine = np.dot(text.astype("f8"), image.astype("f8"))
        matches.append(Match(round(float(loss), DIGITS), round(float(cosine), DIGITS)))
    return matches


def without_persons(tokens: Sequence[str], persons: Set[tuple[str, ...]]) -> list[str]:
    """Return the words with ``a person`` for each handle and each mention of ``persons`` (casefolded words)."""
    longest = max(map(len, persons), default=0)
    words: list[str] = []
    i = 0
    while i < len(tokens):
        sizes = range(min(longest, len(tokens) - i), 0, -1)
        size = next((n for n in sizes if tuple(map(str.casefold, tokens[i : i + n])) in persons), 0)
        if tokens[i].startswith("@"):  # ``@user``, or ``@`` and ``user``
            size = max(size, 2 if tokens[i] == "@" else 1)
        words += ["a", "person"] if size else [tokens[i]]
        i += size or 1
    return words


class Known(NamedTuple):
    """The learned state, ready for use; ``matcher`` is None if train has too few pairs to learn from."""

    matcher: Matcher | None
    mixture: Mixture
    losses: Sequence[float]
    persons: frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PictureState:
    """A picture in progress: its ``place`` in the post, its pixels, how well it matches, its weight in the mix.

    For a post without pictures everything is empty, and the weight is 0.
    """

    place: int = 0
    before: EncodedImage | None = None
    pixels: "PIL.Image.Image | None" = None
    loss: float | None = None
    score: float = 0.0
    weight: float = 0.0
    synthesised: "PIL.Image.Image | None" = None


@dataclass(frozen=True, kw_only=True)
class AMIA(Method):
    """Mix each image with one synthesised from the text, by their matching score.

    Args:
        mix: `adaptive`, `cosine`, or the original's weight from 0 (the synthesised image) to 1 (the original).
        matcher: scores text and picture: `cca`, fitted on train, or `open_clip:` and a model.
        image_model: makes the new picture: `collage` of train pictures, or the id (with `@revision`) or folder of a
            diffusers pipeline.
        steps: steps of the diffusers pipeline.
        guidance: how closely its pictures follow the text; 0 is off.
        nsfw_model: folder or id of an image classifier that finds unsafe pictures, where the pipeline has no
            checker.
        no_person_prompts: a prompt says `a person` for handles and for persons that train names.
        fill_missing: give posts without a picture the synthesised one; a collage cannot.
    """

    name: ClassVar[str] = "amia"
    version: ClassVar[int] = 2
    drawn_as: ClassVar[int] = 1
    mode: ClassVar = "replace"
    reads_images: ClassVar[bool] = True
    rejects: ClassVar[Mapping[str, Reason]] = {**UNREADABLE_IMAGE, **NO_PICTURE}
    presets: ClassVar = {
        "paper": {"matcher": "open_clip:ViT-B-16-quickgelu/openai", "image_model": "stabilityai/sdxl-turbo"}
    }
    facts: ClassVar[Facts] = Facts(
        does="mixes each image with one synthesised from the text, by how well text and image match",
        paper="Xu et al. 2025, Adaptive Mixup Image Augmentation, COLING",
        learns="a text-image matcher, the mixture of the triplet losses, and the train split's pictures",
        images=f"replaced by mixes that are marked as made; sizes stay; {TAKEN}",
        boxes="kept",
        embedded="a CCA of text and image features as matcher, collages of train pictures as images",
        paper_uses="CLIP ViT-B/16 as matcher and SDXL-Turbo for the images",
        extra="core; models for diffusers, open_clip",
        idle=Reason(
            "the post has no picture",
            "give the folder of the pictures with `--images DIR`, or draw what is missing with a pipeline: "
            "`--set image_model=MODEL --set fill_missing=true`",
        ),
    )

    mix: str = "adaptive"
    matcher: MatcherName = "cca"
    image_model: ImageEngineName = "collage"
    steps: Positive = 2
    guidance: Amount = 0.0
    nsfw_model: ModelName = ""
    no_person_prompts: bool = False
    fill_missing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_from_text(self.image_model, self.name)
        check_fill(self.image_model, self.fill_missing, "image_model=")
        if self.mix in ("adaptive", "cosine"):
            return
        try:
            fixed = float(self.mix)
        except ValueError:
            fixed = -1.0
        if not 0 <= fixed <= 1:
            raise UsageError(f"amia: mix must be adaptive, cosine or a number in [0, 1], found {self.mix!r}")

    @property
    def content(self) -> Content:
        """Only the pictures change; a score stands beside them."""
        return Content(pictures_only=True, columns={"matching_score": "float64"})

    # ------------------------------------------------------------ for the card

    @property
    def _uses(self) -> Mapping[str, str]:
        """The matcher, the image engine, and the classifier of its pictures."""
        drawing = {"image_model": "images", **({"nsfw_model": NSFW} if self.image_model != COLLAGE else {})}
        return {"matcher": "matching", **drawing}

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the mixes must know."""
        maker = (
            "a collage of train pictures"
            if self.image_model == "collage"
            else f"what {self.image_model} made of the text"
        )
        marked = "their files say so (IPTC's DigitalSourceType), and the column provenance holds the weights."
        missing = (
            f"Posts without an image have {maker}" if self.fill_missing else "Posts without an image stay without one"
        )
        if self.artifact is not None and not self.learned["pictures"]:
            mixes = f"The images of all splits are {maker}: no post of train had one; {marked}"
        else:
            mixes = f"The images of all splits are mixes of the original and {maker}: {marked} {missing}."
        return (
            f"{mixes} The gold row stands where a post was rejected, or has nothing to mix.",
            "The column matching_score is the probability that text and image belong together; null in gold rows.",
            "Models that read object labels or crops can be misled by mixed images.",
            *(detectors.told_sample(self.learned, LEARNED) if self.artifact is not None else ()),
            *(["Prompts say 'a person' for handles and for persons that train names."] * self.no_person_prompts),
        )

    # ------------------------------------------------------------ learning

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the train posts, the matcher fitted on them, and the mixture of their triplet losses."""
        stored = save_posts(train)
        posts = open_posts(stored)
        pictures = {digest for post in posts for image in post.images if (digest := image_digest(image))}
        check_sources(self.image_model, len(pictures), "name a diffusers pipeline: image_model=MODEL")
        sample = detectors.sample_posts((replace(post, images=()) for post in posts if post.images), self.seed)
        chosen = {post.id for post in sample.posts}
        matcher = self._fitted_matcher(post for post in posts if post.id in chosen)
        losses = list(self._losses(matcher, posts)) if matcher else []
        mixture = fit_mixture(losses or [0.0])
        for note in mixture.notes:
            warnings.warn(f"amia: {note}", stacklevel=3)
        persons = {
            tuple(map(str.casefold, post.tokens[entity.start : entity.end]))
            for post in (posts if self.no_person_prompts else ())
            for entity in post.entities
            if entity.type.casefold().startswith("per")
        }
        return {
            "files": {"posts": stored, **(matcher.state["files"] if matcher else {})},
            "losses": losses,
            "matching": matcher and {name: value for name, value in matcher.state.items() if name != "files"},
            "mixture": mixture.to_dict(),
            "persons": sorted(persons),
            "pictures": len(pictures),
            **sample.sizes,
        }

    def _fitted_matcher(self, posts: Iterable[Post]) -> Matcher | None:
        try:
            matcher = fit_matcher(posts, self.matcher, seed=self.seed)
        except TooFewPairs as error:
            warnings.warn(f"amia: every matching score is 0.5: {error}", stacklevel=4)
            return None
        n_pairs = len(matcher.gallery.names)
        few = [f"train has {n_pairs} text-image pairs: fewer than {NEGATIVES} negatives"] * (n_pairs <= NEGATIVES)
        for note in [*matcher.notes, *few]:
            warnings.warn(f"amia: {note}", stacklevel=4)
        return matcher

    def _losses(self, matcher: Matcher, posts: StoredPosts) -> Iterator[float]:
        """Yield the losses of train's pairs, the same as when their posts are remade."""
        rows = {name: i for i, name in enumerate(posts.ids)}
        names = matcher.gallery.names
        for first in range(0, len(names), CHUNK):
            pairs = [(posts[rows[name]], place) for name, place in names[first : first + CHUNK]]
            draws = [self._draw(post.id) for post, _ in pairs]
            yield from (match.loss for match in match_pairs(matcher, pairs, draws) if match)

    # ------------------------------------------------------------ making

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return the posts with their pictures mixed, a few at a time: pixels of many would fill the memory.

        A post without a picture has nothing to mix, unless what is missing is drawn.
        """
        engine = self._engine()
        made: list[Post | Reject | None] = [None] * len(posts)
        wanted = [i for i, post in enumerate(posts) if post.images or self.fill_missing]
        for first in range(0, len(wanted), CHUNK):
            chosen = wanted[first : first + CHUNK]
            stages = self._stages([posts[i] for i in chosen], [draws[i] for i in chosen])
            for i, stage in zip(chosen, stages, strict=True):
                made[i] = stage if isinstance(stage, Reject) else _finished(posts[i], stage, engine.source)
        return made

    def exhibits(self) -> Exhibits:
        """Return a drawing of train's triplet losses, if there are any, and the pictures synthesised for each post."""
        known = _known(self._fitted())
        figures = (histogram_svg(known.losses, known.mixture),) if known.losses else ()
        return Exhibits(figures=figures, stages=self._synthesised_for)

    def _synthesised_for(self, posts: Sequence[Post]) -> list[Mapping[str, EncodedImage]]:
        """Return what was synthesised for each post, one picture for each of its own, by caption."""
        source = self._engine().source
        draws = [self._draw(post.id) for post in posts]
        shown: list[Mapping[str, EncodedImage]] = []
        for pictures in self._stages(posts, draws):
            made = [] if isinstance(pictures, Reject) else [p.synthesised for p in pictures if p.synthesised]
            captions = [f"synthesised {i + 1}" if len(made) > 1 else "synthesised" for i in range(len(made))]
            shown.append({caption: write_picture(new, source) for caption, new in zip(captions, made, strict=True)})
        return shown

    # ------------------------------------------------------------ inside

    def _engine(self) -> "ImageEngine":
        return engine_of(self)

    def _stages(self, posts: Sequence[Post], draws: Sequence[Draw]) -> list[Reject | list[PictureState]]:
        """Return the pictures of each post before they are mixed: how well they match, and what was synthesised."""
        opened = [_open(post) for post in posts]
        pictures = {(i, p.place): p for i, found in enumerate(opened) if not isinstance(found, Reject) for p in found}
        made = self._synthesised(posts, draws, self._weighed(posts, draws, pictures))
        stages: list[Reject | list[PictureState]] = []
        for i, before in enumerate(opened):
            if isinstance(before, Reject):
                stages.append(before)
                continue
            after = [made[i, picture.place] for picture in before]
            refused = next((picture for picture in after if isinstance(picture, Reject)), None)
            stages.append(refused or [picture for picture in after if isinstance(picture, PictureState)])
        return stages

    def _weighed(
        self, posts: Sequence[Post], draws: Sequence[Draw], pictures: dict[tuple[int, int], PictureState]
    ) -> dict[tuple[int, int], PictureState]:
        """Return the pictures, by post and place, with their losses, scores and weights."""
        known = _known(self._fitted())
        there = [place for place, picture in pictures.items() if picture.before is not None]
        pairs, drawn = [(posts[i], j) for i, j in there], [draws[i] for i, _ in there]
        matches = match_pairs(known.matcher, pairs, drawn) if known.matcher and pairs else [None] * len(pairs)
        weighed = dict(pictures)
        for place, match in zip(there, matches, strict=True):
            # Train had too few pairs to fit a matcher: half and half.
            score = round(float(matching_score([match.loss], known.mixture)[0]), DIGITS) if match else 0.5
            cosine = min(max(match.cosine, 0.0), 1.0) if match else 0.5
            weight = {"adaptive": score, "cosine": cosine}.get(self.mix)
            weighed[place] = replace(
                pictures[place],
                loss=match.loss if match else None,
                score=score,
                weight=float(self.mix) if weight is None else weight,
            )
        return weighed

    def _synthesised(
        self, posts: Sequence[Post], draws: Sequence[Draw], pictures: dict[tuple[int, int], PictureState]
    ) -> dict[tuple[int, int], PictureState | Reject]:
        """Return the pictures with the ones synthesised from their posts' texts; those of weight 1 are unchanged."""
        persons = _known(self._fitted()).persons
        wanted = [place for place, picture in pictures.items() if picture.weight < 1]
        words = [posts[i].tokens for i, _ in wanted]
        made = self._engine().generate(
            [" ".join(without_persons(w, persons) if self.no_person_prompts else w) for w in words],
            [draws[i].sub("image", j) for i, j in wanted],
            sizes=[pixels.size if (pixels := pictures[place].pixels) else (SIDE, SIDE) for place in wanted],
        )
        found: dict[tuple[int, int], PictureState | Reject] = dict(pictures)
        for place, new in zip(wanted, made, strict=True):
            if isinstance(new, Refused):
                found[place] = Reject(new.reason, new.detail)
            else:
                found[place] = replace(pictures[place], synthesised=new)
        return found


def _open(post: Post) -> Reject | list[PictureState]:
    """Return a post's pictures with their pixels; a post without any has one empty picture."""
    if not post.images:
        return [PictureState()]
    try:
        return [PictureState(j, image, open_rgb(image)) for j, image in enumerate(post.images)]
    except DataError as error:
        return Reject("unreadable_image", str(error))


def _finished(post: Post, pictures: Sequence[PictureState], source: Source) -> Post:
    """Return the post with its mixes, and their losses, scores and weights in ``details``."""
    images: list[EncodedImage] = []
    for picture in pictures:
        if picture.synthesised is None:
            images.append(picture.before)  # type: ignore[arg-type]
        elif picture.pixels is None:
            images.append(write_picture(picture.synthesised, source))
        else:
            mixed = mix_images(picture.pixels, picture.synthesised, picture.weight)
            images.append(write_picture(mixed, MIXED[source] if picture.weight else source, like=picture.before))
    made_of = {name for p in pictures if p.synthesised is not None for name in p.synthesised.info.get("made_of", ())}
    details = {
        "losses": [picture.loss for picture in pictures],
        "matching_score": max(picture.score for picture in pictures),
        "scores": [picture.score for picture in pictures],
        "synthetic": any(picture.synthesised is not None for picture in pictures),
        "weights": [picture.weight for picture in pictures],
        **({MADE_OF: sorted(made_of), PICTURED: sorted(made_of)} if made_of else {}),
    }
    return replace(post, images=tuple(images), details=details)


@functools.lru_cache(maxsize=4)
def _known(artifact: str) -> Known:
    learned = artifacts.load_json(artifact)["learned"]
    matching = learned["matching"]
    return Known(
        Matcher({**matching, "files": learned["files"]}) if matching else None,
        Mixture.from_dict(learned["mixture"]),
        learned["losses"],
        frozenset(map(tuple, learned["persons"])),
    )


def _normalised(vectors: "np.ndarray") -> "np.ndarray":
    """Return vectors [..., dim] of length one; zero vectors stay zero."""
    import numpy as np

    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1, length)
