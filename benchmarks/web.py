"""How fast RMDA takes posts from the web of the tests, what they cost, and how well a dry run tells both before.

    python benchmarks/web.py --set twitter2015

The gold posts are the first of a converted set, else the drawn sample's. The server runs in a process of its own and
answers each request after 50 ms; a third of its pages are bad.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "servers"))
KEY = "a-key-of-the-benchmark"


def serve(texts: list[str], latency: float, pipe) -> None:  # noqa: ANN001
    from web_server import WebServer

    with WebServer(texts, latency=latency, key=KEY) as server:
        pipe.send((server.url, server.inside))
        pipe.recv()
        pipe.send({"requests": len(server.log), "trapped": server.trapped, "searches": len(server.searches)})
        pipe.recv()


def gold_posts(source: str, n: int):  # noqa: ANN201
    from datasets import DatasetDict

    from hf_mner_aug import load_sample
    from hf_mner_aug.sources.loading import load_source

    train = (load_source(source) if source else load_sample())["train"]
    return DatasetDict(train=train.select(range(min(n, len(train)))))


def rss() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="")
    parser.add_argument("--posts", type=int, default=900)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--web", default="delay=0,concurrency=16,timeout=3,allow=127.0.0.1")
    parser.add_argument("--part-size", type=int, default=250)
    chosen = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="hf_mner_aug_web_"))
    os.environ |= {"HF_MNER_AUG_CACHE": str(work / "cache"), "HF_MNER_AUG_WEB": chosen.web, "SERPER_API_KEY": KEY}
    try:
        run(chosen, work)
    finally:
        shutil.rmtree(work)


def run(chosen: argparse.Namespace, work: Path) -> None:
    from web_server import INSIDE, retold

    from hf_mner_aug import RMDA, augment, publish
    from hf_mner_aug.runs.estimate import estimate
    from hf_mner_aug.runs.recipe import recipe_for
    from hf_mner_aug.runs.subset import resolve
    from hf_mner_aug.schema import Codec
    from hf_mner_aug.transform import iterate_posts

    gold = gold_posts(chosen.set, chosen.posts)
    posts = list(iterate_posts(gold["train"], Codec(gold["train"].features)))
    texts = retold(posts, chosen.pages)
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(texts, chosen.latency, there))
    server.start()
    there.close()
    url, _ = here.recv()
    real = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *more, **named: real(
        INSIDE if host in ("inside.test", b"inside.test") else host, *more, **named
    )
    try:
        method = RMDA(corpus=f"serper:{url}", sites=("127.0.0.1",))
        recipe, subset = resolve(recipe_for(method, part_size=chosen.part_size), gold)
        begun = time.monotonic()
        expected = estimate(recipe, subset, probe=True)
        looked = time.monotonic() - begun
        shutil.rmtree(work / "cache")  # the run pays all its searches, so that it can be compared
        parts = work / "out.runs"
        memory: dict[int, float] = {}
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.1):
                n = len(list(parts.glob("*/parts/*.json")))
                memory[n] = max(memory.get(n, 0), rss())

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun, cpu = time.monotonic(), time.process_time()
        made = augment(gold, method, out=work / "out", progress=False, part_size=chosen.part_size)
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        done.set()
        watcher.join()
        published = publish(made, work / "out")
        here.send("log")
        log = here.recv()
    finally:
        if server.is_alive():
            here.send("stop")
        server.join(10)
        server.terminate()
    print(f"{len(gold['train'])} posts, {len(texts)} pages, web {chosen.web}, latency {chosen.latency} s")
    print(f"{seconds:.1f} s with fit, {cpu:.1f} s of CPU; published {published.funnel}")
    print(f"server {log}; load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    print("memory (MB) while the nth part was made: " + ", ".join(f"{n}: {mb:.0f}" for n, mb in sorted(memory.items())))
    note = json.loads((made.folder / "run.json").read_text())
    tell_cost(made.folder, note)
    print(f"dry run of {looked:.1f} s:")
    compare(expected, note, seconds)


def tell_cost(folder: Path, note: dict[str, Any]) -> None:
    usage = note["counts"]["usage"]
    rows, passed = 0, 0.0
    for path in sorted(folder.glob("parts/*.json")):
        part = json.loads(path.read_text())
        rows, passed = rows + part["made"], passed + part["seconds"]
        if rows >= 500:
            break
    print(f"accepted {note['counts']['made']} of {usage['searches']:.0f} searches: {usage['accepted_per_search']} each")
    print(f"{rows} accepted after {passed:.1f} s of parts")
    print(f"per 500 accepted: {usage['seconds_per_500']:.1f} s, USD {usage['usd_per_500']:.4f}")
    print(f"usage {usage}")
    print(f"rejected {note['counts']['rejected']}")


def compare(expected: Any, note: dict[str, Any], seconds: float) -> None:
    usage, per_500 = note["counts"]["usage"], 500 / max(1, expected.rows)
    for name, before, after in (
        ("rows", expected.rows, note["counts"]["made"]),
        ("seconds", expected.seconds, seconds),
        ("USD", expected.usd, usage["usd"]),
        ("seconds per 500", expected.seconds * per_500, usage["seconds_per_500"]),
        ("USD per 500", expected.usd * per_500, usage["usd_per_500"]),
    ):
        print(f"  {name}: predicted {before:.4g}, measured {after:.4g}, off by {before / after - 1:+.0%}")


if __name__ == "__main__":
    main()
