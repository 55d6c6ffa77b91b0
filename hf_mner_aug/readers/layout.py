"""A raw set before it is read: what cannot be found in its files, and the parser of one of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from hf_mner_aug.readers.formats import BadLine, RawPost

SPLIT_FILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"train": ("train",), "validation": ("valid", "val", "dev", "validation"), "test": ("test",)}
)
ANY_PREFIX = "*"


@dataclass(frozen=True, kw_only=True)
class RawSet:
    """A raw set before it is read; ``types`` and ``tokeniser`` are found in the files if they are not declared.

    ``tokeniser`` is ``"handles whole"`` (``@user`` is one word), ``"handles split"`` (``@``, ``user``) or
    ``"characters"``; ``joiner`` goes between words to make a text of them. ``folders`` are the subfolders of the raw
    folder that may contain the text. Its files have one of ``prefixes`` (``ANY_PREFIX`` is any text whose last sign
    is no letter), one of ``split_names`` and one of ``endings``. ``suffixed`` images are named ``<id>_<suffix>``;
    ``auto`` is ``many`` if some post has several. With ``split_folders`` a split is a folder of such files, and a
    folder of files alone is read as train. With ``lone_file`` the only file of a folder is train, whatever its name:
    tools name their exports.

    ``takes`` are the names of the options of ``convert`` that ``parse`` has as keywords. ``recognise`` gets the files
    and the options that the user gave, and returns the options that it found in the files, which replace given ones
    (as ``auto``), with a line on each for the report.

    ``scheme`` is ``"bio"`` if ``parse`` yields BIO tags only. With ``"auto"`` it yields tags as they are spelt, and
    their scheme is recognised, or given by the user. A set that is no folder of files declares them, as it tells them
    apart, in ``files``, and gives the pictures of its posts by ``attach``, as ``images.attach`` does.
    """

    name: str
    title: str
    parse: Callable[..., Iterator[RawPost | BadLine]]
    takes: tuple[str, ...] = ()
    recognise: Callable[[Mapping[str, Path], Mapping[str, Any]], tuple[Mapping[str, Any], Sequence[str]]] | None = None
    scheme: Literal["bio", "auto"] = "bio"
    files: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    attach: Callable[[Mapping[str, Sequence[Any]], Any], dict[str, list[Any]]] | None = None
    types: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    language: str | None = None
    tokeniser: str | None = None
    joiner: str = " "
    split_names: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: SPLIT_FILES)
    folders: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ("",)
    endings: tuple[str, ...] = (".txt",)
    split_folders: bool = False
    lone_file: bool = False
    images: Literal["one", "many", "auto"] = "one"
    suffixed: bool = False
    needs_boxes: bool = False
    license: str = "unknown"
    homepage: str | None = None
    citation: str | None = None

    @property
    def takes_boxes(self) -> bool:
        """Whether XML files can give the boxes of entities in the post's image."""
        return self.images != "many" and not self.relations
