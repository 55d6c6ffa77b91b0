"""Causal language models of some 20,000 weights: GPT-2, LLaMA, Gemma 3 and Qwen 2, with a tokenizer of bytes."""

import tokenizers
import torch
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

TAGS = [f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG", "MISC") for prefix in "BI"]
MARKS = ["<s>", "</s>", "<pad>", "<|user|>", "<|writer|>"]
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|writer|>{{ strftime_now('%Y') if strftime_now is defined }}{% endif %}"
)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TIED = {"gemma": True, "gpt2": True, "llama": False, "qwen": True}


def tokenizer(chat=None, **marks):
    """Return a tokenizer that knows the bytes, and no merges of them."""
    names = [*MARKS, *sorted(bytes_to_unicode().values())]
    words = tokenizers.Tokenizer(tokenizers.models.BPE({name: i for i, name in enumerate(names)}, []))
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", **marks}
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, additional_special_tokens=MARKS[3:], **{k: v for k, v in marks.items() if v}
    )
    found.chat_template = chat
    return found


def config(kind, n_tokens):
    """Return the configuration of a small model."""
    ids = {"vocab_size": n_tokens, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    if kind == "gpt2":
        return transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=512, **ids)
    more = {"max_position_embeddings": 512, "num_key_value_heads": 1, "tie_word_embeddings": TIED[kind], **SIZES, **ids}
    if kind == "gemma":
        layers = ["sliding_attention", "full_attention"]
        return transformers.Gemma3TextConfig(head_dim=16, sliding_window=40, layer_types=layers, **more)
    if kind == "qwen":
        return transformers.Qwen2Config(**{**more, "vocab_size": n_tokens + 24})  # more rows than tokens
    return transformers.LlamaConfig(**more)


def build(folder, kind="llama", *, seed=0, tokens=None):
    """Write a model with random weights and a tokenizer into a folder, and return the folder."""
    tokens = tokens or tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = transformers.AutoModelForCausalLM.from_config(config(kind, len(tokens)))
        for name, weight in net.named_parameters():
            if weight.ndim > 1 and "norm" not in name:
                torch.nn.init.normal_(weight, std=0.3)  # as sure of itself as a trained one
    net.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
