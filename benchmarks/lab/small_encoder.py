"""A small encoder for one set: the first layers of a BERT, and the word pieces that the set's texts have.

``python benchmarks/lab/small_encoder.py lab-models/minilm mnre small_bert`` writes a BERT, with ``--decoder-layers 1``
a BART of it for ``h_index``, ``tiger`` and ``mmt5``. The set's words are split as before, and have the states of that
layer; each step of a training is spared the pieces that no text has. Other words are split into letters.

``--copy-steps 1000`` first teaches that BART to write the marked span of a text of random pieces. It stands in for
BART's own training, without which ``tiger`` and ``mmt5`` spend their steps on learning to copy.
"""

import argparse
import random
import tempfile
from pathlib import Path

import torch
from conversions import bart_of_bert
from datasets import load_dataset
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, BartForConditionalGeneration, BertTokenizer

from hf_mner_aug.backbones.sentences import phrases_of
from hf_mner_aug.schema import FOUR_TYPES


def small_bert(bert: Path, dataset: str, layers: int, out: Path) -> int:
    """Write the first layers of a BERT with the pieces of a dataset's texts; return their number."""
    tokenizer = AutoTokenizer.from_pretrained(bert)
    known = tokenizer.get_vocab()
    texts = [tokens for split in load_dataset(dataset).values() for tokens in split["tokens"]]
    texts += [post.tokens for post in phrases_of(FOUR_TYPES, ())]
    words = sorted({word for tokens in texts for word in tokens})
    used = {piece for word in words for piece in tokenizer.tokenize(word)}
    letters = {piece for piece in known if len(piece.removeprefix("##")) == 1}
    kept = sorted(known[piece] for piece in {*used, *letters, *tokenizer.all_special_tokens})
    pieces = tokenizer.convert_ids_to_tokens(kept)
    model = AutoModel.from_pretrained(bert, num_hidden_layers=layers)
    rows = model.embeddings.word_embeddings.weight[torch.tensor(kept)]
    model.resize_token_embeddings(len(kept))
    model.embeddings.word_embeddings.weight.data.copy_(rows)
    model.config.pad_token_id = pieces.index(tokenizer.pad_token)
    model.save_pretrained(out)
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    BertTokenizer(vocab=vocabulary, model_max_length=tokenizer.model_max_length).save_pretrained(out)
    return len(kept)


def learn_to_copy(folder: Path, n_steps: int, n_texts: int = 32, learning_rate: float = 1e-3) -> float:
    """Train a BART to write the marked span of random texts; return the share of pieces it has right in 500 others."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bart = BartForConditionalGeneration.from_pretrained(folder)
    pieces = sorted({*range(len(tokenizer))} - {*tokenizer.all_special_ids})
    start, end, mark, padding = (getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "mask", "pad"))
    draw = random.Random(0)
    torch.manual_seed(0)

    def text() -> tuple[torch.Tensor, torch.Tensor]:
        before, span, after = (draw.choices(pieces, k=draw.randint(*length)) for length in ((0, 7), (1, 4), (0, 7)))
        read, written = [start, *before, mark, *span, mark, *after, end], [*span, end]
        return torch.tensor(read), torch.tensor(written)

    def texts(n: int) -> dict[str, torch.Tensor]:
        read, written = zip(*(text() for _ in range(n)), strict=True)
        ids = pad_sequence(read, batch_first=True, padding_value=padding)
        labels = pad_sequence(written, batch_first=True, padding_value=-100)
        return {"input_ids": ids, "attention_mask": (ids != padding).long(), "labels": labels}

    optimizer = torch.optim.AdamW(bart.parameters(), lr=learning_rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=n_steps)
    bart.train()
    for _ in range(n_steps):
        bart(**texts(n_texts)).loss.backward()
        torch.nn.utils.clip_grad_norm_(bart.parameters(), 1.0)
        optimizer.step()
        plan.step()
        optimizer.zero_grad()
    bart.eval().save_pretrained(folder)
    with torch.no_grad():
        batch = texts(500)
        found = bart(**batch).logits.argmax(dim=-1) == batch["labels"]
    return found[batch["labels"] != -100].float().mean().item()


def main() -> None:
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bert", type=Path)
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--decoder-layers", type=int, default=0)
    parser.add_argument("--copy-steps", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bert = Path(folder) if given.decoder_layers else given.out
        n_pieces = small_bert(given.bert, given.dataset, given.layers, bert)
        if given.decoder_layers:
            bart_of_bert(bert / "model.safetensors", given.out, given.decoder_layers)
    if given.copy_steps:
        print(f"{learn_to_copy(given.out, given.copy_steps):.1%} of the pieces copied")
    print(f"{n_pieces:,} pieces, {given.layers} layers: {given.out}")


if __name__ == "__main__":
    main()
