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
    "DAGA": "methods.daga",
    "EDA": "methods.eda",
    "GMDA": "methods.gmda",
    "LLMDA": "methods.llm_da",
    "LSMS": "methods.lsms",
    "MELM": "methods.melm",
    "MemoryHard": "methods.memory_hard",
    "MixGen": "methods.mixgen",
    "RMDA": "methods.rmda",
    "Recipe": "runs.recipe",
    "augment": "runs.ledger",
    "convert": "conversion",
    "curve": "studies.curves",
    "embed_pictures": "storage.picture_columns",
    "errors": "studies.errors",
    "evaluate": "studies.tables",
    "export": "exporting",
    "from_spans": "readers.spans.dataset",
    "from_tags": "readers.tagged",
    "hydrate": "publishing.hydration",
    "import_review": "exporting.review",
    "index": "corpus",
    "knowledge": "asking",
    "leaderboard": "replication.board",
    "load_sample": "sample",
    "memory": "pages.memory",
    "names": "listing",
    "publish": "publishing.folder",
    "push": "publishing.hub",
    "quality": "studies.quality",
    "ray_map": "runs.engines.ray_data",
    "recommend": "recommending",
    "replicate": "replication.running",
    "show": "pages.config",
    "show_beside": "pages.beside",
    "show_cell": "replication.predicted",
    "show_predictions": "pages.predictions",
    "submit": "replication.submitting",
    "validate": "sources.check",
    "verify": "publishing.hub",
    "withdraw": "publishing.hub",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from hf_mner_aug.asking import knowledge as knowledge
    from hf_mner_aug.conversion import convert as convert
    from hf_mner_aug.corpus import index as index
    from hf_mner_aug.exporting import export as export
    from hf_mner_aug.exporting.review import import_review as import_review
    from hf_mner_aug.listing import names as names
    from hf_mner_aug.methods.amia import AMIA as AMIA
    from hf_mner_aug.methods.daga import DAGA as DAGA
    from hf_mner_aug.methods.eda import EDA as EDA
    from hf_mner_aug.methods.gmda import GMDA as GMDA
    from hf_mner_aug.methods.llm_da import LLMDA as LLMDA
    from hf_mner_aug.methods.lsms import LSMS as LSMS
    from hf_mner_aug.methods.melm import MELM as MELM
    from hf_mner_aug.methods.memory_hard import MemoryHard as MemoryHard
    from hf_mner_aug.methods.mixgen import MixGen as MixGen
    from hf_mner_aug.methods.rmda import RMDA as RMDA
    from hf_mner_aug.pages.beside import show_beside as show_beside
    from hf_mner_aug.pages.config import show as show
    from hf_mner_aug.pages.memory import memory as memory
    from hf_mner_aug.pages.predictions import show_predictions as show_predictions
    from hf_mner_aug.publishing.folder import publish as publish
    from hf_mner_aug.publishing.hub import push as push
    from hf_mner_aug.publishing.hub import verify as verify
    from hf_mner_aug.publishing.hub import withdraw as withdraw
    from hf_mner_aug.publishing.hydration import hydrate as hydrate
    from hf_mner_aug.readers.spans.dataset import from_spans as from_spans
    from hf_mner_aug.readers.tagged import from_tags as from_tags
    from hf_mner_aug.recommending import recommend as recommend
    from hf_mner_aug.replication.board import leaderboard as leaderboard
    from hf_mner_aug.replication.predicted import show_cell as show_cell
    from hf_mner_aug.replication.running import replicate as replicate
    from hf_mner_aug.replication.submitting import submit as submit
    from hf_mner_aug.runs.engines.ray_data import ray_map as ray_map
    from hf_mner_aug.runs.ledger import augment as augment
    from hf_mner_aug.runs.recipe import Recipe as Recipe
    from hf_mner_aug.sample import load_sample as load_sample
    from hf_mner_aug.sources.check import validate as validate
    from hf_mner_aug.storage.picture_columns import embed_pictures as embed_pictures
    from hf_mner_aug.studies.curves import curve as curve
    from hf_mner_aug.studies.errors import errors as errors
    from hf_mner_aug.studies.quality import quality as quality
    from hf_mner_aug.studies.tables import evaluate as evaluate
else:  # a type checker that sees it takes any name for one

    def __getattr__(name: str) -> Any:
        """Import a public name from the module it lives in."""
        if name not in _HOMES:
            raise AttributeError(f"module 'hf_mner_aug' has no attribute {name!r}")
        return getattr(importlib.import_module(f"hf_mner_aug.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
