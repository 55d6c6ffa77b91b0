"""Posts of a config written for other tools: those in which people review them, and those that train on them."""

import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.exporting import doccano, label_studio, plain
from hf_mner_aug.exporting.corrections import corrections_rows
from hf_mner_aug.exporting.layout import IMAGES, About, Outgoing, Target, label_of
from hf_mner_aug.exporting.names import Stems, ending_of
from hf_mner_aug.exporting.rows import open_rows
from hf_mner_aug.posts.pictures import image_bytes
from hf_mner_aug.publishing.rows import EXAMPLES
from hf_mner_aug.readers.corrections import is_corrections
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.swap import replacing
from hf_mner_aug.untrusted.printable import code_span

TARGETS: Mapping[str, Target] = {
    target.name: target for target in (label_studio.TARGET, doccano.TARGET, *plain.TARGETS)
}
RECORD, GUIDE = "export.json", "README.md"


@dataclass
class Exported:
    """The files of an export: posts by split, pictures, and the posts left out by reason, each with examples."""

    folder: Path
    to: str
    config: str
    posts: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    labels: set[str] = field(default_factory=set)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    cautions: Sequence[str] = ()

    def leave_out(self, reason: str, post: str) -> None:
        """Count a post that is not written."""
        self.left_out.setdefault(reason, []).append(post)

    def __str__(self) -> str:
        """Return the counts, what was left out, and what is to be thought of."""
        splits = ", ".join(f"{split} {n:,}" for split, n in self.posts.items()) or "none"
        lines = [f"{self.config} for {TARGETS[self.to].title}: {splits} posts, {self.pictures:,} pictures"]
        for reason, names in self.left_out.items():
            lines.append(f"left out: {len(names):,} posts: {reason}, as {'; '.join(names[:EXAMPLES])}")
        return "\n".join([*lines, *self.cautions, f"{self.folder / GUIDE} says how to go on"])


def export(
    folder: str | Path,
    config: str | None = None,
    *,
    to: str,
    out: str | Path,
    keep_original: bool | None = None,
    splits: Collection[str] = (),
    posts: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the posts of a config, or of a converted set, for another tool, with their pictures beside.

    For tools in which people review posts (``label-studio``, ``doccano``) these are the made posts, for others all
    posts. ``import_review`` takes a reviewed file back.

    Args:
        folder: a repo folder, a dataset's folder or Hub id, or a file of corrections as ``memory --suspects`` writes.
        config: the config's name (default: the folder's only one).
        to: the format: ``label-studio``, ``doccano``, ``spans`` (JSON Lines), ``conll``, ``imgid`` or ``spacy``.
        out: the folder to write; it appears once it is complete.
        keep_original: also write the posts that the method did not make.
        splits: the splits to write (default: all, or for a review those with made posts).
        posts: at most so many of the made posts, evenly spread.
        overwrite: replace an earlier export.

    Raises:
        UnknownName: there is no such format or split.
        UsageError: there is no such config, it holds the retrieved posts by id only, it has no entities, or ``out``
            holds anything.
        MissingExtra: the format needs a package that is not installed.
        Corrupt: a file of the config is damaged.
        OSError: the disk is full.
    """
    if to not in TARGETS:
        raise UnknownName("format to export to", to, TARGETS)
    if posts is not None and posts < 1:
        raise UsageError(f"expected at least 1 post, found {posts}")
    target, out = TARGETS[to], Path(out).resolve()
    rows = corrections_rows(Path(folder)) if is_corrections(Path(folder)) else open_rows(folder, config, splits)
    keep = (rows.original or not target.reviews) if keep_original is None else keep_original
    asked = {
        "to": to,
        "config": rows.name,
        "content_fingerprint": rows.fingerprint,
        "keep_original": keep,
        "splits": sorted(splits),
        "most": posts,
    }

    def check(place: Path) -> None:
        check_replaceable(place, asked, overwrite=overwrite)

    check(out)
    done = Exported(out, to, rows.name, cautions=rows.cautions)
    with room_for(out), replacing(out, "export", check) as new:
        about = replace(rows.about, folder=out.name)
        written = _written(rows.posts(keep, posts), target, new, done)
        target.write(written, new, about)
        if not done.posts:
            what = "post" if keep else "made post"
            raise UsageError(
                f"{rows.name} has no {what} to export{'' if keep else ': --keep-original writes the others'}"
            )
        (new / GUIDE).write_text(_guide(done, target, about), encoding="utf-8")
        (new / RECORD).write_text(_record(new, asked, done, about), encoding="utf-8")
    return done


def check_replaceable(out: Path, asked: Mapping[str, Any], *, overwrite: bool) -> None:
    """Check that an export can be written into a folder: empty, or with nothing but an earlier export.

    Raises:
        UsageError: it is a file, holds files that no export wrote, or holds another export and ``overwrite`` is not
            set; one of the same posts of the same config, as ``asked`` for, is replaced.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out")
    inside = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir())
    before = _read_record(out)
    ours = {RECORD, *(name for name in before.get("files", ()) if isinstance(name, str))}
    if foreign := [name for name in inside if name not in ours and not (before and name.startswith(f"{IMAGES}/"))]:
        raise UsageError(f"{out} holds {foreign[0]}, which no export wrote: name another folder with --out")
    same = asked["content_fingerprint"] and all(before.get(name) == value for name, value in asked.items())
    if inside and not same and not overwrite:
        raise UsageError(f"{out} holds an earlier export: name another folder with --out, or --overwrite")


def _read_record(out: Path) -> Mapping[str, Any]:
    """Return what an earlier export says of itself; nothing if there is none."""
    try:
        found = json.loads((out / RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    fits = isinstance(found, dict) and isinstance(found.get("files"), list)
    return found if fits else {}


def _written(posts: Iterator[Outgoing], target: Target, folder: Path, done: Exported) -> Iterator[Outgoing]:
    """Yield the posts that the format can hold, with their pictures written; count them."""
    stems = Stems()
    for post in posts:
        if fault := _unfit(post.post, target):
            done.leave_out(fault, post.post.id)
            continue
        stem = stems.of(post.post.id)
        pictures = _write_pictures(post.post, stem, folder)
        done.posts[post.split] += 1
        done.pictures += len(pictures)
        done.labels.update(map(label_of, post.post.entities))
        yield replace(post, stem=stem, pictures=pictures)


def _unfit(post: Post, target: Target) -> str | None:
    """Return why a format cannot hold a post, or None."""
    if target.on_lines and any(word != word.strip(" ") or set(word) & set("\t\r\n") for word in post.tokens):
        return "a word has a tab, an end of a line or a blank at its edge"
    if target.reviews and any("\0" in word for word in post.tokens):
        return "a word has a null character, which the tool's database refuses"
    return None


def _write_pictures(post: Post, stem: str, folder: Path) -> list[str]:
    """Write the pictures of a post with their unchanged bytes; return the names of the files."""
    names = []
    for i, image in enumerate(post.images, 1):
        data = image_bytes(image)
        if data is None:
            continue
        (folder / IMAGES).mkdir(exist_ok=True)
        names.append(f"{stem}{'' if i == 1 else f'_{i}'}{ending_of(data)}")
        with room_for(folder / IMAGES / names[-1], len(data)):
            (folder / IMAGES / names[-1]).write_bytes(data)
    return names


def _guide(done: Exported, target: Target, about: About) -> str:
    n = sum(done.posts.values())
    lines = [f"# {about.config} for {target.title}", f"{n} posts of the config {code_span(about.config)}."]
    lines += [f"Beware: {caution}." for caution in done.cautions]
    if not target.reviews:
        named = {"name": target.name, "folder": shlex.quote(about.folder), "more": ""}
        lines.append(target.guide.format(tokeniser="whitespace" if about.joiner else "char", **named))
    else:
        lines.append(target.guide)
        lines.append(
            "Then, with the folder that this was exported from and the file that the tool exported:\n\n"
            f"```bash\nhf-mner-aug import-review FOLDER {about.config} FILE\n```"
        )
    return "\n\n".join(lines) + "\n"


def _record(folder: Path, asked: Mapping[str, Any], done: Exported, about: About) -> str:
    facts = {
        "exporter": f"hf_mner_aug {__version__}",
        **asked,
        "joiner": about.joiner,
        "labels": sorted(done.labels),
        "posts": dict(done.posts),
        "pictures": done.pictures,
        "left_out": done.left_out,
        "files": sorted(path.name for path in folder.iterdir() if path.is_file()),
    }
    return json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
