"""Measure memory.

``python benchmarks/memory.py fit [METHOD ...] [POSTS ...]`` prints a table: the peak of the resident memory of ``fit``,
with that of its largest child process, and its seconds. Each is one process, of made short posts without pictures
(``amia`` has tiny ones). The figures of the changelog are those of ``python benchmarks/memory.py fit 1000000``. Bound:
1.5 GB for a million posts.

``python benchmarks/memory.py [POSTS ...]`` measures the anonymous memory of making and publishing a config. For 10,000
and for 50,000 posts with 40 kB images, a process of its own makes an eda config and publishes it; its RssAnon (memory
that is its own, not that of mapped files) is sampled 20 times a second. The images are small noise JPEGs, each padded
to 40 kB with noise behind its end, so that all differ, none compresses and all open. Takes some minutes, and for a
while five times the images' size on disk (10 GB) in the temporary folder. Bounds: a peak under 1 GB, and no more for
50,000 posts than for 10,000 but a few bytes a post.
"""

import io
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

METHODS = {name: name for name in ("eda", "lsms", "mixgen", "amia", "gmda")}
METHODS |= {"rmda": "rmda:image=false", "memory_hard": "memory_hard"}
TYPES = ("PER", "LOC", "ORG", "MISC")
FIT = """
import resource, sys, time
from datasets import load_from_disk
from hf_mner_aug.runs.recipe import named_method

begun = time.monotonic()
named_method(sys.argv[2]).fit(load_from_disk(sys.argv[1]), progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic() - begun)
"""

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
    noise = random.Random(0)
    for i in range(n_posts):
        image = tiny_picture(noise)
        words = [
            f"w{chr(97 + k % 26)}{chr(97 + k // 26 % 26)}{chr(97 + k // 676)}"
            for k in noise.choices(range(WORDS), k=15)
        ]
        image += noise.randbytes(IMAGE_BYTES - len(image))
        yield {"id": str(i), "tokens": words, "ner_tags": [1] + [0] * 14, "image": {"bytes": image, "path": None}}


def draw_texts(n_posts: int, pictures: bool) -> Iterator[dict[str, object]]:
    """Yield posts of 8 to 16 words, one or two of them names; words and names are as unequally frequent as in texts."""
    noise = random.Random(0)
    for i in range(n_posts):
        words = [spelt(1_000_000 ** noise.random()) for _ in range(noise.randint(8, 16))]
        tags = [0] * len(words)
        for at in {noise.randrange(len(words)) for _ in range(2)}:
            name = int(30_000 ** noise.random())
            kind = name % len(TYPES) if noise.random() < 0.9 else noise.randrange(len(TYPES))
            words[at], tags[at] = spelt(name + 500).title(), 1 + 2 * kind
        row: dict[str, object] = {"id": str(i), "tokens": words, "ner_tags": tags}
        yield {**row, "image": {"bytes": tiny_picture(noise), "path": None}} if pictures else row


def spelt(number: float) -> str:
    """Return a number as a word, in letters."""
    found, n = "", int(number)
    while n:
        n, letter = divmod(n, 26)
        found += chr(97 + letter)
    return found


def tiny_picture(noise: random.Random) -> bytes:
    """Return a JPEG of 16 by 16 pixels of noise."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.frombytes("RGB", (16, 16), noise.randbytes(16 * 16 * 3)).save(buffer, "JPEG")
    return buffer.getvalue()


def measure_fit(names: list[str], n_posts: int, folder: Path) -> None:
    """Print a row of the table for each method."""
    from datasets import Dataset, Features

    from hf_mner_aug.schema import mner_features

    for pictures in sorted({name == "amia" for name in names}):
        features = mner_features()
        made = Dataset.from_generator(
            draw_texts,
            gen_kwargs={"n_posts": n_posts, "pictures": pictures},
            features=features if pictures else Features({k: v for k, v in features.items() if k != "image"}),
            cache_dir=str(folder / "cache"),
        )
        source = folder / f"source-{pictures:d}"
        made.save_to_disk(source)
        environment = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_MNER_AUG_CACHE": str(folder / "artifacts")}
        for name in (name for name in names if (name == "amia") == pictures):
            run = [sys.executable, "-W", "ignore", "-c", FIT, str(source), METHODS[name]]
            process = subprocess.Popen(run, env=environment, stdout=subprocess.PIPE, text=True)
            child = 0
            while process.poll() is None:
                child = max(child, *map(peak_of, children_of(process.pid)), 0)
                time.sleep(0.05)
            if process.returncode:
                sys.exit(process.returncode)
            own, seconds = map(float, process.communicate()[0].split())
            print(f"| {name} | {n_posts:,} | {(own + child) / 1e6:.2f} | {seconds:.0f} |", flush=True)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def peak_of(pid: int) -> int:
    """Return the peak of a process's resident memory in kB, 0 where it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


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
    asked = sys.argv[1:]
    counts = [int(argument) for argument in asked if argument.isdigit()]
    if asked[:1] == ["fit"]:
        print("| method | posts | peak GB | seconds |\n|---|---|---|---|", flush=True)
        chosen = [name for name in asked[1:] if not name.isdigit()] or list(METHODS)
        for n in counts or (10_000, 100_000, 1_000_000):
            with tempfile.TemporaryDirectory() as temporary:
                measure_fit(chosen, n, Path(temporary))
    else:
        for n in counts or POSTS:
            with tempfile.TemporaryDirectory() as temporary:
                measure(n, Path(temporary))
