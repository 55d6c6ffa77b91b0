"""Measure GMDA's models at the paper's size, random weights, on a GPU: python benchmarks/gmda_gpu.py [--tiny].

InstructBLIP with Flan-T5-XL and ViT-g/14: seconds of a LoRA step (batch 2, bfloat16, checkpointed activations) and
tokens a second at batch 1 and 16, Gumbel-max included. Stable Diffusion 1.5, img2img at strength 0.8 with 50 steps:
pictures a second in bfloat16 batches against a loop of one in float32. Peak memory is that of each part. Nothing is
downloaded: the weights are drawn from the configs, so tokens and pixels mean nothing and times mean what they say.

``--estimate`` needs no GPU: it counts the parameters of these configs on the meta device and says what the weights,
adapters, gradients and Adam's moments take. ``--tiny`` runs every part on a CPU with small configs, as a check of this
file; its figures are no measurement. Without a GPU, and without either, it says so and ends.

Bound: batched img2img in bfloat16 at least 8 times as fast as the loop.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from hf_mner_aug.draw import draw
from hf_mner_aug.models.text.adapters import compute_activations_twice, learnable
from hf_mner_aug.models.text.instructblip_net import QFORMER_PARTS, adapt
from hf_mner_aug.models.text.network import FitSettings
from hf_mner_aug.models.text.sampling import RowSampler

GIB = 2**30
TAGS = [f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG", "MISC") for prefix in "BI"]
PROMPT, TEXT = 64, 64  # tokens of an instruction and of a text


def paper_config() -> InstructBlipConfig:
    """Return the configuration of Salesforce/instructblip-flan-t5-xl."""
    text = transformers.T5Config(
        vocab_size=32128,
        d_model=2048,
        d_kv=64,
        d_ff=5120,
        num_layers=24,
        num_decoder_layers=24,
        num_heads=32,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    vision, qformer = transformers.InstructBlipVisionConfig(), transformers.InstructBlipQFormerConfig(vocab_size=30523)
    return InstructBlipConfig(
        vision_config=vision, qformer_config=qformer, text_config=text, image_token_index=32100, num_query_tokens=32
    )


def tiny_config() -> InstructBlipConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    text = transformers.T5Config(
        vocab_size=200, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_decoder_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0,
    )  # fmt: skip
    return InstructBlipConfig(
        vision_config=transformers.InstructBlipVisionConfig(image_size=28, patch_size=14, **sizes),
        qformer_config=transformers.InstructBlipQFormerConfig(vocab_size=200, **sizes),
        text_config=text,
        image_token_index=190,
        num_query_tokens=4,
    )


def network_of(config: InstructBlipConfig, dtype: torch.dtype, device: str) -> tuple[Any, dict[str, int]]:
    """Return a network with random weights whose last rows stand for the tags, adapted as GMDA does."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            net = InstructBlipForConditionalGeneration(config)
            head = torch.empty_like(net.language_model.lm_head.weight).normal_(std=0.02)
            net.language_model.lm_head.weight = torch.nn.Parameter(head)
    finally:
        torch.set_default_dtype(default)
    tags = {tag: config.text_config.vocab_size - len(TAGS) + i for i, tag in enumerate(TAGS)}
    net.requires_grad_(False)
    compute_activations_twice(net)
    return adapt(net, tags, FitSettings()), tags


def batch_of(config: InstructBlipConfig, n: int, device: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    side = config.vision_config.image_size
    images = torch.full((n, config.num_query_tokens), config.image_token_index)
    ids = torch.cat([images, torch.randint(3, 100, (n, PROMPT), generator=generator)], 1)
    question = torch.randint(3, 100, (n, PROMPT), generator=generator)
    batch = {
        "pixel_values": torch.randn(n, 3, side, side, generator=generator),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "qformer_input_ids": question,
        "qformer_attention_mask": torch.ones_like(question),
    }
    return {name: values.to(device) for name, values in batch.items()}


def timed(call: Callable[[], Any], device: str, *, runs: int) -> tuple[float, float]:
    """Return the median seconds of a call, after one that is not counted, and the peak of GPU memory in GiB."""
    seconds = []
    for run in range(runs + 1):
        if run == 1 and device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / GIB if device == "cuda" else 0.0
    return sorted(seconds[1:])[runs // 2], peak


def measure_text(config: InstructBlipConfig, device: str, batches: Sequence[int], runs: int) -> None:
    net, _ = network_of(config, torch.bfloat16, device)
    optimiser = torch.optim.Adam(learnable(net).values(), lr=5e-5)
    batch = batch_of(config, 2, device)
    labels = torch.randint(3, 100, (2, TEXT), device=device)
    autocast = torch.autocast(device, dtype=torch.bfloat16)

    def step() -> None:
        optimiser.zero_grad()
        with autocast:
            loss = net(**batch, labels=labels).loss
        loss.backward()
        optimiser.step()

    net.train()
    seconds, peak = timed(step, device, runs=runs)
    print(f"LoRA step, batch 2, bfloat16, checkpointed: {seconds:.3f} s, peak {peak:.1f} GiB")
    net.eval()
    optimiser.zero_grad()
    forbidden = torch.zeros(config.text_config.vocab_size, dtype=torch.bool)
    forbidden[1] = True  # the end: every text has as many tokens
    for n in batches:
        asked = batch_of(config, n, device)

        def write(asked: dict[str, torch.Tensor] = asked, n: int = n) -> None:
            draws = [draw(0, "benchmark", 1, str(i), 0) for i in range(n)]
            sampler = RowSampler(draws, forbidden, 1.0, 50, 0.95)
            with torch.inference_mode(), autocast:
                net.generate(**asked, logits_processor=[sampler], max_new_tokens=TEXT, do_sample=False, num_beams=1)

        seconds, peak = timed(write, device, runs=runs)
        print(f"sampling, batch {n}: {n * TEXT / seconds:.0f} tokens/s, peak {peak:.1f} GiB")


def save_pipeline(folder: Path, *, tiny: bool) -> None:
    """Write Stable Diffusion 1.5 with random weights, or a small one, without a safety checker."""
    import diffusers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    signs = list(bytes_to_unicode().values())
    names = [*signs, *(f"{sign}</w>" for sign in signs), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    wide = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    slim = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    text = transformers.CLIPTextConfig(vocab_size=514 if tiny else 49408, **(slim if tiny else wide), **ids)
    if tiny:
        unet = diffusers.UNet2DConditionModel(
            sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=16,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        vae = {"block_out_channels": (8,) * 4, "norm_num_groups": 4, "layers_per_block": 1}
    else:
        unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        vae = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    coder = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, **vae
    )
    noise = diffusers.PNDMScheduler(
        skip_prk_steps=True, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae=coder, text_encoder=transformers.CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=noise,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def measure_images(device: str, batch: int, runs: int, *, tiny: bool) -> None:
    from dataclasses import replace

    from hf_mner_aug.models.image import diffusers as image

    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        save_pipeline(Path(folder), tiny=tiny)
        small = {"size": 64, "steps": 2} if tiny else {}
        paper = {"prompt": "A photo of {sentence}", "steps": 50, "guidance": 10.0, "strength": 0.8}
        engine = image.Diffusers(model=folder, device=device, **{**paper, **small})
        originals = [Image.effect_noise((engine.size, engine.size), 60 + i).convert("RGB") for i in range(batch)]
        sentences = [f"tweet {i}" for i in range(batch)]
        draws = [draw(0, "benchmark", 1, str(i), 0) for i in range(batch)]
        for dtype, at_once in (("bfloat16", batch), ("float32", 1)):
            chosen = replace(engine, dtype=dtype, batch_size=at_once)
            n = batch if at_once > 1 else min(batch, 2)  # of the loop a part will do

            def make(chosen: Any = chosen, n: int = n) -> None:
                chosen.generate(sentences[:n], draws[:n], originals=originals[:n])

            seconds, peak = timed(make, device, runs=runs)
            rates[dtype] = n / seconds
            print(f"img2img, {dtype}, batch {at_once}: {n / seconds:.2f} pictures/s, peak {peak:.1f} GiB")
            image._load.cache_clear()
    print(f"batched bfloat16 against the float32 loop: {rates['bfloat16'] / rates['float32']:.1f} times as fast")


def estimate() -> None:
    """Print what training at the paper's size holds, but for activations: counted, not measured."""
    net, _ = network_of(paper_config(), torch.bfloat16, "meta")
    learns = learnable(net)
    n_learnt = sum(parameter.numel() for parameter in learns.values())
    n_base = sum(parameter.numel() for parameter in net.parameters()) - n_learnt
    own = {name.removeprefix("base_model.model."): p for name, p in net.named_parameters() if name not in learns}
    n_qformer = sum(parameter.numel() for name, parameter in own.items() if name.startswith(QFORMER_PARTS))
    weights = 2 * n_base / GIB
    print(f"base: {n_base / 1e9:.2f} billion parameters, {weights:.1f} GiB in bfloat16")
    for name, n in (("lora: adapters and the tags' rows", n_learnt), ("qformer and what joins it", n_qformer)):
        # float32: the weight, its gradient and Adam's two moments
        print(f"{name}: {n / 1e6:.1f} million learn, {16 * n / GIB:.2f} GiB with gradients and Adam's moments")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--estimate" in arguments:
        estimate()
    elif "--tiny" in arguments:
        torch.set_num_threads(1)
        measure_text(tiny_config(), "cpu", (1, 2), 1)
        measure_images("cpu", 2, 1, tiny=True)
    elif not torch.cuda.is_available():
        print("no GPU here: take --estimate or --tiny")
    else:
        measure_text(paper_config(), "cuda", (1, 16), 5)
        torch.cuda.empty_cache()
        measure_images("cuda", 8, 3, tiny=False)
