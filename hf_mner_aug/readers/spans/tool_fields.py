"""Fields that the records of several annotation tools have: ids and pictures, wherever a user put them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any

from hf_mner_aug.exceptions import UnknownName
from hf_mner_aug.readers.images import PICTURES
from hf_mner_aug.readers.spans.json_records import field_of, id_of, pictures_of

Columns = Mapping[str, str | int]
NAMES = ("id", "text", "spans", "images")
IDS = ("post_id", "tweet_id", "id")  # the last is often the tool's own
IMAGES = ("images", "image", "pictures", "picture", "img", "image_url", "image_urls")
URLS = ("url", "urls")  # of pictures only if they end as one
_INSIDE = ("meta", "metadata")  # the user's own fields are in one of these, or beside the tool's


def checked_columns(columns: Columns, names: Collection[str] = NAMES) -> dict[str, str]:
    """Return the file's names of fields by ours; ``image`` is ``images``.

    Raises:
        UnknownName: ours, ``names``, have no such field.
    """
    named = {("images" if ours == "image" else ours): str(theirs) for ours, theirs in columns.items()}
    for ours in named:
        if ours not in names:
            raise UnknownName("field to name", ours, names)
    return named


def own_id(record: Mapping[str, Any], columns: Mapping[str, str], others: Sequence[str] = IDS) -> str | None:
    """Return a record's id: in the field that the user names, else in the first of some others, or None.

    Raises:
        DataError: it is no text and no whole number.
    """
    names = (columns["id"],) if "id" in columns else others
    return next((found for name in names if (found := id_of(field_of(record, name)))), None)


def own_pictures(record: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the pictures of a record, in the field that the user names or in a usual one; None if it has no field.

    Raises:
        DataError: they are no names.
    """
    if "images" in columns:
        return pictures_of(field_of(record, columns["images"]))
    places = [record, *(place for name in _INSIDE if isinstance(place := record.get(name), dict))]
    for place, name in product(places, IMAGES):
        if place.get(name) is not None:
            return pictures_of(place[name])
    for place, name in product(places, URLS):
        found = place.get(name)
        if isinstance(found, str | list) and (names := [url for url in pictures_of(found) if _is_picture(url)]):
            return tuple(names)
    return None


def _is_picture(url: str) -> bool:
    return url.partition("?")[0].lower().endswith(PICTURES)
