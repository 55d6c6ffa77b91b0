"""Data augmentation for multimodal named entity recognition, native to Hugging Face Datasets.

Every method is a frozen dataclass that is itself the function given to ``Dataset.map``; every verb of the command line
is a function of its name. Names are imported when first used, so that ``import hf_mner_aug`` costs nothing; editors and
type checkers read them below ``TYPE_CHECKING``. No module has the name of one of them: importing it would hide that.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AMIA": "methods.amia",
    "EDA": "methods.eda",
    "GMDA": "methods.gmda",
    "LSMS": "methods.lsms",
    "MemoryHard": "methods.memory_hard",
    "MixGen": "methods.mixgen",
    "RMDA": "methods.rmda",
    "Recipe": "recipe",
    "augment": "ledger",
    "convert": "conversion",
    "curve": "curves",
    "embed_pictures": "picture_columns",
    "errors": "error_analysis",
    "evaluate": "study_report",
    "hydrate": "hydration",
    "index": "corpus",
    "load_sample": "sample",
    "memory": "memory_page",
    "publish": "repo_folder",
    "push": "hub",
    "quality": "quality_measures",
    "show": "report",
    "validate": "source_check",
    "verify": "hub",
    "withdraw": "hub",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from hf_mner_aug.conversion import convert as convert
    from hf_mner_aug.corpus import index as index
    from hf_mner_aug.curves import curve as curve
    from hf_mner_aug.error_analysis import errors as errors
    from hf_mner_aug.hub import push as push
    from hf_mner_aug.hub import verify as verify
    from hf_mner_aug.hub import withdraw as withdraw
    from hf_mner_aug.hydration import hydrate as hydrate
    from hf_mner_aug.ledger import augment as augment
    from hf_mner_aug.memory_page import memory as memory
    from hf_mner_aug.methods.amia import AMIA as AMIA
    from hf_mner_aug.methods.eda import EDA as EDA
    from hf_mner_aug.methods.gmda import GMDA as GMDA
    from hf_mner_aug.methods.lsms import LSMS as LSMS
    from hf_mner_aug.methods.memory_hard import MemoryHard as MemoryHard
    from hf_mner_aug.methods.mixgen import MixGen as MixGen
    from hf_mner_aug.methods.rmda import RMDA as RMDA
    from hf_mner_aug.picture_columns import embed_pictures as embed_pictures
    from hf_mner_aug.quality_measures import quality as quality
    from hf_mner_aug.recipe import Recipe as Recipe
    from hf_mner_aug.repo_folder import publish as publish
    from hf_mner_aug.report import show as show
    from hf_mner_aug.sample import load_sample as load_sample
    from hf_mner_aug.source_check import validate as validate
    from hf_mner_aug.study_report import evaluate as evaluate
else:  # a type checker that sees it takes any name for one

    def __getattr__(name: str) -> Any:
        """Import a public name from the module it lives in."""
        if name not in _HOMES:
            raise AttributeError(f"module 'hf_mner_aug' has no attribute {name!r}")
        return getattr(importlib.import_module(f"hf_mner_aug.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
