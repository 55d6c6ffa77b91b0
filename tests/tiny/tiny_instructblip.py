"""An InstructBLIP of some 100,000 weights with tokenizers trained on a split; its own language model is T5 or OPT."""

import torch
import transformers

from hf_mner_aug.models.text.instructblip_net import open_base
from hf_mner_aug.models.text.network import FitSettings

TAGS = [f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG", "MISC") for prefix in "BI"]
SIDE = 16  # pixels of a picture as the network sees it
HIDDEN = 64


def trained_tokenizers(texts):
    """Return the tokenizers of a model, trained on texts; another process may train others."""
    return (
        transformers.T5Tokenizer(extra_ids=0).train_new_from_iterator(texts, vocab_size=400),
        transformers.BertTokenizer().train_new_from_iterator(texts, vocab_size=400),
    )


def spelling_tokenizers(texts):
    """Return the tokenizers of a model that know the characters of texts, and the words: the same ones everywhere."""
    words = sorted({word for text in texts for word in text.split()})
    signs = sorted(set("".join(words)))
    pieces = ["<pad>", "</s>", "<unk>", "<image>", *signs, "\u2581", *(f"\u2581{word}" for word in words)]
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = [*marks, *signs, *(f"##{sign}" for sign in signs)]
    return (
        transformers.T5Tokenizer(vocab=[(piece, -1.0 - (len(piece) < 2)) for piece in pieces], extra_ids=0),
        transformers.BertTokenizer(vocab={piece: i for i, piece in enumerate(known)}, do_lower_case=False),
    )


def build(folder, texts, *, decoder_only=False, seed=0, tokenizers=trained_tokenizers):
    """Write a model with random weights into a folder, its tokenizers made from texts, and return the folder."""
    tokenizer, question = tokenizers(texts)
    images = transformers.BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = transformers.InstructBlipProcessor(images, tokenizer, question, num_query_tokens=4)
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    if decoder_only:
        language = transformers.OPTConfig(
            vocab_size=len(tokenizer), ffn_dim=128, word_embed_proj_dim=HIDDEN, bos_token_id=None, **sizes, **ids
        )
    else:
        language = transformers.T5Config(
            vocab_size=len(tokenizer),
            d_model=HIDDEN,
            d_kv=32,
            d_ff=128,
            num_layers=1,
            num_decoder_layers=1,  # generate fails with another number
            num_heads=2,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=tokenizer.pad_token_id,
            dropout_rate=0.0,
            **ids,
        )
    config = transformers.InstructBlipConfig(
        vision_config=transformers.InstructBlipVisionConfig(
            image_size=SIDE, patch_size=8, intermediate_size=128, initializer_range=0.1, **sizes
        ),
        qformer_config=transformers.InstructBlipQFormerConfig(
            initializer_range=0.1,
            vocab_size=len(question),
            intermediate_size=128,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=128,
            **sizes,
        ),
        text_config=language,
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = transformers.InstructBlipForConditionalGeneration(config)
        torch.nn.init.normal_(net.query_tokens, std=0.1)
        if not decoder_only:  # untied as Flan-T5's, and not as sure of itself as T5's random one
            head = torch.randn_like(net.language_model.lm_head.weight) * HIDDEN**-0.5
            net.language_model.lm_head.weight = torch.nn.Parameter(head)
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def pretrain(folder, pairs, *, steps, size=16, rate=3e-3):
    """Teach a model pairs of requests and texts, all its weights, in its folder: a base knows the language."""
    network = open_base(FitSettings(model=str(folder), max_instruction=64, max_text=64), TAGS, "float32")
    net = network.net.requires_grad_(True).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    examples = [network.example(request.instruction, request.image, text)[0] for request, text in pairs]
    pixels = [network.pixels(example.image) for example in examples]
    for step in range(steps):
        rows = [i % len(pairs) for i in range(step * size, (step + 1) * size)]
        loss = net(**network.collate([examples[i] for i in rows], [pixels[i] for i in rows], learn=True)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.save_pretrained(folder)
    network.processor.save_pretrained(folder)
