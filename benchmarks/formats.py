"""Measure the conversion of 100,000 posts in each format: python benchmarks/formats.py [POSTS] [FORMAT …].

The posts are those of Twitter-2015, again and again, written in the shape of each format. The whole command is timed,
from the start of Python to the finished folder, with its peak memory; then the format's plain library, which only
reads the file. The data is sought in ../shared/data, or in $MNER_DATA.

Bound: under 60 s and 1 GB for each format. spaCy imports torch where it is installed, which takes 460 MB of the peak.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(os.environ.get("MNER_DATA", Path(__file__).parents[2] / "shared" / "data"))
POSTS = 100_000
CONVERT = "from hf_mner_aug.cli import main\nmain()"
# Said at the end: the peak of a child's memory as the system counts it begins with that of its parent.
PEAK = """import atexit, pathlib
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
"""
JSON_LINES = "import json\nfor line in open(path, encoding='utf-8'): json.loads(line)"
JSON_FILE = "import json\njson.load(open(path, encoding='utf-8'))"
CONLLU = "import conllu\nfor _ in conllu.parse_incr(open(path, encoding='utf-8')): pass"
LINES = "for line in open(path, encoding='utf-8'): line.split()"
DOCBIN = "import spacy\nfor _ in spacy.tokens.DocBin().from_disk(path).get_docs(spacy.blank('xx').vocab): pass"
FILES = "import pathlib\nfor file in pathlib.Path(path).iterdir(): file.read_text(encoding='utf-8')"


class Post(NamedTuple):
    """A post with the words ``[start, end)`` of its entities."""

    id: str
    words: list[str]
    entities: list[tuple[int, int, str]]

    @property
    def text(self) -> str:
        """The words with a blank between them."""
        return " ".join(self.words)

    @property
    def tags(self) -> list[str]:
        """The BIO tags of the words."""
        tags = ["O"] * len(self.words)
        for start, end, kind in self.entities:
            tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
        return tags

    @property
    def spans(self) -> list[tuple[int, int, str, str]]:
        """Start, end, type and text of the entities in the text."""
        starts = [0]
        for word in self.words:
            starts.append(starts[-1] + len(word) + 1)
        return [(s, e, k, self.text[s:e]) for a, b, k in self.entities for s, e in [(starts[a], starts[b] - 1)]]


def posts(n: int) -> Iterator[Post]:
    """Yield posts of Twitter-2015, each with an id of its own."""
    from hf_mner_aug.readers import read

    reading = read("twitter2015", DATA / "twitter2015" / "train.txt")
    names = reading.features["ner_tags"].feature.names
    found = []
    for row in reading.rows("train"):
        tags = [names[tag] for tag in row["ner_tags"]]
        starts = [i for i, tag in enumerate(tags) if tag[0] == "B"]
        ends = [next((k for k in range(i + 1, len(tags)) if tags[k][0] != "I"), len(tags)) for i in starts]
        found.append(Post("", row["tokens"], [(i, k, tags[i][2:]) for i, k in zip(starts, ends, strict=True)]))
    for i, post in enumerate(islice(cycle(found), n)):
        yield post._replace(id=f"p{i}")


def json_lines(record: Callable[[Post], Any]) -> Callable[[Sequence[Post], Path], None]:
    """Return what writes a record a line."""

    def write(given: Sequence[Post], path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record(post), ensure_ascii=False) + "\n" for post in given)

    return write


def json_file(record: Callable[[Post], Any]) -> Callable[[Sequence[Post], Path], None]:
    """Return what writes an array of records."""

    def write(given: Sequence[Post], path: Path) -> None:
        path.write_text(json.dumps([record(post) for post in given], ensure_ascii=False), "utf-8")

    return write


def columns(
    head: Callable[[Post], str], line: Callable[[int, str, str], str]
) -> Callable[[Sequence[Post], Path], None]:
    """Return what writes a word a line."""

    def write(given: Sequence[Post], path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            for post in given:
                file.write(head(post))
                file.writelines(line(i, *pair) for i, pair in enumerate(zip(post.words, post.tags, strict=True), 1))
                file.write("\n")

    return write


def doc_bin(given: Sequence[Post], path: Path) -> None:
    """Write a file of spaCy."""
    import spacy
    from spacy.tokens import Doc, DocBin, Span

    vocab = spacy.blank("xx").vocab
    bin = DocBin()
    for post in given:
        doc = Doc(vocab, words=post.words)
        doc.set_ents([Span(doc, *entity[:2], label=entity[2]) for entity in post.entities])
        bin.add(doc)
    bin.to_disk(path)


def brat(given: Sequence[Post], path: Path) -> None:
    """Write a folder of brat."""
    path.mkdir()
    for post in given:
        marks = [f"T{i}\t{kind} {start} {end}\t{text}\n" for i, (start, end, kind, text) in enumerate(post.spans, 1)]
        (path / f"{post.id}.txt").write_text(post.text, "utf-8")
        (path / f"{post.id}.ann").write_text("".join(marks), "utf-8")


def label_studio(post: Post) -> dict[str, Any]:
    """Return a task of Label Studio."""
    result = [
        {"id": f"r{i}", "type": "labels", "from_name": "label", "to_name": "text"}
        | {"value": {"start": start, "end": end, "text": text, "labels": [kind]}}
        for i, (start, end, kind, text) in enumerate(post.spans)
    ]
    return {"id": int(post.id[1:]), "data": {"text": post.text}, "annotations": [{"id": 1, "result": result}]}


def gliner(post: Post) -> dict[str, Any]:
    """Return a record of GLiNER, whose ends are inclusive."""
    return {"tokenized_text": post.words, "ner": [[s, e - 1, k] for s, e, k in post.entities]}


def lighttag(post: Post) -> dict[str, Any]:
    """Return an example of LightTag."""
    marks = [{"start": s, "end": e, "tag": k, "value": t} for s, e, k, t in post.spans]
    return {"example_id": post.id, "content": post.text, "annotations": marks}


def field_dicts(post: Post) -> list[dict[str, Any]]:
    """Return the spans of a post as dicts."""
    return [{"start": start, "end": end, "label": kind} for start, end, kind, _ in post.spans]


# The ending of a format's file, what writes it, and the plain reading of it.
FORMATS: dict[str, tuple[str, Callable[[Sequence[Post], Path], None], str]] = {
    "spans": (
        ".jsonl",
        json_lines(lambda post: {"id": post.id, "text": post.text, "spans": post.spans}),
        JSON_LINES,
    ),
    "doccano": (
        ".jsonl",
        json_lines(lambda post: {"id": post.id, "text": post.text, "label": [span[:3] for span in post.spans]}),
        JSON_LINES,
    ),
    "prodigy": (
        ".jsonl",
        json_lines(lambda post: {"text": post.text, "spans": field_dicts(post), "answer": "accept"}),
        JSON_LINES,
    ),
    "label-studio": (".json", json_file(label_studio), JSON_FILE),
    "lighttag": (".json", json_file(lighttag), JSON_FILE),
    "gliner": (".json", json_file(gliner), JSON_FILE),
    "spacy": (".spacy", doc_bin, DOCBIN),
    "brat": ("", brat, FILES),
    "conll": (".txt", columns(lambda post: f"IMGID:{post.id}\n", lambda _, word, tag: f"{word}\t{tag}\n"), LINES),
    "conll2003": (".txt", columns(lambda _: "", lambda _, word, tag: f"{word} NNP I-NP {tag}\n"), LINES),
    "conllu": (
        ".conllu",
        columns(
            lambda post: f"# sent_id = {post.id}\n",
            lambda i, word, tag: "\t".join([str(i), word, *"_______", "_" if tag == "O" else f"NER={tag}"]) + "\n",
        ),
        CONLLU,
    ),
    "jsonl-bio": (
        ".jsonl",
        json_lines(lambda post: {"id": post.id, "tokens": post.words, "ner_tags": post.tags}),
        JSON_LINES,
    ),
}


class Measured(NamedTuple):
    """Seconds, also of the processor alone, for a shared machine; peak memory in MB; what was said."""

    seconds: float
    cpu: float
    memory: float
    said: str


def measure(code: str, *arguments: str) -> Measured:
    """Return what it takes to run some code in a process of its own.

    Raises:
        RuntimeError: it fails.
    """
    begun = time.perf_counter()
    command = [sys.executable, "-c", PEAK + code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{code} {arguments}: {said}")
    peak = int(said.rpartition("VmHWM:")[2].split()[0]) / 1024
    return Measured(time.perf_counter() - begun, used.ru_utime + used.ru_stime, peak, said)


def main() -> None:
    """Measure each format."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    asked = [word for word in sys.argv[1:] if not word.isdecimal()] or list(FORMATS)
    if not (DATA / "twitter2015").is_dir():
        sys.exit(f"no Twitter-2015 in {DATA}: set MNER_DATA to the folder that holds it")
    given = list(posts(numbers[0] if numbers else POSTS))
    print(f"{len(given):,} posts of {sum(len(post.words) for post in given):,} words")
    print("format\tMB of file\tseconds\tCPU seconds\tpeak MB\tCPU seconds of the plain library\tratio")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked:
            ending, write, plain = FORMATS[name]
            path = Path(folder, f"{name}{ending}")
            write(given, path)
            size = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path])) / 2**20
            out = str(Path(folder, f"{name}-set"))
            done = measure(CONVERT, "convert", name, str(path), "--out", out)
            assert f"train: {len(given)} posts" in done.said, done.said
            read = measure(f"path = {str(path)!r}\n{plain}")
            cells = [f"{size:.0f}", f"{done.seconds:.1f}", f"{done.cpu:.1f}", f"{done.memory:.0f}", f"{read.cpu:.1f}"]
            print("\t".join([name, *cells, f"{done.cpu / read.cpu:.0f}"]), flush=True)


if __name__ == "__main__":
    main()
