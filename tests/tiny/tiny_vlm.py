"""Models of pictures and text of some 100,000 weights, of four families, with tokenizers trained on a split."""

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SIDE = 16  # pixels of a picture as the network sees it
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
LANGUAGE = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 512}
SEEN = {**SIZES, "image_size": SIDE, "patch_size": 8}
MARKS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<row>", "<in>", "<out>", "<turn>")
CHAT = (
    "{{ bos_token }}{% for message in messages %}<turn>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)


def build(family, folder, texts, *, seed=0):
    """Write a model with random weights into a folder, its tokenizer trained on texts, and return the folder."""
    words = train_tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        processor, net = FAMILIES[family](words)
        for name, parameter in net.named_parameters():
            if parameter.dim() > 1:  # a random model is sure of nothing otherwise
                torch.nn.init.normal_(parameter, std=0.1 if "embed" not in name else 0.5)
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def train_tokenizer(texts):
    """Return a byte-level BPE tokenizer, as Qwen's and LLaMA's are, that knows some texts and the marks."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(MARKS), initial_alphabet=alphabet)
    words.train_from_iterator(texts, trainer)
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    more = {"image_token": "<image>", "boi_token": "<in>", "eoi_token": "<out>", "video_token": "<row>"}
    more |= {"vision_bos_token": "<in>", "vision_eos_token": "<out>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **marks, extra_special_tokens=more)


def llava(words):
    """CLIP's tower and LLaMA, as LLaVA 1.5."""
    images = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = transformers.LlavaProcessor(
        images,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.replace("IMAGE", "<image>\n"),
    )
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**SEEN),
        text_config=transformers.LlamaConfig(vocab_size=len(words), **LANGUAGE),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    return processor, transformers.LlavaForConditionalGeneration(config)


def gemma3(words):
    """SigLIP's tower and Gemma 3, whose picture is read in both directions."""
    images = transformers.Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = transformers.Gemma3Processor(
        images, words, chat_template=CHAT.replace("IMAGE", "<in>"), image_seq_length=4
    )
    text = {**LANGUAGE, "head_dim": 16, "sliding_window": 64, "layer_types": ["sliding_attention"]}
    config = transformers.Gemma3Config(
        vision_config=transformers.SiglipVisionConfig(**SEEN, vision_use_head=False),
        text_config=transformers.Gemma3TextConfig(vocab_size=len(words), **text),
        mm_tokens_per_image=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        boi_token_index=words.convert_tokens_to_ids("<in>"),
        eoi_token_index=words.convert_tokens_to_ids("<out>"),
    )
    return processor, transformers.Gemma3ForConditionalGeneration(config)


def qwen2_vl(words):
    """Qwen2-VL: as many tokens as a picture has patches, and positions in three directions."""
    images = transformers.Qwen2VLImageProcessor(
        patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=64, max_pixels=1024
    )
    videos = transformers.Qwen2VLVideoProcessor(patch_size=4, merge_size=2, temporal_patch_size=2)
    processor = transformers.Qwen2VLProcessor(
        images, words, videos, chat_template=CHAT.replace("IMAGE", "<in><image><out>")
    )
    ids = {name: words.convert_tokens_to_ids(mark) for name, mark in QWEN_IDS.items()}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    config = transformers.Qwen2VLConfig(
        text_config={"vocab_size": len(words), **LANGUAGE, "rope_parameters": rope, **QWEN_MARKS},
        vision_config={
            "depth": 1,
            "embed_dim": 32,
            "hidden_size": SIZES["hidden_size"],
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        **ids,
    )
    return processor, transformers.Qwen2VLForConditionalGeneration(config)


QWEN_IDS = {
    "image_token_id": "<image>",
    "video_token_id": "<row>",
    "vision_start_token_id": "<in>",
    "vision_end_token_id": "<out>",
}
QWEN_MARKS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def idefics3(words):
    """Idefics3 (and SmolVLM): a picture in tiles, each behind a mark of its own."""
    images = transformers.Idefics3ImageProcessor(
        size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=True
    )
    words.add_tokens(["<fake_token_around_image>", "<global-img>", "<end_of_utterance>"], special_tokens=True)
    processor = transformers.Idefics3Processor(
        images, words, image_seq_len=1, chat_template=CHAT.replace("IMAGE", "<image>")
    )
    config = transformers.Idefics3Config(
        vision_config={**SEEN},
        text_config=transformers.LlamaConfig(vocab_size=len(words), pad_token_id=0, **LANGUAGE),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    return processor, transformers.Idefics3ForConditionalGeneration(config)


FAMILIES = {"llava": llava, "gemma3": gemma3, "qwen2_vl": qwen2_vl, "idefics3": idefics3}
