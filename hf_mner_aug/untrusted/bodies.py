"""The body of an answer from a stranger's server: bounded in bytes, also those that it unpacks to."""

import zlib
from collections.abc import AsyncIterator, Mapping

ENCODINGS = "gzip, deflate"  # what to ask for


class UnusableBody(Exception):
    """A body that is not taken: ``reason`` is too_large or unreadable."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


async def read_body(stream: AsyncIterator[bytes], headers: Mapping[str, str], limit: int) -> bytes:
    """Return a body unpacked; neither what comes nor what is in it is read beyond the limit.

    Args:
        stream: the body as it comes, packed.
        headers: of the answer, by names in small letters or in any case.
        limit: bytes.

    Raises:
        UnusableBody: it is too large, or packed in a way that nobody asked for.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise UnusableBody("unreadable", f"Content-Encoding {encoding}")
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        raise UnusableBody("too_large", f"{length[:20]} bytes, over {limit}")
    unpack = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
    came, body = 0, bytearray()
    async for chunk in stream:
        came += len(chunk)
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, limit + 1 - len(body))
        except zlib.error as error:
            raise UnusableBody("unreadable", f"{encoding}: {error}") from error
        if max(came, len(body)) > limit:
            raise UnusableBody("too_large", f"more than {limit} bytes")
    return bytes(body)
