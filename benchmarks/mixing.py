"""AMIA's mixing of two pictures, beside the same with Pillow and NumPy alone: decode, blend, encode.

CPU seconds, medians of alternating runs in one process, over the 36 pictures of tweets in ../shared/data, or in
$MNER_DATA; without them, over the pictures of the drawn sample.
"""

import io
import os
import statistics
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measured import ROOT, Row, cpu_seconds
from hf_mner_aug import load_sample
from hf_mner_aug.posts.pictures import mix_images, open_rgb, write_picture

RUNS = 9
WEIGHT = 0.37


def measure(folder: Path, n_posts: int) -> list[Row]:
    data = Path(os.environ.get("MNER_DATA", ROOT.parent / "shared" / "data")) / "tweets_with_images" / "images"
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(data.glob("*.jpg"))]
    if not images:
        rows = load_sample()["validation"].with_format("arrow")[:]["image"].to_pylist()
        images = [image for image in rows if image][:100]
    sizes = [open_rgb(image).size for image in images]
    # What an engine makes has the size of the picture that it is mixed with.
    others = [open_rgb(images[i - 1]).resize(size) for i, size in enumerate(sizes)]
    times = []
    for _ in range(RUNS + 1):
        beside = cpu_seconds(lambda: [mixed_by_pillow(*pair) for pair in zip(images, others, strict=True)])
        times.append((cpu_seconds(lambda: [mixed(*pair) for pair in zip(images, others, strict=True)]), beside))
    own, peer = (statistics.median(column) for column in zip(*times[1:], strict=True))  # the first run warms up
    what = f"mixing {len(images)} pictures, each decoded once"
    return [Row(what, f"{len(images) / own:,.1f} a second", f"Pillow {len(images) / peer:,.1f}", own / peer, "≤ 1.2")]


def mixed_by_pillow(image: dict, other: Image.Image) -> None:
    first = np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB"), dtype=np.float32)
    made = WEIGHT * first + (1 - WEIGHT) * np.asarray(other, dtype=np.float32)
    picture = Image.fromarray(np.round(made).astype(np.uint8))
    if image["bytes"].startswith(b"\x89PNG"):
        picture.save(io.BytesIO(), "PNG", compress_level=4)
    else:
        picture.save(io.BytesIO(), "JPEG", quality=95)


def mixed(image: dict, other: Image.Image) -> None:
    write_picture(mix_images(open_rgb(image), other, WEIGHT), "compositeCapture", like=image)
