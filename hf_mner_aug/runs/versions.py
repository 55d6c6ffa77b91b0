"""The versions of the packages that shape what is made."""

from importlib import metadata

from hf_mner_aug.transform import Method
from hf_mner_aug.transform.naming import used

OF_MODELS = ("diffusers", "open_clip_torch", "peft", "torch", "transformers")
LIBRARIES = ("datasets", "huggingface_hub", "numpy", "pillow", "pyarrow", "scikit-learn")


def library_versions(method: Method | None = None, *, models: bool = False) -> dict[str, str]:
    """Return the versions of this package and of those that shape its output.

    Args:
        method: adds those of models if it has some.
        models: adds these in any case.
    """
    computes = models or (method is not None and any(value.computing for value in used(method)))
    there = {distribution.name for distribution in metadata.distributions()} if computes else set()
    names = ("hf-mner-aug", *LIBRARIES, *(name for name in OF_MODELS if name in there))
    return {name: metadata.version(name) for name in names}
