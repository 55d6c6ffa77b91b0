"""MELM: a masked language model that sees the labels puts other words into a post's entities.

Zhou et al. 2022 (ACL). A marker of its tag stands on both sides of each entity word, with the mean embedding of the
words of its type; the model learns to predict masked pieces of these words, then predicts some of them anew, each drawn
evenly from the k likeliest, the first among them. Deviates: a piece that begins a word is replaced by one that does, so
that words and spans stay; signs, handles and links stay, and no sign is drawn; AdamW without decay, with a rate that
falls linearly; a mention that is one of another type in train is rejected; an entity whose words change loses its
boxes. A relation's head and tail are entities.
Rejects: nothing_fits, unchanged, no_word, other_type
"""

import functools
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hf_mner_aug.backbones.encoder import TINY, WordPieces, make_tiny
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.melm.pieces import Marked, Spelling, mark, marker_tags
from hf_mner_aug.models.device import ModelName, find_device, from_pretrained, loading, quiet, split_model
from hf_mner_aug.models.text.labelled import labelled_as, tag_type, type_name, with_arguments
from hf_mner_aug.need import need
from hf_mner_aug.posts.boxes import without_stale_boxes
from hf_mner_aug.posts.lexicon import match_case
from hf_mner_aug.posts.listed_mentions import can_be_replaced
from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import Entity, Post, respell
from hf_mner_aug.storage import artifacts
from hf_mner_aug.transform import Facts, Method, Reject
from hf_mner_aug.values import Amount, Positive, Share

if TYPE_CHECKING:
    from hf_mner_aug.methods.melm.net import MaskedEntities

LIMIT = 256  # pieces read of a post, markers among them
LEARNING_RATE, FROM_SCRATCH = 1e-5, 1e-3  # of a pretrained model, as in the paper; of one that starts without weights
SPREAD = 1.0  # the standard deviation of the number of masked pieces


class Loaded(NamedTuple):
    """A trained model in this process."""

    net: "MaskedEntities"
    pieces: WordPieces
    spelling: Spelling


def n_masked(n_pieces: int, share: float, draw: Draw) -> int:
    """Return how many of some pieces are masked: normal around a share of them (section 3.3), one at least."""
    return min(n_pieces, max(1, round(draw.generator().normal(share * n_pieces, SPREAD))))


@dataclass(frozen=True, kw_only=True)
class MELM(Method):
    """Replace words of entities by those that a masked language model predicts from context and label.

    Args:
        encoder: the masked language model: an id (with `@revision`) or folder, or `tiny`, a small one without weights
            that learns from train alone.
        mask_share: the mean share of an entity's pieces that are replaced.
        top_k: a piece is drawn from the k likeliest.
        mask_rate: the share of pieces that are masked in training.
        epochs: passes over train; the state with the least validation loss counts, of `tiny` the last, since it knows
            no other names than train's.
        learning_rate: 0 is 0.00001, and 0.001 for `tiny`.
        batch_size: posts per step.
    """

    name: ClassVar[str] = "melm"
    rejects: ClassVar[Mapping[str, Reason]] = {
        "nothing_fits": Reason(
            "the entities have no letter, are handles or links, or stand behind the model's longest input", "cut posts"
        ),
        "unchanged": Reason("the words drawn are the original ones", "take another seed", ("top_k=10",)),
        "no_word": Reason("the pieces drawn spell no word", "name another encoder", ("top_k=3",)),
        "other_type": Reason("train has the new mention with another type", "take another seed", ("top_k=10",)),
    }
    presets: ClassVar = {"paper": {"encoder": "roberta-base"}}
    facts: ClassVar[Facts] = Facts(
        does="replaces words of entities by those that a masked language model predicts from context and label",
        paper="Zhou et al. 2022, https://aclanthology.org/2022.acl-long.160",
        learns="a masked language model with a marker for each tag",
        images="all kept, byte for byte",
        boxes="kept, but for an entity whose words change",
        embedded="a small model without pretrained weights, trained on the split",
        paper_uses="XLM-RoBERTa as masked language model (RMDA's comparison: RoBERTa)",
        extra="models",
        idle=Reason("the post has no entity"),
    )

    copies: Positive = 3
    encoder: ModelName = TINY
    mask_share: Share = 0.5
    top_k: Positive = 5
    mask_rate: Share = 0.7
    epochs: Positive = 20
    learning_rate: Amount = 0.0
    batch_size: Positive = 32

    @property
    def _uses(self) -> Mapping[str, str]:
        """The masked language model."""
        return {"encoder": "text"}

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that users of the rows must know."""
        scratch = " It was trained on the split alone, so it knows no other names." if self.encoder == TINY else ""
        return (
            "The names are a language model's: parts of them are made up, and so is what a text says of "
            f"them.{scratch}",
        )

    # ------------------------------------------------------------ learning

    def learn(self, train: Iterable[Post], validation: Iterable[Post]) -> Any:
        """Return the digest of the model, the ids of its markers, and the types of train's mentions."""
        need("torch", extra="models")
        posts, held_out = ([*filter(None, map(with_arguments, split))] for split in (train, validation))
        types: dict[str, set[str]] = defaultdict(set)
        for post in posts:
            for entity in post.entities:
                types[mention(post, entity)].add(tag_type(entity))
        if not types:
            raise UsageError("melm: no post of train has an entity, and it replaces words of entities only")
        digest, markers, history = self._train(posts, [post for post in held_out if post.entities])
        known = {words: sorted(found) for words, found in sorted(types.items())}
        return {"files": {"model": digest}, "markers": markers, "types": known, "history": history}

    def _train(self, train: Sequence[Post], held_out: Sequence[Post]) -> tuple[str, dict[str, int], list[float]]:
        """Return the digest of the trained model, the ids of its markers, and the validation loss of each epoch."""
        from hf_mner_aug.methods.melm.net import MaskedEntities, add_markers, collate, held_out_loss

        tokenizer, model = self._base(train)
        pieces, rows = _pieces(tokenizer, model.config), model.get_input_embeddings().weight.shape[0]
        tags = marker_tags([*train, *held_out])
        markers = {tag: rows + i for i, tag in enumerate(tags)}
        marked = [[mark(post, pieces, markers) for post in split if post.entities] for split in (train, held_out)]
        examples = [[post for post in split if post.words] for split in marked]
        if not examples[0]:
            raise UsageError(f"melm: no entity of train stands within the {pieces.limit} pieces that the model reads")

        def build() -> MaskedEntities:
            model = self._base(train)[1]
            add_markers(model, [_type_pieces(tag, pieces) for tag in tags])
            return MaskedEntities(model, tokenizer.mask_token_id, self.mask_rate)

        rate = self.learning_rate or (FROM_SCRATCH if self.encoder == TINY else LEARNING_RATE)
        training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=rate,
            head_learning_rate=rate,
            weight_decay=0.0,
            warmup=0.0,
            checks=self.epochs,
        )

        def score(net: Any) -> float:
            return -held_out_loss(net, examples[1], pieces.pad_id, self.batch_size)

        state, history = training.run(
            build,
            examples[0],
            functools.partial(collate, pad_id=pieces.pad_id),
            score if examples[1] and self.encoder != TINY else None,
            seed=self.seed,
        )
        net = build()
        net.load_state_dict(state)
        return _save(net.model, tokenizer), markers, [round(-check.score, 6) for check in history]

    def _base(self, train: Sequence[Post]) -> tuple[Any, Any]:
        """Return a tokenizer and a masked language model.

        Raises:
            UsageError: there is no such model, or it is no masked language model.
        """
        transformers = need("transformers", extra="models")
        if self.encoder == TINY:
            mentions = {tuple(post.tokens[e.start : e.end]) for post in train for e in post.entities}
            words = [Post("", mention) for mention in sorted(mentions)]  # so that each of them is a piece
            tokenizer, config = make_tiny([*train, *words])
            return tokenizer, transformers.AutoModelForMaskedLM.from_config(config, trust_remote_code=False)
        name, revision, variant = split_model(self.encoder)
        with loading(name, "a masked language model", role="encoder"):
            tokenizer = from_pretrained(transformers.AutoTokenizer, name, revision)
            kind = transformers.AutoModelForMaskedLM
            model, told = from_pretrained(kind, name, revision, variant, dtype="float32", output_loading_info=True)
        if tokenizer.mask_token_id is None or told["missing_keys"]:
            lacks = sorted(told["missing_keys"])[0] if told["missing_keys"] else "a mask token"
            raise UsageError(
                f"encoder {self.encoder!r}: expected a masked language model, and it lacks {lacks}: an encoder "
                "that was saved without its language model head cannot predict words"
            )
        return tokenizer, model

    # ------------------------------------------------------------ making

    def rewrite(self, posts: list[Post], draws: list[Draw]) -> list[Post | Reject | None]:
        """Return each post with other words in its entities."""
        learned = self.learned
        loaded = _load(learned["files"]["model"], self.mask_rate)
        made: list[Post | Reject | None] = []
        for post, draw in zip(posts, draws, strict=True):
            asked = with_arguments(post)
            made.append(self._rewritten(post, asked, draw, loaded, learned) if asked and asked.entities else None)
        return made

    def _rewritten(
        self, post: Post, asked: Post, draw: Draw, loaded: Loaded, learned: Mapping[str, Any]
    ) -> Post | Reject:
        """Return a post with other words in the entities of ``asked``, which are its own or its head and tail."""
        known: Mapping[str, Collection[str]] = learned["types"]
        asked = replace(asked, entities=tuple(e for e in asked.entities if f"B-{tag_type(e)}" in learned["markers"]))
        marked = mark(asked, loaded.pieces, learned["markers"])
        fixed = {
            i
            for e in asked.entities
            if not can_be_replaced(asked.tokens, e.start, e.end)
            for i in range(e.start, e.end)
        }
        free = [place for index, own in marked.words if index not in fixed for place in own]
        places = [place for place in free if loaded.spelling.spells(marked.input_ids[place])]
        if not places:
            return Reject("nothing_fits", f"in {loaded.pieces.limit} pieces")
        edits = self._drawn(marked, places, asked.tokens, draw, loaded)
        if isinstance(edits, Reject):
            return edits
        new = respell(post, edits)
        for entity in asked.entities:
            words, others = mention(new, entity), mention(asked, entity)
            if words != others and {*known.get(words, ())} - {tag_type(entity)}:
                return Reject("other_type", f"{words} as {type_name(entity)}")
        return without_stale_boxes(post, new) if any(entity.boxes for entity in post.entities) else new

    def _drawn(
        self, marked: Marked, places: Sequence[int], tokens: Sequence[str], draw: Draw, loaded: Loaded
    ) -> dict[int, list[str]] | Reject:
        """Return the new words by their index, or why there are none; ``places`` are those of pieces to choose from."""
        from hf_mner_aug.methods.melm.net import predict

        masked = {*draw.sub("masked").sample(places, n_masked(len(places), self.mask_share, draw.sub("number")))}
        ids = [loaded.net.mask_id if place in masked else i for place, i in enumerate(marked.input_ids)]
        logits = predict(loaded.net, ids)
        edits: dict[int, list[str]] = {}
        for index, own in marked.words:
            before = [marked.input_ids[place] for place in own]
            after = [
                self._piece(logits[place], loaded.spelling.instead(i), draw.sub("piece", place))
                if place in masked
                else i
                for place, i in zip(own, before, strict=True)
            ]
            if after == before:
                continue
            word = loaded.spelling.word(after)
            if word is None:
                return Reject("no_word", " ".join(loaded.spelling.tokenizer.convert_ids_to_tokens(after)))
            word = match_case(word, tokens[index]) if loaded.spelling.uncased else word
            if word != tokens[index]:
                edits[index] = [word]
        return edits or Reject("unchanged")

    def _piece(self, logits: Any, allowed: Sequence[int], draw: Draw) -> int:
        """Return one of the likeliest pieces that are allowed, drawn evenly (logits: [n_ids])."""
        import numpy as np

        ids = np.asarray(allowed)
        likeliest = ids[np.argsort(-logits.numpy()[ids], kind="stable")[: self.top_k]]
        return int(draw.choice(likeliest.tolist()))


def mention(post: Post, entity: Entity) -> str:
    """Return an entity's words, in small letters."""
    return " ".join(post.tokens[entity.start : entity.end]).casefold()


def _type_pieces(tag: str, pieces: WordPieces) -> list[int]:
    """Return the pieces of the words of a tag's type: ``B-PER`` stands for person."""
    words = "".join(sign if sign.isalnum() else " " for sign in type_name(labelled_as(tag[2:]))).split()
    return [i for word in words or ["entity"] for i in pieces.subwords(word)]


def _pieces(tokenizer: Any, config: Any) -> WordPieces:
    """Return the reader of words; RoBERTa counts positions from 2."""
    positions = getattr(config, "max_position_embeddings", LIMIT + 2) - 2
    return WordPieces(tokenizer, min(LIMIT, tokenizer.model_max_length, positions))


def _save(model: Any, tokenizer: Any) -> str:
    """Store a trained model with its tokenizer, and return the digest; where they came from is left out."""
    model.config._name_or_path = ""
    tokenizer.init_kwargs.pop("name_or_path", None)
    tokenizer.name_or_path = ""
    with tempfile.TemporaryDirectory() as folder, quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return artifacts.save_folder(Path(folder))


@functools.lru_cache(maxsize=2)
def _load(digest: str, rate: float) -> Loaded:
    """Return a trained model.

    Raises:
        NotFitted: it is not on this machine.
    """
    transformers = need("transformers", extra="models")
    need("torch", extra="models")
    from hf_mner_aug.methods.melm.net import MaskedEntities

    with tempfile.TemporaryDirectory() as folder, quiet():
        artifacts.load_folder(digest, Path(folder))
        tokenizer = from_pretrained(transformers.AutoTokenizer, folder)
        model = from_pretrained(transformers.AutoModelForMaskedLM, folder)
    net = MaskedEntities(model.eval().to(find_device("auto")), tokenizer.mask_token_id, rate)
    return Loaded(net.eval(), _pieces(tokenizer, model.config), Spelling(tokenizer))
