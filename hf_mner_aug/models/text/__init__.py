"""Engines that write labelled texts, by name: templates, instructblip, lm, vlm, endpoint."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, get_args

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import (
    named_model,
    pinned_model,
    pinned_name,
    split_model,
    split_revision,
    split_variant,
)
from hf_mner_aug.models.endpoint.engine import ENDPOINT, ChatEngine, checked_name, endpoint_models
from hf_mner_aug.models.text.endpoint import Settings, TextEndpoint
from hf_mner_aug.models.text.engine import TextEngine, TextRequest
from hf_mner_aug.models.text.network import FitSettings, Kind
from hf_mner_aug.storage.pinned_files import checked_file, split_pin
from hf_mner_aug.values import ByContent, Computing, Named

INSTRUCTBLIP, TEMPLATES = "instructblip", "templates"
WITHOUT_A_MODEL = {
    TEMPLATES,
}
FINE_TUNED: tuple[Kind, ...] = get_args(Kind)
# Where a kind departs from the paper's settings of InstructBLIP.
LANGUAGE_MODEL = {"marks": "plain", "r": 16, "dropout": 0.05, "learning_rate": 2e-4, "batch_size": 4, "patience": 1}
DEFAULTS: Mapping[Kind, Mapping[str, Any]] = {
    "instructblip": {},
    "lm": {**LANGUAGE_MODEL, "gradient_checkpointing": False},  # without pictures a batch has a few hundred tokens
    "vlm": LANGUAGE_MODEL,
}


def check_engine(name: str) -> None:
    """Check a text engine: ``templates``, ``instructblip:ID``, ``lm:ID``, ``vlm:ID`` or ``endpoint:URL#MODEL``.

    Raises:
        UsageError: there is no such engine, its model is missing, or it has none.
    """
    kind, _, model = name.partition(":")
    if kind not in (*WITHOUT_A_MODEL, *FINE_TUNED, ENDPOINT):
        known = ", ".join([*sorted(WITHOUT_A_MODEL), *(f"{kind}:ID" for kind in FINE_TUNED)])
        raise UsageError(
            f"text_model must be {known}, or endpoint:URL#MODEL, found "
            f"{name.partition('//')[0]!r}"  # an address may hold a key
        )
    if (kind in WITHOUT_A_MODEL and model) or (kind in FINE_TUNED and not model):
        raise UsageError(
            f"text_model {name!r}: {kind} {f'needs one: {kind}:ID' if kind in FINE_TUNED else 'has no model'}"
        )
    chat_engine(name)


def chat_engine(name: str) -> ChatEngine | None:
    """Return the model behind an endpoint that a name means, or None; raises as ``ChatEngine.of``."""
    return ChatEngine.of("text_model", name, Settings)


def learns(name: str) -> bool:
    """Return whether an engine is fine-tuned on train."""
    return name.partition(":")[0] in FINE_TUNED


def check_free(name: str) -> None:
    """Raise UsageError if an engine cannot write entities of its own: only a language model can."""
    if name.partition(":")[0] in WITHOUT_A_MODEL:
        raise UsageError(
            f"ask=free lets a language model choose the entities, and {name} has none: name one, as "
            "text_model=lm:ID or endpoint:URL#MODEL"
        )


def fit_settings(name: str, **given: Any) -> FitSettings | None:
    """Return the settings with which an engine is fine-tuned, or None for one that is not.

    Args:
        name: of the engine.
        given: settings; the engine has its own defaults.

    Raises:
        UsageError: the engine does not take one of them.
    """
    kind, _, model = name.partition(":")
    if kind != INSTRUCTBLIP and given["tune"] != "lora":
        raise UsageError(f"tune={given['tune']}: {kind} has no Q-Former: leave it out")
    if kind not in FINE_TUNED:
        if named := given.keys() - {"tune", "epochs", "seed"}:
            raise UsageError(f"{min(named)} is of models that are fine-tuned, and {kind} is not: leave it out")
        return None
    model, variant = split_variant(model)
    model, revision = (model, None) if split_pin(model)[1] else split_revision(model)
    base = {"model": model, "revision": revision, "variant": variant}
    return FitSettings(**{"kind": kind, **base, **DEFAULTS[kind], **given})


def fit_engine(
    settings: FitSettings,
    train: Sequence[tuple[TextRequest, str]],
    validation: Sequence[tuple[TextRequest, str]],
    *,
    tags: Sequence[str],
) -> dict[str, str]:
    """Return the digests of a fine-tuned engine; arguments and errors as of ``training.fit``."""
    from hf_mner_aug.models.text.training import fit

    settings = replace(settings, model=checked_file(settings.model, "text_model "))
    return fit(train, validation, settings=settings, tags=tags)


def open_engine(
    name: str,
    *,
    files: Mapping[str, str],
    types: Collection[str],
    seed: int,
    run: str,
    temperature: float,
    **sampling: Any,
) -> TextEngine:
    """Return the engine of a name that ``check_engine`` takes.

    Args:
        name: its name.
        files: the digests of the train posts (``posts``) and of what ``fit_engine`` learned.
        types: the types of tags, as ``tag_type`` writes them.
        seed: of the order of the templates.
        run: what an endpoint's budget is counted over.
        temperature: of a model.
        sampling: of a fine-tuned model: ``top_k``, ``top_p``, ``dtype``.
    """
    if name == TEMPLATES:
        from hf_mner_aug.models.text.templates import Templates

        return Templates(posts=files["posts"], seed=seed)
    if chat := chat_engine(name):
        return TextEndpoint(chat=chat, types=tuple(types), posts=files["posts"], temperature=temperature, run=run)
    from hf_mner_aug.models.text.finetuned import FineTuned

    kind, _, model = name.partition(":")
    model, revision, _ = split_model(model)  # the record of the training has the variant
    return FineTuned(
        kind=kind,  # type: ignore[arg-type]
        model=model,
        revision=revision,
        weights=files["text_model"],
        temperature=temperature,
        **sampling,
    )


def named_engine(name: str, where: str) -> str:
    """Return the name of an engine with the content of its model's folder instead of the path.

    Raises:
        UsageError: the folder cannot be read, or the name of a model behind an endpoint is a path.
    """
    kind, _, model = name.partition(":")
    return f"{kind}:{pinned_name(model, where)}" if learns(name) else checked_name(name, where)


def named_models(name: str) -> Sequence[Named]:
    """Return the model of an engine; templates have none."""
    return named_model(name.partition(":")[2]) if learns(name) else endpoint_models(name)


TextEngineName = Annotated[  # a parameter that ``check_engine`` takes
    str,
    ByContent(
        named_engine,
        lambda name: pinned_engine(name),
        named_models,
        lambda name: Computing(dtype="auto") if learns(name) else None,
        lambda name: split_variant(name.partition(":")[2]) if learns(name) else None,
    ),
]


def pinned_engine(name: str) -> str:
    """Return the name of an engine with the current commit of its model's id, or the content of its folder.

    Raises as ``pinned_model`` and ``named_engine``.
    """
    kind, _, model = named_engine(name, "text_model ").partition(":")
    return f"{kind}:{pinned_model(model)}" if learns(name) else name
