"""By roofline, on paper: the share of a GPU's bfloat16 peak that a model of the papers can reach, by batch.

Operations are counted by torch's ``FlopCounterMode`` on the real architectures without weights (meta device), and bytes
are those of the weights in bfloat16, read once for each pass, and of the keys and values that a decoder reads again for
each token. Activations are not counted, and no kernel reaches a roof: these are limits, not measurements.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gmda_gpu import PROMPT, TEXT, batch_of, paper_config
from benchmarks.measured import Row

PEAK, BANDWIDTH = 989e12, 4.8e12  # NVIDIA H200: dense bfloat16 operations and bytes a second
ASSUMED = (
    f"an NVIDIA H200 with {PEAK / 1e12:.0f} TFLOP/s and {BANDWIDTH / 1e12} TB/s; prompts and texts of {PROMPT} pieces"
)


class Pass(NamedTuple):
    """What one pass of a batch computes and reads."""

    flops: float
    moved: float  # bytes

    def share(self) -> float:
        """Return the most of the peak that it can reach."""
        return self.flops / PEAK / self.seconds()

    def seconds(self) -> float:
        """Return the least seconds that it takes."""
        return max(self.flops / PEAK, self.moved / BANDWIDTH)


def measure(folder: Path, n_posts: int) -> list[Row]:
    rows = []
    for name, unit, passes, batches in (
        ("InstructBLIP Flan-T5-XL, reading", "posts", reading(), (1, 4, 16)),
        ("InstructBLIP Flan-T5-XL, a token", "tokens", writing(), (1, 16, 64, 256)),
        ("SDXL-Turbo, a step at 512 pixels", "pictures", painting(), (1, 4, 16)),
        ("CLIP ViT-B/32, a picture and its text", "pairs", matching(), (1, 16, 64, 256)),
    ):
        for n in batches:
            took = passes(n)
            figure = f"{n / took.seconds():,.0f} {unit}/s at most"
            rows.append(Row(f"{name}, batch {n}", figure, f"{took.flops / took.moved:,.0f} FLOP a byte", took.share()))
    return rows


def counted(call: Callable[[], Any]) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        call()
    return counter.get_total_flops()


def weight_bytes(*nets: torch.nn.Module) -> float:
    return 2 * sum(weights.numel() for net in nets for weights in net.parameters())


def reading() -> Callable[[int], Pass]:
    config = paper_config()
    config._attn_implementation = "eager"
    with torch.device("meta"):
        net = transformers.InstructBlipForConditionalGeneration(config).eval()
    encoder = net.language_model.encoder

    def one(n: int) -> Pass:
        batch = batch_of(config, n, "meta")
        states = torch.empty(n, config.num_query_tokens + PROMPT, config.text_config.d_model, device="meta")

        def read() -> None:
            seen = net.vision_model(batch["pixel_values"])[0]
            queries = net.query_tokens.expand(n, -1, -1)
            net.qformer(batch["qformer_input_ids"], query_embeds=queries, encoder_hidden_states=seen)
            encoder(inputs_embeds=states)

        return Pass(counted(read), weight_bytes(net.vision_model, net.qformer, encoder))

    return one


def writing() -> Callable[[int], Pass]:
    config = paper_config().text_config
    with torch.device("meta"):
        net = transformers.T5ForConditionalGeneration(config).eval()
    kept = 2 * 2 * config.num_decoder_layers * config.num_heads * config.d_kv  # keys and values of a position, bfloat16

    def one(n: int) -> Pass:
        states = torch.empty(n, 32 + PROMPT, config.d_model, device="meta")
        piece = torch.zeros(n, 1, dtype=torch.long, device="meta")

        def write() -> None:
            net.lm_head(net.decoder(input_ids=piece, encoder_hidden_states=states, use_cache=False)[0])

        # Keys and values of the text that is read are computed once for a text, not for each token.
        once = 2 * 2 * config.num_decoder_layers * config.d_model * config.num_heads * config.d_kv * n * (32 + PROMPT)
        moved = weight_bytes(net.decoder, net.lm_head) + n * kept * (32 + PROMPT + TEXT / 2)
        return Pass(counted(write) - once, moved)

    return one


def painting() -> Callable[[int], Pass]:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        net = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            use_linear_projection=True,
        ).eval()

    def one(n: int) -> Pass:
        like = {"device": "meta"}
        told = {"text_embeds": torch.empty(n, 1280, **like), "time_ids": torch.empty(n, 6, **like)}
        latents, words = torch.empty(n, 4, 64, 64, **like), torch.empty(n, 77, 2048, **like)
        call = {"encoder_hidden_states": words, "added_cond_kwargs": told}
        return Pass(counted(lambda: net(latents, torch.zeros(n, **like), **call)), weight_bytes(net))

    return one


def matching() -> Callable[[int], Pass]:
    with torch.device("meta"):
        net = transformers.CLIPModel(transformers.CLIPConfig()).eval()

    def one(n: int) -> Pass:
        ids = torch.zeros(n, 77, dtype=torch.long, device="meta")
        pixels = torch.empty(n, 3, 224, 224, device="meta")
        return Pass(counted(lambda: net(input_ids=ids, pixel_values=pixels)), weight_bytes(net))

    return one
