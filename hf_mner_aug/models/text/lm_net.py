"""A causal language model as a writer of labelled texts: its prompt, its marks, its adapters.

The prompt is the instruction, in the tokenizer's chat template where it has one, otherwise on a line of its own; the
text and the end token follow. Pictures are not seen. LoRA adapters sit on every linear layer inside the decoder's
blocks, so neither on the embeddings nor on the output layer; where tags are tokens, their rows of both are trained.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import from_pretrained, loading
from hf_mner_aug.models.text.adapters import add_adapters, learn_in_float32, read_adapters, write_adapters
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.labelled import delinearize, with_tags
from hf_mner_aug.models.text.marks import names_of, read_marks, with_marks
from hf_mner_aug.models.text.network import FitSettings
from hf_mner_aug.models.text.tokens import (
    IGNORED,
    Reader,
    add_tags,
    decoded,
    ended,
    filled,
    not_text,
    padded,
    special_ids,
    tagged_ids,
    tagged_text,
)
from hf_mner_aug.need import need
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.transform import Reject

if TYPE_CHECKING:
    import torch

PROMPT_MULTIPLE = 64  # tokens: few different shapes, so that batches are full


class EncodedPrompt(NamedTuple):
    """A request as token ids: the prompt, and the text to be written."""

    prompt: list[int]
    text: list[int]
    image: None = None


@dataclass
class LMNetwork:
    """A causal language model with its tokenizer, and the ids of its tags where these are tokens (a ``Network``)."""

    net: Any
    tokenizer: Any
    types: Sequence[str]
    tags: Mapping[str, int]
    prompts: Reader
    max_text: int

    decoder_only = True

    def __post_init__(self) -> None:
        self.names = {i: tag for tag, i in self.tags.items()}
        self.in_words = names_of(self.types)
        self.end = self.tokenizer.eos_token_id
        self.filler = self.end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    @property
    def device(self) -> "torch.device":
        """The device of the network."""
        found: torch.device = next(self.net.parameters()).device
        return found

    def example(
        self, instruction: str, image: EncodedImage | None, text: str = ""
    ) -> tuple[EncodedPrompt, Counter[str]]:
        """Return a request, or a training pair, as ids; and counts of what was cut."""
        prompt, cut = self.prompts.read(instruction)
        ids, text_cut = ended(self.text_ids(text), self.max_text, self.end) if text else ([], False)
        return EncodedPrompt(prompt, ids), Counter(instructions_cut=int(cut), texts_cut=int(text_cut))

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a linearised text."""
        if self.tags:
            return tagged_ids(text, self.tags, self.prompts)
        found = delinearize(text, self.types)
        if isinstance(found, Reject):
            raise ValueError(f"{found.reason}: {text}")
        return self.prompts.pieces(with_marks(*found, self.in_words))

    def text_of(self, ids: Sequence[int]) -> str | Unwritten | None:
        """Return the linearised text of ids up to the end token, or why it is malformed; None without that token."""
        if self.end not in ids:
            return None
        ids = ids[: list(ids).index(self.end)]
        if self.tags:
            return tagged_text(ids, self.names, self.tokenizer)
        text = decoded(ids, self.tokenizer)
        found = read_marks(text, self.in_words)
        if not isinstance(found, Reject):
            return with_tags(*found)
        return Unwritten(found.reason, found.detail) if text.strip() else ""

    def pixels(self, image: EncodedImage | None) -> None:
        """Return None: pictures are not seen."""

    def shape(self, example: EncodedPrompt) -> int:
        """Return the padded length of a prompt."""
        return padded(len(example.prompt) + 1, PROMPT_MULTIPLE)

    def collate(
        self, examples: Sequence[EncodedPrompt], pixels: Sequence[None], *, learn: bool
    ) -> "dict[str, torch.Tensor]":
        """Return a batch; with ``learn`` also its labels, without loss for padding and the prompt."""
        if learn:
            ids, mask = filled([[*e.prompt, *e.text] for e in examples], self.filler)
            labels = filled([[*[IGNORED] * len(e.prompt), *e.text] for e in examples], IGNORED)[0]
            batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        else:
            # One more than the longest prompt: ``generate`` computes otherwise where no row has padding.
            width = max(map(self.shape, examples))
            ids, mask = filled([e.prompt for e in examples], self.filler, left=True, width=width)
            batch = {"input_ids": ids, "attention_mask": mask}
        return {name: values.to(self.device) for name, values in batch.items()}

    def loss(self, batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
        """Return the mean loss of a batch over the tokens of its texts.

        Only for these the output layer is computed: with a large vocabulary it costs more than all blocks.
        """
        from torch.nn.functional import cross_entropy

        labels = batch["labels"][:, 1:]
        learned = labels != IGNORED

        def of_texts(layer: Any, states: "tuple[torch.Tensor, ...]") -> "tuple[torch.Tensor, ...]":
            return (states[0][:, :-1][learned][None], *states[1:])

        given = {name: values for name, values in batch.items() if name != "labels"}
        with self.net.get_output_embeddings().register_forward_pre_hook(of_texts):
            logits = self.net(**given, use_cache=False).logits
        return cross_entropy(logits[0].float(), labels[learned])

    def forbidden(self) -> "torch.Tensor":
        """Return the mask [n_tokens] of forbidden tokens: all special ones but the end, and rows without a token."""
        rows = self.net.get_output_embeddings().weight.shape[0]
        return not_text(self.tokenizer, rows, {self.end, *self.names})

    def adapt(self, settings: FitSettings) -> None:
        """Make adapters learnable, and where tags are tokens their rows."""
        layers = [self.net.get_input_embeddings(), self.net.get_output_embeddings()]
        if layers[0].weight is layers[1].weight:
            del layers[1]  # PEFT trains the rows of a tied layer with those of the embeddings
        rows = [name for name, module in self.net.named_modules() if module in layers] if self.tags else []
        targets = projections(self.net)
        self.net = add_adapters(
            self.net,
            settings,
            list(targets),
            dict.fromkeys(rows, sorted(self.tags.values())),
            fan_in_fan_out=not any(hasattr(module, "in_features") for module in targets.values()),
            task_type="CAUSAL_LM",
        )
        learn_in_float32(self.net)

    def write_weights(self, folder: Path) -> None:
        """Write the adapters; never the base."""
        write_adapters(self.net, folder)

    def read_weights(self, folder: Path) -> None:
        """Take over the adapters that ``write_weights`` wrote.

        Rows of tags are written into the embeddings, which PEFT otherwise copies whole for every token sampled.
        """
        trained = need("peft.tuners.trainable_tokens", extra="models").TrainableTokensLayer
        for module in self.net.modules():
            if isinstance(module, trained):  # with the rows of other adapters
                module.unmerge()
        self.net = read_adapters(self.net, folder)
        for module in self.net.modules():
            if isinstance(module, trained):
                module.merge()


def prompt_reader(tokenizer: Any, length: int) -> Reader:
    """Return the reader of an instruction: in the chat template, or on a line of its own."""
    if tokenizer.chat_template:
        return Reader.of_chat(tokenizer, length)
    framed = Reader.of(tokenizer, length)
    return Reader(tokenizer, length, framed.before, framed.pieces("\n"))


def projections(net: Any) -> dict[str, Any]:
    """Return the linear layers inside the blocks of a decoder, by name: attention and feed-forward projections.

    Of a model of pictures and text, the decoder is the language model.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    blocks = {id(module) for module in net.get_decoder().modules() if isinstance(module, torch.nn.ModuleList)}
    inside = tuple(f"{name}." for name, module in net.named_modules() if id(module) in blocks)
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and name.startswith(inside)
    }


# ---------------------------------------------------------------- opening


def open_base(settings: FitSettings, tags: Sequence[str], dtype: str) -> LMNetwork:
    """Return a frozen language model, on the CPU.

    Raises:
        MissingExtra: torch or transformers is not installed.
        UsageError: there is no such model, it is no causal language model, or its tokenizer does not fit.
    """
    torch = need("torch", extra="models")
    transformers = need("transformers", extra="models")
    model, revision, variant = settings.model, settings.revision, settings.variant
    with loading(model, "a tokenizer", role="text_model"):
        tokenizer = from_pretrained(transformers.AutoTokenizer, model, revision)
    with loading(model, "a causal language model", role="text_model"):
        kind, options = transformers.AutoModelForCausalLM, {"dtype": getattr(torch, dtype), "output_loading_info": True}
        net, told = from_pretrained(kind, model, revision, variant, **options)
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise UsageError(
            f"text_model {model!r}: expected a causal language model, and {len(missing)} of its weights are missing "
            f"({missing[0]})"
        )
    net.requires_grad_(False)
    check_causal(net, model)
    check_tokenizer(tokenizer, net, settings)
    return writer_of(net, prompt_reader(tokenizer, settings.max_instruction), tags, settings)


def writer_of(net: Any, prompts: Reader, tags: Sequence[str], settings: FitSettings) -> LMNetwork:
    """Return a frozen network, whose prompts a reader makes, as a writer of texts with tags."""
    from transformers import GenerationConfig

    tokenizer = prompts.tokenizer
    ids = add_tags(net, tokenizer, tags) if settings.marks == "tokens" else {}
    # The defaults of a checkpoint (temperature, penalties) are not used.
    marks = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    net.generation_config = GenerationConfig(**marks)
    types = [tag[2:] for tag in tags if tag.startswith("B-")]
    return LMNetwork(net.eval(), tokenizer, types, ids, prompts, settings.max_text)


def check_causal(net: Any, model: str) -> None:
    """Raise if a word changes what a network says of the word before it, as in BERT.

    Raises:
        UsageError: it does.
    """
    import torch

    with torch.no_grad():
        first, second = (net(input_ids=torch.tensor([[0, last]])).logits[0, 0] for last in (1, 2))
    if not torch.equal(first, second):
        raise UsageError(
            f"text_model {model!r}: {net.config.model_type} is no causal language model: it reads the words to the "
            "right as well"
        )


def check_tokenizer(tokenizer: Any, net: Any, settings: FitSettings) -> None:
    """Raise if a tokenizer has no end token, or tokens that the model does not have.

    Raises:
        UsageError: it is so, or the model is too short for an instruction and a text.
    """
    where = f"text_model {settings.model!r}"
    if tokenizer.eos_token_id is None:
        raise UsageError(f"{where}: its tokenizer has no end token (eos_token), so no text would end")
    rows = net.get_input_embeddings().weight.shape[0]
    unknown = {i for i in tokenizer.get_vocab().values() if i >= rows} - special_ids(tokenizer)
    if unknown or tokenizer.eos_token_id >= rows:
        raise UsageError(
            f"{where}: its tokenizer has {len(tokenizer)} tokens, its embeddings {rows} rows: take the tokenizer that "
            "the model was trained with"
        )
    positions = getattr(net.config, "max_position_embeddings", None)
    if positions and settings.max_instruction + settings.max_text > positions:
        raise UsageError(
            f"{where}: it reads {positions} tokens, expected {settings.max_instruction} for the instruction and "
            f"{settings.max_text} for the text"
        )
