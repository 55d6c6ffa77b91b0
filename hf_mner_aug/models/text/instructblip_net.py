"""InstructBLIP as GMDA trains and samples it (Dai et al. 2023): the network, its tags, its adapters and its inputs.

The instruction goes to the Q-Former and to the language model. With LoRA each tag is one token of the language model's
tokenizer: its rows of the decoder's embedding and of the output layer are trained and stored with the adapter, since
the base has none. With ``tune="qformer"`` the language model stays as it is, so tags are written in its own pieces; the
Q-Former, its query tokens and the projection to the language model are trained. The instruction names types in words,
so the Q-Former's tokenizer needs no tags.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import from_pretrained, loading
from hf_mner_aug.models.text.adapters import add_adapters, learn_in_float32, read_adapters, write_adapters
from hf_mner_aug.models.text.labelled import escape_word
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
    tagged_ids,
    tagged_text,
)
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import EncodedImage

if TYPE_CHECKING:
    import torch

# The attention and feed-forward projections of the image encoder, of the Q-Former, and of the language model: T5's
# names, then those of decoders (OPT, LLaMA).
LORA_TARGETS = (
    r"vision_model\.encoder\.layers\.\d+\.(self_attn\.(qkv|projection)|mlp\.(fc1|fc2))"
    r"|qformer\.encoder\.layer\.\d+\.(.+\.)?(query|key|value|dense)"
    r"|language_model\..+\.(q|k|v|o|wi|wi_0|wi_1|wo|[qkv]_proj|o_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2)"
)
QFORMER_WEIGHTS = "qformer.safetensors"
QFORMER_PARTS = ("qformer.", "query_tokens", "language_projection.")  # trained where the Q-Former is


class EncodedRequest(NamedTuple):
    """A request as token ids: the instruction for both tokenizers, and the text to be written."""

    prompt: list[int]
    question: list[int]
    text: list[int]
    image: EncodedImage | None


# ---------------------------------------------------------------- the network


@dataclass
class InstructBLIPNetwork:
    """An InstructBLIP with its processor (a ``Network``).

    Its tags are tokens, with these ids, or ``plain``: the spelling of each.
    """

    net: Any
    processor: Any
    tags: Mapping[str, int]
    max_instruction: int
    max_text: int
    plain: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        self.prompts = Reader.of(self.processor.tokenizer, self.max_instruction)
        positions = config.qformer_config.max_position_embeddings
        self.questions = Reader.of(self.processor.qformer_tokenizer, min(self.max_instruction, positions))
        self.names = {i: tag for tag, i in self.tags.items()}
        self.end = self.processor.tokenizer.eos_token_id
        self.filler = self.processor.tokenizer.pad_token_id
        if self.filler is None:
            self.filler = self.end

    @property
    def config(self) -> Any:
        """The configuration of the base."""
        return self.net.config

    @property
    def decoder_only(self) -> bool:
        """Whether its language model reads the prompt and writes in one go."""
        found: bool = self.config.use_decoder_only_language_model
        return found

    @property
    def device(self) -> "torch.device":
        """The device of the network."""
        found: torch.device = next(self.net.parameters()).device
        return found

    def example(
        self, instruction: str, image: EncodedImage | None, text: str = ""
    ) -> tuple[EncodedRequest, Counter[str]]:
        """Return a request, or a training pair, as ids; and counts of what was cut."""
        prompt, cut = self.prompts.read(instruction)
        question, asked_less = self.questions.read(instruction)
        ids, text_cut = ended(self.text_ids(text), self.max_text, self.end) if text else ([], False)
        counts = Counter(instructions_cut=int(cut or asked_less), texts_cut=int(text_cut))
        return EncodedRequest(prompt, question, ids, image), counts

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a linearised text."""
        if self.plain:
            return self.prompts.pieces(" ".join(self.plain.get(word, word) for word in text.split(" ")))
        return tagged_ids(text, self.tags, self.prompts)

    def text_of(self, ids: Sequence[int]) -> str | None:
        """Return the linearised text of ids up to the end token; None if they have none."""
        if self.end not in ids:
            return None
        ids = ids[: list(ids).index(self.end)]
        if self.plain:
            tags = {spelling: tag for tag, spelling in self.plain.items()}
            words = decoded(ids, self.processor.tokenizer).split()
            return " ".join(tags.get(word) or (word if word.startswith("\\") else escape_word(word)) for word in words)
        return tagged_text(ids, self.names, self.processor.tokenizer)

    def pixels(self, image: EncodedImage | None) -> "torch.Tensor":
        """Return a picture as network input [3, height, width]; without one, the mean colour.

        Raises:
            DataError: it cannot be read or decoded.
        """
        import torch

        if image is None:
            side = self.config.vision_config.image_size
            return torch.zeros((3, side, side) if isinstance(side, int) else (3, *side))
        found: torch.Tensor = self.processor.image_processor(open_rgb(image), return_tensors="pt")["pixel_values"][0]
        return found

    def shape(self, example: EncodedRequest) -> Hashable:
        """Return the padded lengths of an instruction, in each tokenizer."""
        return padded(len(example.prompt)), padded(len(example.question))

    def collate(
        self, examples: Sequence[EncodedRequest], pixels: "Sequence[torch.Tensor]", *, learn: bool
    ) -> "dict[str, torch.Tensor]":
        """Return a batch; with ``learn`` also its labels, without loss for padding and (in a decoder) the prompt."""
        import torch

        images = [self.config.image_token_index] * self.config.num_query_tokens
        decoder_only = self.decoder_only
        read = [[*images, *example.prompt, *(example.text * (decoder_only and learn))] for example in examples]
        input_ids, mask = filled(read, self.filler, left=decoder_only and not learn)
        question, question_mask = filled(
            [example.question for example in examples], self.questions.tokenizer.pad_token_id
        )
        batch = {
            "pixel_values": torch.stack(list(pixels)),
            "qformer_input_ids": question,
            "qformer_attention_mask": question_mask,
            "input_ids": input_ids,
            "attention_mask": mask,
        }
        if learn:
            skipped = [IGNORED] * (len(images) * decoder_only)
            labels = [[*skipped, *[IGNORED] * (len(e.prompt) * decoder_only), *e.text] for e in examples]
            batch["labels"] = filled(labels, IGNORED)[0]
        return {name: values.to(self.device) for name, values in batch.items()}

    def loss(self, batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
        """Return the mean loss of a batch over the tokens of its texts."""
        found: torch.Tensor = self.net(**batch).loss
        return found

    def forbidden(self) -> "torch.Tensor":
        """Return the mask [n_tokens] of forbidden tokens: all special ones but the end, and rows without a token.

        The unknown token is allowed (an emoji, for T5); it is left out of the text.
        """
        rows = self.net.language_model.get_output_embeddings().weight.shape[0]
        tokenizer = self.processor.tokenizer
        return not_text(tokenizer, rows, {self.end, tokenizer.unk_token_id, *self.names})

    def adapt(self, settings: FitSettings) -> None:
        """Make adapters and the rows of the tags learnable, or only the Q-Former's own weights and what joins it."""
        self.net = adapt(self.net, self.tags, settings)

    def write_weights(self, folder: Path) -> None:
        """Write the adapters, or the Q-Former; never the base."""
        write_weights(self.net, folder)

    def read_weights(self, folder: Path) -> None:
        """Take over what ``write_weights`` wrote."""
        self.net = read_weights(self.net, folder)


# ---------------------------------------------------------------- opening, adapting, keeping


def open_base(settings: FitSettings, tags: Sequence[str], dtype: str) -> InstructBLIPNetwork:
    """Return a frozen base with tags, on the CPU.

    Raises:
        MissingExtra: torch or transformers is not installed.
        UsageError: there is no such model, or it is not an InstructBLIP.
    """
    torch = need("torch", extra="models")
    transformers = need("transformers", extra="models")
    model, revision, variant = settings.model, settings.revision, settings.variant
    with loading(model, "an InstructBLIP"):
        config = from_pretrained(transformers.AutoConfig, model, revision)
        if config.model_type != "instructblip":
            raise UsageError(f"model {model!r}: expected an InstructBLIP, found {config.model_type}")
        processor = from_pretrained(transformers.InstructBlipProcessor, model, revision)
        kind = transformers.InstructBlipForConditionalGeneration
        net = from_pretrained(kind, model, revision, variant, dtype=getattr(torch, dtype))
    net.requires_grad_(False)
    net.config.tie_word_embeddings = False  # otherwise PEFT skips rows of layers that it takes for tied
    alone = settings.tune == "qformer"
    plain = spellings(tags, processor.tokenizer) if alone else {}
    ids = {} if alone else add_tags(net.language_model, processor.tokenizer, tags)
    # The paper does not use the defaults of a checkpoint (beams, penalties).
    marks = {name: getattr(processor.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    start = getattr(net.config.text_config, "decoder_start_token_id", None)
    net.language_model.generation_config = transformers.GenerationConfig(**marks, decoder_start_token_id=start)
    return InstructBLIPNetwork(net, processor, ids, settings.max_instruction, settings.max_text, plain)


def spellings(tags: Sequence[str], tokenizer: Any) -> dict[str, str]:
    """Return each tag as it comes back from the tokenizer's pieces.

    Raises:
        UsageError: two tags are spelled alike, or one in several words.
    """
    reader = Reader.of(tokenizer, 1)
    found = {tag: decoded(reader.pieces(tag), tokenizer).strip() for tag in tags}
    for tag, spelling in found.items():
        if len(spelling.split()) != 1 or list(found.values()).count(spelling) > 1:
            raise UsageError(
                f"tune=qformer: the model's tokenizer writes the tag {tag!r} as {spelling!r}, which is no tag of its "
                "own: take tune=lora"
            )
    return found


def adapt(net: Any, tags: Mapping[str, int], settings: FitSettings) -> Any:
    """Return a network of which the adapters and the tags' rows are trained, or only ``QFORMER_PARTS``.

    Trained weights are float32.
    """
    if settings.tune == "qformer":
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name.startswith(QFORMER_PARTS))
    else:
        language = net.language_model
        layers = (language.get_decoder().get_input_embeddings(), language.get_output_embeddings())
        names = [name for name, module in net.named_modules() if module in layers]
        net = add_adapters(net, settings, LORA_TARGETS, dict.fromkeys(names, sorted(tags.values())))
    learn_in_float32(net)
    return net


def write_weights(net: Any, folder: Path) -> None:
    """Write the adapters, or the Q-Former with its query tokens and projection; never the base.

    Raises:
        OSError: the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if hasattr(net, "peft_config"):
        write_adapters(net, folder)
        return
    try:
        save_file(_of_qformer(net), folder / QFORMER_WEIGHTS)
    except SafetensorError as error:
        raise OSError(f"{folder}: {error}") from error


def read_weights(net: Any, folder: Path) -> Any:
    """Return the network with the weights that ``write_weights`` wrote.

    Raises:
        UsageError: they are of other layers or shapes.
    """
    if not (folder / QFORMER_WEIGHTS).exists():
        return read_adapters(net, folder)
    from safetensors.torch import load_file

    weights = load_file(folder / QFORMER_WEIGHTS)
    here = _of_qformer(net)
    if {name: value.shape for name, value in weights.items()} != {name: value.shape for name, value in here.items()}:
        raise UsageError("this Q-Former is of other layers than the network has: fit again")
    for name, parameter in net.named_parameters():
        if name in weights:
            parameter.data = weights[name].to(parameter.device)
    net.load_state_dict(weights, strict=False)  # buffers
    return net


def _of_qformer(net: Any) -> "dict[str, torch.Tensor]":
    """Return the weights of ``QFORMER_PARTS`` by name."""
    return {name: value for name, value in net.state_dict().items() if name.startswith(QFORMER_PARTS)}
