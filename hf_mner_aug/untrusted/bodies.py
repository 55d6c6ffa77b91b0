"""The body of an untrusted server's response: bounded in bytes, compressed and decompressed."""

import zlib
from collections.abc import AsyncIterator, Mapping

ENCODINGS = "gzip, deflate"  # sent as Accept-Encoding


class UnusableBody(Exception):
    """A rejected body: ``reason`` is too_large or unreadable."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


async def read_body(stream: AsyncIterator[bytes], headers: Mapping[str, str], limit: int) -> bytes:
    """Return the decompressed body; neither the stream nor its content is read beyond the limit.

    Args:
        stream: the body as received, still compressed.
        headers: of the response, with names in lower case or case-insensitive.
        limit: bytes.

    Raises:
        UnusableBody: it is too large, damaged, or in an encoding that was not requested.
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
