"""AMIA's mixing of two pictures against Pillow and NumPy alone: decode, blend, encode, on the same files.

python benchmarks/mixing.py [FOLDER OF PICTURES]: medians of alternating runs in one process; bound 1.2.
"""

import io
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hf_mner_aug.posts.pictures import mix_images, open_rgb, write_picture

RUNS = 9
WEIGHT = 0.37


def peer(images: list[dict], others: list[Image.Image]) -> None:
    for image, other in zip(images, others, strict=True):
        first = np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB"), dtype=np.float32)
        mixed = WEIGHT * first + (1 - WEIGHT) * np.asarray(other, dtype=np.float32)
        picture = Image.fromarray(np.round(mixed).astype(np.uint8))
        if image["bytes"].startswith(b"\x89PNG"):
            picture.save(io.BytesIO(), "PNG", compress_level=4)
        else:
            picture.save(io.BytesIO(), "JPEG", quality=95)


def ours(images: list[dict], others: list[Image.Image]) -> None:
    for image, other in zip(images, others, strict=True):
        write_picture(mix_images(open_rgb(image), other, WEIGHT), "compositeCapture", like=image)


def main() -> None:
    data = Path(os.environ.get("MNER_DATA", "../shared/data")) / "tweets_with_images" / "images"
    paths = sorted(Path(sys.argv[1] if len(sys.argv) > 1 else data).glob("*.jpg"))
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    sizes = [open_rgb(image).size for image in images]
    others = [
        open_rgb(images[i - 1]).resize(size) for i, size in enumerate(sizes)
    ]  # what an engine makes has this size
    seconds: dict[str, list[float]] = {"peer": [], "ours": []}
    for run in range(RUNS + 1):
        for name, call in (("peer", peer), ("ours", ours)):
            begun = time.process_time()
            call(images, others)
            if run:  # the first run warms up
                seconds[name].append(time.process_time() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{len(images)} pictures, {RUNS} runs, CPU seconds: {medians}")
    print(f"ratio {medians['ours'] / medians['peer']:.2f} (bound 1.2)")


if __name__ == "__main__":
    main()
