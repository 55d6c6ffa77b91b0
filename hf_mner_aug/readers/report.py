"""The report of reading a raw set: counts per split, and troubles with examples."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from hf_mner_aug.readers.lines import BadLine
from hf_mner_aug.schema import Orphans

EXAMPLES = 5
REASONS, SORTS = 8, 100  # that are told, and counted
SHOWN = 200  # characters of an example
_POST = re.compile(r"^post .{1,200}? (?=has …)|^post [^:]{0,200}: ")
_DETAIL = re.compile(r",? found\b.*| \(.*|: it is left out$", re.DOTALL)
_QUOTED = re.compile(r"('[a-z_.]{1,30}')|b?'[^']*'?|\"[^\"]*\"?")
_NUMBER = re.compile(r"\d+(?:[,.]\d+)*")
Outcome = Literal["applied", "declined", "undecided", "unchanged"]


def sort_of(reason: str) -> str:
    """Return a reason without what differs from row to row: the post, what was found, texts and numbers."""
    text = _NUMBER.sub("…", _QUOTED.sub(lambda found: found[1] or "…", _DETAIL.sub("", reason[:1000])))
    return _POST.sub("", text).strip()[:100] or "no reason"


@dataclass
class Cause:
    """How many rows a reason left out, and the first of them."""

    count: int
    example: str


@dataclass
class SplitReport:
    """Counts of a split's content and troubles; ``mentions`` are B- tags before orphans are repaired."""

    file: str
    posts: int = 0
    words: int = 0
    mentions: int = 0
    relations: int = 0
    drawings: int = 0
    boxes: int = 0
    orphans: int = 0
    fine_orphans: int = 0
    repaired_tags: int = 0
    bad_lines: int = 0
    bad_parts: int = 0
    corrected: int = 0
    headings: int = 0
    rejected: int = 0
    unlabelled: int = 0
    other_annotations: int = 0
    rejected_spans: int = 0
    discontinuous: int = 0
    left_relations: int = 0
    duplicate_ids: int = 0
    empty_posts: int = 0
    snapped: int = 0
    nested_spans: int = 0
    empty_spans: int = 0
    images: int = 0
    missing: int = 0
    unreadable: int = 0
    refused: int = 0
    unsupported: int = 0
    twin_images: int = 0
    other_endings: int = 0
    animated_images: int = 0
    deep_images: int = 0
    bad_drawings: int = 0
    twin_drawings: int = 0
    no_boxes: int = 0
    other_shapes: int = 0
    parts: int = 0
    unmatched_boxes: int = 0
    bad_boxes: int = 0
    reversed_boxes: int = 0
    clipped_boxes: int = 0
    turned: int = 0
    unsure_turns: int = 0
    swapped_sizes: int = 0
    resized: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    reasons: dict[str, Cause] = field(default_factory=dict)

    def leave_out(self, bad: BadLine, unit: str = "line") -> None:
        """Count a row that gives no post, and its reason if it could not be read."""
        example = f"{unit} {bad.line}: {bad.reason}"
        self.note(bad.counter, example)
        if bad.counter == "bad_lines":
            self.bad_parts += bad.part
            sort = sort_of(bad.reason)
            sort = sort if sort in self.reasons or len(self.reasons) < SORTS else "other reasons"
            self.reasons.setdefault(sort, Cause(0, example[:SHOWN])).count += 1

    def note(self, trouble: str, example: str, count: int = 1) -> None:
        """Increase the counter of a trouble and keep its first examples."""
        setattr(self, trouble, getattr(self, trouble) + count)
        kept = self.examples.setdefault(trouble, [])
        if len(kept) < EXAMPLES:
            kept.append(example)

    def by_reason(self) -> str:
        """Return the counts of lines left out by their reasons, the most frequent first."""
        ranked = sorted(self.reasons.items(), key=lambda item: -item[1].count)
        told = [f"{cause.count} of {sort!r}" for sort, cause in ranked[:REASONS]]
        more = sum(cause.count for _, cause in ranked[REASONS:])
        return "of those left out " + ", ".join(told + [f"{more} of other reasons"] * (more > 0))

    def contents(self) -> str:
        """Return the counts in words."""
        counts = [f"{self.posts} posts", f"{self.words} words"]
        counts.append(f"{self.relations} relations" if self.relations else f"{self.mentions} B- tags")
        if self.drawings:
            counts.append(f"{self.boxes} boxes in {self.drawings} XML files")
        return ", ".join([*counts, f"{self.images} images"])


@dataclass
class Corrected:
    """A file of corrected labels: the notes of its corrections by the id of their post, by what became of them.

    ``new_types`` are those that no post had before.
    """

    file: str
    sha256: str
    outcomes: dict[Outcome, dict[str, str]] = field(default_factory=dict)
    new_types: list[str] = field(default_factory=list)

    def note(self, post_id: str, outcome: Outcome, note: str) -> bool:
        """Keep a correction; return whether it is applied."""
        self.outcomes.setdefault(outcome, {})[post_id] = note
        return outcome == "applied"

    def __str__(self) -> str:
        said = {"applied": "applied", "declined": "declined", "undecided": "undecided", "unchanged": "without a change"}
        counts = [f"{len(self.outcomes[key])} {text}" for key, text in said.items() if key in self.outcomes]
        new = f"; types that the set did not have: {', '.join(self.new_types)}" if self.new_types else ""
        return f"corrections of {self.file}: {', '.join(counts)}{new}"


@dataclass
class Report:
    """The findings of reading a set, split by split.

    ``named_images`` says that the files name pictures, and not by ids alone. ``corrected`` is the file of corrections,
    if one was given; ``recognised`` are lines about what was found out about the files, as their columns;
    ``spare_drawings`` are XML files without a post; ``leaks`` are lines about other sets' validation and test.
    """

    name: str
    orphans: Orphans
    image_folder: bool
    many_images: bool = False
    named_images: bool = False
    splits: dict[str, SplitReport] = field(default_factory=dict)
    spare_drawings: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    renames: dict[str, str] = field(default_factory=dict)
    recognised: list[str] = field(default_factory=list)
    corrected: Corrected | None = None

    def cut_words(self) -> Iterator[str]:
        """Yield a warning for each split of which more than half of the spans start or end inside a word."""
        for split, counts in self.splits.items():
            if 2 * counts.snapped > counts.mentions:
                yield (
                    f"{self.name} {split}: {counts.snapped} of {counts.mentions} spans start or end inside a word, as "
                    f"{counts.examples['snapped'][0]}: if these are wrong, the offsets may count words, or from 1, or "
                    "include the end; leave such posts out with --misaligned refuse"
                )

    def absent_pictures(self) -> Iterator[str]:
        """Yield a warning for each split whose images are missing or cannot be used, and one if no post names any."""
        if self.many_images:
            said = {"missing": "images have no file", "unreadable": "images cannot be decoded"}
        else:
            said = {"missing": "posts have no image file", "unreadable": "posts have one that cannot be decoded"}
        named = {"refused": "are refused", "unsupported": "are in no supported format"}
        for split, counts in self.splits.items():
            found = [f"{count} {text}" for trouble, text in said.items() if (count := getattr(counts, trouble))]
            found += [
                f"{count} {text} ({'; '.join(counts.examples[trouble])})"
                for trouble, text in named.items()
                if (count := getattr(counts, trouble))
            ]
            lost = f"left out of their posts ({counts.images} are there)" if self.many_images else "their image is null"
            if found:
                yield f"{self.name} {split}, {counts.posts} posts: {', '.join(found)}: {lost}"
        used = ("images", *said, *named)
        if self.image_folder and not any(getattr(counts, what) for counts in self.splits.values() for what in used):
            yield f"{self.name}: no post names a picture: if a field of the file does, give it by --columns image=FIELD"

    def _meanings(self) -> dict[str, str]:
        """Return the meaning of each count of a split that is a trouble."""
        repaired = {"promote": "made B-", "drop": "made O, with the I- that continue them"}.get(self.orphans)
        read = {
            "promote": "kept, as seqeval's default mode",
            "drop": "made O with their entity, as seqeval's strict mode",
        }
        said = {
            "bad_lines": "lines left out",
            "corrected": "posts with corrected labels",
            "headings": "lines left out: they name the columns",
            "rejected": "posts left out: their annotator rejected, skipped or cancelled them",
            "unlabelled": "posts left out: nobody annotated them",
            "other_annotations": "annotations left out: another one of the same text is taken",
            "rejected_spans": "spans left out: a reviewer rejected them",
            "discontinuous": "spans in several pieces: taken with the words between them",
            "left_relations": "posts with relations between spans: left out, the spans are kept",
            "orphans": f"orphan I- tags {repaired}",
            "fine_orphans": f"orphan fine I- tags {repaired}",
            "repaired_tags": f"tags that do not fit their scheme: {read.get(self.orphans)} reads them",
            "duplicate_ids": "posts with the id of an earlier one: a suffix makes it unique",
            "empty_posts": "posts without words left out",
            "snapped": "spans that start or end inside a word: extended to whole words (another --tokeniser may fit)",
            "nested_spans": "spans that share a word with a longer one: left out",
            "empty_spans": "spans without a letter: left out",
            "missing": "posts without an image file: their image is null",
            "unreadable": "posts with an image file that cannot be decoded: their image is null",
            "refused": "posts with an image file that is refused: their image is null",
            "unsupported": "posts with a file of their name in an unsupported image format: their image is null",
            "twin_images": "images with several files of the same name: one is taken",
            "other_endings": "images found with another suffix than the post gives",
            "animated_images": "images of several frames: stored unchanged; models see the first frame",
            "deep_images": "images of more than 8 bits per channel: stored unchanged; models see 8 bits",
            "bad_drawings": "XML files that cannot be read: their posts have no boxes",
            "twin_drawings": "posts with several XML files: one is taken",
            "no_boxes": "objects left out: they have no box",
            "other_shapes": "objects left out: they have another shape, but no box",
            "parts": "boxes left out: they show a part of an object",
            "unmatched_boxes": "boxes left out: their name is not an entity of the post",
            "bad_boxes": "boxes left out: not four numbers, without area or completely outside the picture",
            "reversed_boxes": "boxes with reversed corners: put in order",
            "clipped_boxes": "boxes that reach outside the picture: clipped to it",
            "turned": "posts with boxes drawn on the image before its EXIF rotation: turned with it",
            "unsure_turns": (
                "posts with boxes that may be drawn before or after the image's EXIF rotation, by the XML's "
                "size: taken as before if possible, otherwise as after"
            ),
            "swapped_sizes": "XML sizes with width and height swapped: swapped back",
            "resized": "posts with an image of another size than in the XML: their boxes are scaled to it",
        }
        if any(counts.relations for counts in self.splits.values()):
            said["duplicate_ids"] = "relations of a tweet that has earlier ones: a suffix makes their ids unique"
        if self.many_images:
            said["missing"] = "images without a file: left out of their posts"
            said["unreadable"] = "images that cannot be decoded: left out of their posts"
            said["refused"] = "image files that are refused: left out of their posts"
            said["unsupported"] = "files in an unsupported image format: left out of their posts"
        return said

    def troubles(self) -> list[str]:
        """Return a line for each finding that a user of the set should know, with examples."""
        said, lines = self._meanings(), []
        nameless = self.image_folder and not self.named_images and not any(c.images for c in self.splits.values())
        for split, counts in self.splits.items():
            for trouble, text in said.items():
                if count := getattr(counts, trouble):
                    examples = "; ".join(counts.examples[trouble])
                    lines.append(f"{split}: {count} {text}, as {examples}")
                    if trouble == "missing" and nameless:
                        lines[-1] += self._unnamed(counts)
                    if trouble == "bad_lines" and len(counts.reasons) > 1:
                        lines.append(f"{split}: {counts.by_reason()}")
        if self.corrected:
            lines.append(str(self.corrected))
        if spare := self.spare_drawings:
            lines.append(f"{len(spare)} XML files left out: no post has their id, as {'; '.join(spare[:EXAMPLES])}")
        return lines

    def _unnamed(self, counts: SplitReport) -> str:
        """Return what to do where no picture of the folder is one of the set."""
        return (
            f": no picture has the id of a post as its name, as {counts.examples['missing'][0]}.jpg: rename them, or, "
            "if a field of the file has their names, give it by --columns image=FIELD"
        )

    def __str__(self) -> str:
        lines = [f"{split}: {counts.contents()}, from {counts.file}" for split, counts in self.splits.items()]
        lines += self.recognised
        lines += [f"type {old} of the raw files is {new} here" for old, new in self.renames.items()]
        return "\n".join(lines + self.troubles() + self.leaks)
