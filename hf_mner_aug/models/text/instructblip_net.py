"""InstructBLIP as GMDA trains and samples it (Dai et al. 2023): the network, its tags, its adapters and its inputs.

The instruction goes to the Q-Former and to the language model. Each tag is one token of the language model's tokenizer:
its rows of the decoder's embedding and of the output layer are trained and stored with the adapter, since the base has
none. The instruction names types in words, so the Q-Former's tokenizer needs no tags.
"""

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import loading
from hf_mner_aug.models.text.labelled import escape_word
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import EncodedImage

if TYPE_CHECKING:
    import torch

Tune = Literal["lora", "qformer"]
PAPER_MODEL = "Salesforce/instructblip-flan-t5-xl"
RECORD = "text_model.json"  # the record of a training, beside its weights
# The attention and feed-forward projections of the image encoder, of the Q-Former, and of the language model: T5's
# names, then those of decoders (OPT, LLaMA).
LORA_TARGETS = (
    r"vision_model\.encoder\.layers\.\d+\.(self_attn\.(qkv|projection)|mlp\.(fc1|fc2))"
    r"|qformer\.encoder\.layer\.\d+\.(.+\.)?(query|key|value|dense)"
    r"|language_model\..+\.(q|k|v|o|wi|wi_0|wi_1|wo|[qkv]_proj|o_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2)"
)
QFORMER_WEIGHTS = "qformer.safetensors"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # PEFT's names
IGNORED = -100  # a label without a loss
MULTIPLE = 16  # tokens: lengths are padded to a multiple, so that a row's shape does not depend on other rows


class EncodedRequest(NamedTuple):
    """A request as token ids: the instruction for both tokenizers, and the text to be written."""

    prompt: list[int]
    question: list[int]
    text: list[int]
    image: EncodedImage | None


# ---------------------------------------------------------------- tokenizers


@dataclass(frozen=True)
class Reader:
    """A tokenizer that reads everything as text: ``</s>``, ``<image>`` or a tag in a tweet is not a special token."""

    tokenizer: Any
    length: int
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, tokenizer: Any, length: int) -> "Reader":
        """Return the reader of up to ``length`` tokens, with the tokenizer's tokens before and after a text."""
        bare, framed = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
        start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
        return cls(tokenizer, length, framed[:start], framed[start + len(bare) :])

    def pieces(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens in it become unknown ones."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        special = special_ids(self.tokenizer)
        unknown = [self.tokenizer.unk_token_id] * (self.tokenizer.unk_token_id is not None)
        return list(itertools.chain.from_iterable([i] if i not in special else unknown for i in ids))

    def read(self, text: str) -> tuple[list[int], bool]:
        """Return the ids of an instruction, framed, and whether it was cut."""
        ids, room = self.pieces(text), self.length - len(self.before) - len(self.after)
        return [*self.before, *ids[:room], *self.after], len(ids) > room


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids that are not text: marks, images, sentinels and tags."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


# ---------------------------------------------------------------- the network


@dataclass
class Network:
    """A network with its processor, and the ids of its tags."""

    net: Any
    processor: Any
    tags: Mapping[str, int]
    max_instruction: int
    max_text: int

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
        ids = self.text_ids(text) if text else []
        counts = Counter(instructions_cut=int(cut or asked_less))
        if text:
            # A cut text has no end token, so that the network does not learn to stop there.
            counts["texts_cut"] = int(len(ids) >= self.max_text)
            ids = ids[: self.max_text] if counts["texts_cut"] else [*ids, self.end]
        return EncodedRequest(prompt, question, ids, image), counts

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a linearised text: one for each tag, and those of the words between."""
        ids: list[int] = []
        for tagged, run in itertools.groupby(text.split(" "), key=self.tags.__contains__):
            words = list(run)
            ids += [self.tags[word] for word in words] if tagged else self.prompts.pieces(" ".join(words))
        return ids

    def text_of(self, ids: Sequence[int]) -> str | None:
        """Return the linearised text of ids up to the end token; None if they have none."""
        if self.end not in ids:
            return None
        parts: list[str] = []
        for tagged, run in itertools.groupby(ids[: list(ids).index(self.end)], key=self.names.__contains__):
            if tagged:
                parts += [self.names[i] for i in run]
            else:
                words = self.processor.tokenizer.decode(
                    list(run), skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
                # T5 has no backslash: the escape of a word that looks like a tag is lost, and restored here.
                parts += [word if word.startswith("\\") else escape_word(word) for word in words.split()]
        return " ".join(parts)

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

    def collate(
        self, examples: Sequence[EncodedRequest], pixels: "Sequence[torch.Tensor]", *, learn: bool
    ) -> "dict[str, torch.Tensor]":
        """Return a batch; with ``learn`` also its labels, without loss for padding and (in a decoder) the prompt."""
        import torch

        images = [self.config.image_token_index] * self.config.num_query_tokens
        decoder_only = self.config.use_decoder_only_language_model
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

    def forbidden(self) -> "torch.Tensor":
        """Return the mask [n_tokens] of forbidden tokens: all special ones but the end, and rows without a token.

        The unknown token is allowed (an emoji, for T5); it is left out of the text.
        """
        import torch

        rows = self.net.language_model.get_output_embeddings().weight.shape[0]
        tokenizer = self.processor.tokenizer
        allowed = {self.end, tokenizer.unk_token_id, *self.names}
        marks = torch.zeros(rows, dtype=torch.bool)
        marks[len(tokenizer) :] = True
        marks[sorted(special_ids(tokenizer) - allowed)] = True
        return marks


def filled(rows: Sequence[Sequence[int]], value: int, *, left: bool = False) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return rows as one padded tensor [n_rows, a multiple of MULTIPLE], and its mask."""
    import torch

    width = -(-max(map(len, rows)) // MULTIPLE) * MULTIPLE
    fillings = [[value] * (width - len(row)) for row in rows]
    padded = [[*filling, *row] if left else [*row, *filling] for row, filling in zip(rows, fillings, strict=True)]
    masks = [[0] * len(filling) + [1] * len(row) for row, filling in zip(rows, fillings, strict=True)]
    return torch.tensor(padded), torch.tensor(masks if left else [mask[::-1] for mask in masks])


# ---------------------------------------------------------------- opening, adapting, keeping


def open_base(
    model: str, revision: str | None, tags: Sequence[str], *, dtype: str, max_instruction: int, max_text: int
) -> Network:
    """Return a frozen base with tags, on the CPU.

    Raises:
        MissingExtra: torch or transformers is not installed.
        UsageError: there is no such model, or it is not an InstructBLIP.
    """
    torch = need("torch", extra="models")
    transformers = need("transformers", extra="models")
    with loading(model, "an InstructBLIP"):
        config = transformers.AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
        if config.model_type != "instructblip":
            raise UsageError(f"model {model!r}: expected an InstructBLIP, found {config.model_type}")
        processor = transformers.InstructBlipProcessor.from_pretrained(
            model, revision=revision, trust_remote_code=False
        )
        net = transformers.InstructBlipForConditionalGeneration.from_pretrained(
            model, revision=revision, dtype=getattr(torch, dtype)
        )
    net.requires_grad_(False)
    net.config.tie_word_embeddings = False  # otherwise PEFT skips rows of layers that it takes for tied
    ids = add_tags(net.language_model, processor.tokenizer, tags)
    # The paper does not use the defaults of a checkpoint (beams, penalties).
    marks = {name: getattr(processor.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    start = getattr(net.config.text_config, "decoder_start_token_id", None)
    net.language_model.generation_config = transformers.GenerationConfig(**marks, decoder_start_token_id=start)
    return Network(net, processor, ids, max_instruction, max_text)


def add_tags(language: Any, tokenizer: Any, tags: Sequence[str]) -> dict[str, int]:
    """Make each tag one token and return their ids; its weights are the mean of those of its former pieces."""
    import torch
    from tokenizers import AddedToken

    pieces = {tag: tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in tags}
    tokenizer.add_tokens([AddedToken(tag, special=True, normalized=False) for tag in tags], special_tokens=True)
    ids = dict(zip(tags, tokenizer.convert_tokens_to_ids(list(tags)), strict=True))
    _grow(language, len(tokenizer))
    with torch.no_grad():
        for weight in {id(layer.weight): layer.weight for layer in _token_layers(language)}.values():
            weight[list(ids.values())] = torch.stack([weight[pieces[tag]].mean(0) for tag in tags])
    return ids


def adapt(net: Any, tags: Mapping[str, int], tune: Tune, *, r: int, alpha: int, dropout: float) -> Any:
    """Return a network of which the adapters and the tags' rows are trained, or only the Q-Former's own weights.

    Trained weights are float32.
    """
    if tune == "qformer":
        net.qformer.requires_grad_(True)
    else:
        peft = need("peft", extra="models")
        language = net.language_model
        layers = (language.get_decoder().get_input_embeddings(), language.get_output_embeddings())
        names = [name for name, module in net.named_modules() if module in layers]
        config = peft.LoraConfig(
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=LORA_TARGETS,
            trainable_token_indices={name: sorted(tags.values()) for name in names},
        )
        net = peft.get_peft_model(net, config)
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return net


def compute_activations_twice(net: Any) -> None:
    """Let a network recompute its activations in the backward pass: more time, less memory."""
    # Renamed in transformers 5.24; the old name is removed in 6.
    enable = getattr(net, "activation_checkpointing_enable", None) or net.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def learnable(net: Any) -> "dict[str, torch.nn.Parameter]":
    """Return the trainable parameters by name."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def write_weights(net: Any, folder: Path) -> None:
    """Write the adapter as PEFT does, or the Q-Former; never the base.

    Raises:
        OSError: the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    adapted = hasattr(net, "peft_config")
    try:
        if adapted:
            net.save_pretrained(folder, save_embedding_layers=False)
        else:
            save_file(net.qformer.state_dict(), folder / QFORMER_WEIGHTS)
    except SafetensorError as error:
        raise OSError(f"{folder}: {error}") from error
    if not adapted:
        return
    for path in folder.iterdir():
        if path.name not in ADAPTER_FILES:
            path.unlink()
    # A path in it would give the same weights another digest.
    config = json.loads((folder / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    (folder / ADAPTER_FILES[0]).write_text(json.dumps({**config, "base_model_name_or_path": None}, indent=1))


def read_weights(net: Any, folder: Path) -> Any:
    """Return the network with the weights that ``write_weights`` wrote."""
    if (folder / QFORMER_WEIGHTS).exists():
        from safetensors.torch import load_file

        net.qformer.float().load_state_dict(load_file(folder / QFORMER_WEIGHTS))
        return net
    return need("peft", extra="models").PeftModel.from_pretrained(net, folder)


def _token_layers(language: Any) -> list[Any]:
    """Return the layers with a row for each token: embeddings and the output."""
    named = [module for name, module in language.named_modules() if name.rpartition(".")[2] == "embed_tokens"]
    return [*named, language.get_input_embeddings(), language.get_output_embeddings()]


def _grow(language: Any, n_tokens: int) -> None:
    """Grow the token layers of a language model to at least ``n_tokens`` rows.

    transformers' own ``resize_token_embeddings`` ties T5's output layer to its embedding, which Flan-T5's is not.
    """
    import torch

    grown: dict[int, torch.nn.Parameter] = {}
    for layer in _token_layers(language):
        weight = layer.weight
        if len(weight) >= n_tokens:
            continue
        if id(weight) not in grown:
            rows = torch.cat([weight.data, weight.data.new_zeros(n_tokens - len(weight), weight.shape[1])])
            grown[id(weight)] = torch.nn.Parameter(rows, requires_grad=False)
        layer.weight = grown[id(weight)]
        setattr(layer, "num_embeddings" if isinstance(layer, torch.nn.Embedding) else "out_features", n_tokens)
    if grown:
        language.config.vocab_size = n_tokens


def autocast(device: str, dtype: str) -> "torch.autocast":
    """Return the context for computing in a dtype; adapters are float32 anyway."""
    import torch

    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def name_of_model(model: str) -> str:
    """Return a model's id, or the name of its folder without the path."""
    return Path(model).name if Path(model).is_dir() else model
