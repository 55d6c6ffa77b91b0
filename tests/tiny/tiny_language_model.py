"""A GPT-2 of random weights that knows eight words."""

import pytest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]


def language_model(bos="[CLS]", positions=8, seed=0):
    """Return a tiny GPT-2 of random weights that knows eight words, and its tokenizer."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    words = tokenizers.Tokenizer(vocabulary)
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", bos_token=bos)
    torch.manual_seed(seed)
    config = transformers.GPT2Config(vocab_size=8, n_positions=positions, n_embd=16, n_layer=1, n_head=2)
    return transformers.GPT2LMHeadModel(config).eval(), tokenizer
