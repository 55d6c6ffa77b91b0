"""Measure the anonymous memory of making and publishing a config: python benchmarks/memory.py [POSTS ...].

For 10,000 and for 50,000 posts with 40 kB images, a process of its own makes an eda config and publishes it; its
RssAnon (memory that is its own, not that of mapped files) is sampled 20 times a second. The images are small noise
JPEGs, each padded to 40 kB with noise behind its end, so that all differ, none compresses and all open. Takes some
minutes and, for a while, about five times the images' size on disk (10 GB) in the temporary folder.

Bounds: a peak under 1 GB, and no more for 50,000 posts than for 10,000 but a few bytes a post.
"""

import io
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

POSTS = (10_000, 50_000)
IMAGE_BYTES = 40_000
WORDS = 5_000
RUN = """
import sys, time
from datasets import load_from_disk
from hf_mner_aug import EDA, augment, publish

begun = time.monotonic()
run = augment(load_from_disk(sys.argv[1]), EDA(copies=1), out=sys.argv[2], progress=False)
print(f"made {run.counts['made']} rows in {time.monotonic() - begun:.0f} s", flush=True)
published = publish(run, sys.argv[2])
print(f"published {published.funnel['kept']} in {time.monotonic() - begun:.0f} s", flush=True)
"""


def draw_rows(n_posts: int) -> Iterator[dict[str, object]]:
    """Yield posts of 15 words, one of them a name, each with an image."""
    from PIL import Image

    noise = random.Random(0)
    for i in range(n_posts):
        buffer = io.BytesIO()
        Image.frombytes("RGB", (16, 16), noise.randbytes(16 * 16 * 3)).save(buffer, "JPEG")
        image = buffer.getvalue()
        words = [
            f"w{chr(97 + k % 26)}{chr(97 + k // 26 % 26)}{chr(97 + k // 676)}"
            for k in noise.choices(range(WORDS), k=15)
        ]
        image += noise.randbytes(IMAGE_BYTES - len(image))
        yield {"id": str(i), "tokens": words, "ner_tags": [1] + [0] * 14, "image": {"bytes": image, "path": None}}


def anonymous_bytes(pid: int) -> int:
    """Return the RssAnon of a process, 0 where it has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0


def measure(n_posts: int, folder: Path) -> None:
    """Print the peak of one run, and when it was."""
    from datasets import Dataset

    from hf_mner_aug.schema import mner_features

    source = folder / "source"
    made = Dataset.from_generator(
        draw_rows,
        gen_kwargs={"n_posts": n_posts},
        features=mner_features(),
        cache_dir=str(folder / "cache"),
        writer_batch_size=100,
    )
    made.save_to_disk(source)
    environment = {"HF_HOME": str(folder / "hf"), "HF_MNER_AUG_CACHE": str(folder / "artifacts"), "PATH": ""}
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", RUN, str(source), str(folder / "out")], env=environment)
    samples = []
    while process.poll() is None:
        samples.append((anonymous_bytes(process.pid), time.monotonic() - begun))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(process.returncode)
    peak, moment = max(samples)
    end = samples[-1][1]
    thirds = [max(size for size, at in samples if low <= 3 * at / end <= low + 1) / 1e6 for low in range(3)]
    print(
        f"{n_posts} posts: peak RssAnon {peak / 1e6:.0f} MB after {moment:.0f} of {end:.0f} s; "
        f"by thirds of the run {', '.join(f'{size:.0f}' for size in thirds)} MB",
        flush=True,
    )


if __name__ == "__main__":
    from datasets import disable_progress_bars

    disable_progress_bars()
    for n in [int(argument) for argument in sys.argv[1:]] or POSTS:
        with tempfile.TemporaryDirectory() as temporary:
            measure(n, Path(temporary))
