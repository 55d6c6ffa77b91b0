"""Diffusers pipelines of a few channels with random weights, built from configs."""

import pytest


def clip_text_config(transformers):
    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513, "vocab_size": 514}
    return transformers.CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_attention_heads=2, num_hidden_layers=2, projection_dim=16, **ids
    )


def clip_tokenizer(transformers):
    """Return a tokenizer of single characters: a prompt of more than 75 is too long."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    signs = list(bytes_to_unicode().values())
    names = [*signs, *(f"{sign}</w>" for sign in signs), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def tiny_unet(diffusers, **settings):
    return diffusers.UNet2DConditionModel(
        sample_size=32,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
        **settings,
    )


def tiny_vae(diffusers):
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return diffusers.AutoencoderKL(block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, **blocks)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Pipelines of a few channels, random weights: Stable Diffusion, with a safety checker that flags all, and XL."""
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    text, tokenizer = clip_text_config(transformers), clip_tokenizer(transformers)
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    parts = {
        "vae": tiny_vae(diffusers),
        "text_encoder": transformers.CLIPTextModel(text),
        "tokenizer": tokenizer,
        "unet": tiny_unet(diffusers, cross_attention_dim=16),
        "scheduler": diffusers.PNDMScheduler(skip_prk_steps=True, **noise),
    }
    root = tmp_path_factory.mktemp("pipelines")
    plain = diffusers.StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    plain.save_pretrained(root / "sd")

    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    vision = transformers.CLIPVisionConfig(image_size=32, patch_size=16, **sizes)
    checker = StableDiffusionSafetyChecker(
        transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    )
    checker.concept_embeds_weights.fill_(-2)  # thresholds below any cosine
    extractor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    diffusers.StableDiffusionPipeline(**parts, safety_checker=checker, feature_extractor=extractor).save_pretrained(
        root / "checked"
    )

    xl = diffusers.StableDiffusionXLPipeline(
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        text_encoder_2=transformers.CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=tiny_unet(
            diffusers,
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        scheduler=diffusers.EulerAncestralDiscreteScheduler(timestep_spacing="trailing", **noise),
    )
    xl.save_pretrained(root / "xl")

    classifier = transformers.ViTForImageClassification(
        transformers.ViTConfig(image_size=32, patch_size=16, id2label={0: "normal", 1: "nsfw"}, **sizes)
    )
    classifier.classifier.weight.data.zero_()
    classifier.classifier.bias.data.copy_(torch.tensor([0.0, 3.0]))  # nsfw: 1 / (1 + exp(-3)) = 0.9526
    classifier.save_pretrained(root / "nsfw")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(root / "nsfw")
    return root
