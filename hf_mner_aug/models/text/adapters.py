"""LoRA adapters and trained rows of tags (PEFT) of a frozen network: made, kept beside it, and read again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.text.network import FitSettings
from hf_mner_aug.need import need

if TYPE_CHECKING:
    import torch

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # PEFT's names


def add_adapters(
    net: Any, settings: FitSettings, targets: str | Sequence[str], rows: Mapping[str, Sequence[int]], **more: Any
) -> Any:
    """Return a network of which the adapters and rows of token layers are trained.

    Args:
        net: frozen.
        settings: ``r``, ``alpha`` and ``dropout`` of the adapters.
        targets: the modules that get one: their names, or an expression.
        rows: of token layers, by the names of these.
        more: further settings of ``LoraConfig``.

    Raises:
        MissingExtra: peft is not installed.
    """
    peft = need("peft", extra="models")
    config = peft.LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        trainable_token_indices={name: list(ids) for name, ids in rows.items()} or None,
        **more,
    )
    return peft.get_peft_model(net, config)


def learn_in_float32(net: Any) -> None:
    """Make the trainable weights of a network float32."""
    for parameter in learnable(net).values():
        parameter.data = parameter.data.float()


def learnable(net: Any) -> "dict[str, torch.nn.Parameter]":
    """Return the trainable parameters by name."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def compute_activations_twice(net: Any) -> None:
    """Let a network recompute its activations in the backward pass: more time, less memory."""
    # Renamed in transformers 5.24; the old name is removed in 6.
    enable = getattr(net, "activation_checkpointing_enable", None) or net.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def autocast(device: str, dtype: str) -> "torch.autocast":
    """Return the context for computing in a dtype; adapters are float32 anyway."""
    import torch

    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def write_adapters(net: Any, folder: Path) -> None:
    """Write the adapters as PEFT does, never the base.

    Raises:
        OSError: the disk is full.
    """
    from safetensors import SafetensorError

    try:
        net.save_pretrained(folder, save_embedding_layers=False)
    except SafetensorError as error:
        raise OSError(f"{folder}: {error}") from error
    for path in folder.iterdir():
        if path.name not in ADAPTER_FILES:
            path.unlink()
    # A path in it would give the same weights another digest.
    config = json.loads((folder / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    (folder / ADAPTER_FILES[0]).write_text(json.dumps({**config, "base_model_name_or_path": None}, indent=1))


def read_adapters(net: Any, folder: Path) -> Any:
    """Return a base with the adapters that ``write_adapters`` wrote, in the place of others of the same settings.

    Raises:
        UsageError: the base has adapters of other layers or shapes.
    """
    peft = need("peft", extra="models")
    if not isinstance(net, peft.PeftModel):
        return peft.PeftModel.from_pretrained(net, folder)
    from safetensors.torch import load_file

    weights = load_file(folder / ADAPTER_FILES[1])
    here = peft.get_peft_model_state_dict(net, save_embedding_layers=False)
    if {name: value.shape for name, value in weights.items()} != {name: value.shape for name, value in here.items()}:
        raise UsageError("these adapters are of other layers than the network has: fit again")
    peft.set_peft_model_state_dict(net, weights)
    return net
