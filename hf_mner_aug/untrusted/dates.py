"""Dates and times from untrusted text: in ISO 8601 and UTC, or None."""

import datetime

MOST = 100  # characters of a text that may be a date


def parse_date(text: str) -> datetime.date | None:
    """Return a date, or a time, in ISO 8601 or as ``Wed Aug 27 13:08:45 +0000 2008``; None for any other text."""
    if len(text) > MOST:
        return None
    for parse in (
        datetime.date.fromisoformat,
        datetime.datetime.fromisoformat,
        lambda text: datetime.datetime.strptime(text, "%a %b %d %H:%M:%S %z %Y"),
    ):
        try:
            return parse(text)
        except (ValueError, OverflowError):
            continue
    return None


def spell_date(found: datetime.date | None) -> str | None:
    """Return a date as ``2008-08-27``, a time in UTC as ``2008-08-27T13:08:45Z``; None where UTC has no such year."""
    if found is None:
        return None
    if not isinstance(found, datetime.datetime):
        return found.isoformat()
    try:
        moved = found.astimezone(datetime.UTC) if found.tzinfo is not None else found
    except (ValueError, OverflowError):
        return None
    return f"{moved.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
