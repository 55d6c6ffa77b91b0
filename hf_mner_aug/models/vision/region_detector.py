"""Regions of a detector of the DETR family: the boxes of its queries, and the states of its decoder as features.

Carion et al. 2020, DETR. A query's score is that of its best class; the best queries are the regions, whatever they
score.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import find_device, from_pretrained, loading, split_model
from hf_mner_aug.models.vision import centernet
from hf_mner_aug.models.vision.objects import SMALLEST, model_digest
from hf_mner_aug.need import need
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.kept_regions import source_digest

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    import torch


class RegionDetector:
    """The regions that a detector of transformers finds.

    Args:
        model: a folder, or an id of transformers' on the Hub, perhaps with ``@REVISION``.
        most: the number of regions to keep per picture, by score.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: there is no such model or GPU, or its queries have no features.
    """

    def __init__(self, model: str, most: int, device: str) -> None:
        self.model, self.most = model, most
        self.device = find_device(device)
        self._loaded = _load(model)
        self.channels = self._loaded.channels
        self.digest = source_digest("detector", self._loaded.digest, str(most))

    def lacks(self, post: Post) -> str:
        """Return an empty text: a detector reads any picture."""
        return ""

    def propose(self, post: Post, picture: "PIL.Image.Image") -> "tuple[np.ndarray, np.ndarray]":
        """Return the boxes [n, 4] of the best queries, clipped to the picture, and their states [n, channels]."""
        import torch

        scores, boxes, states = _queries(self._loaded, picture, self.device)
        middle, half = boxes[:, :2], boxes[:, 2:] / 2
        size = torch.tensor([picture.width, picture.height], dtype=torch.float32)
        corners = torch.cat([(middle - half).clamp(0, 1) * size, (middle + half).clamp(0, 1) * size], dim=1)
        sides = corners[:, 2:] - corners[:, :2]
        wide_enough = (sides >= torch.minimum(size, torch.tensor(float(SMALLEST)))).all(1)
        scores = scores.masked_fill(~wide_enough, -1.0)
        best = scores.sort(descending=True, stable=True).indices[: min(self.most, int(wide_enough.sum()))]
        return corners[best].numpy(), states[best].numpy()


class _Loaded(NamedTuple):
    network: Any
    processor: Any
    digest: str
    channels: int


@functools.lru_cache(maxsize=2)
def _load(model: str) -> _Loaded:
    from PIL import Image

    if centernet.is_centernet(Path(model)):
        raise _featureless(model)
    need("torch", extra="models")
    transformers = need("transformers", extra="models")
    name, revision, variant = split_model(model)
    with loading(model, "an object-detection model", role="regions"):
        kind = transformers.AutoModelForObjectDetection
        network = from_pretrained(kind, name, revision, variant, dtype="float32").eval()
        processor = from_pretrained(transformers.AutoImageProcessor, name, revision)
    loaded = _Loaded(network, processor, model_digest(network, processor), 0)
    states = _queries(loaded, Image.new("RGB", (64, 64)), "cpu", model)[2]
    return loaded._replace(channels=states.shape[1])


def _queries(
    loaded: _Loaded, picture: "PIL.Image.Image", device: str, model: str = ""
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Return the scores [n], boxes (x, y, width, height, as shares of the picture) [n, 4] and states [n, channels].

    Raises:
        UsageError: the queries have no states.
    """
    import torch

    # One at a time: padding a picture to the size of others changes its queries.
    inputs = loaded.processor(images=[picture], return_tensors="pt").to(device)
    with torch.no_grad():
        found = loaded.network.to(device)(**inputs)
    states, boxes = getattr(found, "last_hidden_state", None), getattr(found, "pred_boxes", None)
    if states is None or boxes is None or states.ndim != 3 or states.shape[:2] != boxes.shape[:2]:
        raise _featureless(model)
    logits = found.logits[0].float()
    # DETR's last class is that of no object; its successors give each class a probability of its own.
    nothing = logits.shape[1] == loaded.network.config.num_labels + 1
    classes = logits.softmax(1)[:, :-1] if nothing else logits.sigmoid()
    return classes.amax(1).cpu(), boxes[0].float().cpu(), states[0].float().cpu()


def _featureless(model: str) -> UsageError:
    return UsageError(
        f"regions {model!r}: its objects have no features: expected a detector of the DETR family, such as "
        "facebook/detr-resnet-50"
    )
