"""The OpenAI-compatible protocol, and that of Serper's searches: requests as they are sent, answers as they are read.

Nothing here uses the network.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.endpoint.budget import Usage
from hf_mner_aug.models.endpoint.responses import Record, request_digest
from hf_mner_aug.posts.pictures import FORMATS, image_bytes, open_image
from hf_mner_aug.schema import EncodedImage, canonical_json
from hf_mner_aug.untrusted.printable import excerpt

REASONS = (
    "timeout",  # no complete answer in time; not retried, since it may have been paid for
    "rate_limited",  # 429, until no retry was left
    "server_error",  # 5xx or a closed connection, until no retry was left
    "bad_request",  # the server cannot serve this request: it is too long, or has an unknown field
    "refused",  # by the model, or by a filter before or after it
    "truncated",  # max_tokens was reached
    "empty",
    "not_json",  # the body, or the answer to a json_schema
    "not_an_image",  # the picture in the answer, or one in the request
    "too_large",
    "wrong_model",  # with strict_model
    "over_budget",  # not sent
)
# Codes and types in the body of an error, if the status alone is ambiguous.
_FILTERED = {"content_filter", "content_policy_violation", "moderation_blocked"}
_OUT_OF_CREDIT = {"insufficient_quota", "billing_hard_limit_reached"}
_UNKNOWN_MODEL = {"model_not_found", "model_not_supported"}
_NO_CREDIT = re.compile(r"\bnot enough credit|\binsufficient credit", re.IGNORECASE)  # Serper: HTTP 400

MAX_TOKENS = 100_000_000  # the most that one answer may claim
MAX_CREDITS = 1_000  # the most that one search may claim
_DATE = re.compile(r"-(\d{4}-\d\d-\d\d|\d{8}|\d{4})")


# ---------------------------------------------------------------- requests


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """Messages, as ``{"role": …, "content": …}``, and pictures that are added to the last user message.

    With ``json_schema`` the answer is requested as JSON of that schema, and parsed; the caller checks whether it fits.
    Fields that are None are left to the server.
    """

    messages: Sequence[Mapping[str, Any]]
    seed: int
    temperature: float | None = None
    max_tokens: int | None = None
    json_schema: Mapping[str, Any] | None = None
    images: Sequence[EncodedImage] = ()


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """A picture of ``size`` (width, height) in pixels, to draw from a prompt, or to edit from ``image``."""

    prompt: str
    seed: int
    size: tuple[int, int] = (512, 512)
    image: EncodedImage | None = None


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """A query to a search engine, for at most ``results`` of its results."""

    query: str
    results: int = 10


Request = ChatRequest | ImageRequest | SearchRequest
Kind = Literal["chat", "image", "search"]


class Call(NamedTuple):
    """A request as it is sent, without model and seed; ``file`` is a picture to edit, sent with the body."""

    kind: Kind
    route: str
    body: Mapping[str, Any]
    seed: int
    file: tuple[bytes, str] | None
    digest: str


def to_call(request: Request, model: str, omit: Sequence[str] = ()) -> Call:
    """Return a request as it is sent to a model, without the fields in ``omit``.

    Raises:
        DataError: a picture in it does not decode.
        UsageError: there are pictures but no user message.
    """
    if isinstance(request, SearchRequest):
        body = {"q": request.query, "num": request.results}
        return Call("search", "search", body, 0, None, request_digest("search", model, body, 0))
    kind: Kind
    file = None
    if isinstance(request, ChatRequest):
        kind, route = "chat", "chat/completions"
        body = {
            "messages": _with_images(request.messages, request.images),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.json_schema is not None:
            schema = {"name": "answer", "schema": request.json_schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
    else:
        kind, route = "image", "images/generations"
        width, height = request.size
        body = {"prompt": request.prompt, "n": 1, "size": f"{width}x{height}", "response_format": "b64_json"}
        if request.image is not None:
            route, file = "images/edits", encoded(request.image)
            body["image"] = hashlib.sha256(file[0]).hexdigest()
    body = {name: value for name, value in body.items() if value is not None and name not in omit}
    return Call(kind, route, body, request.seed, file, request_digest(kind, model, body, request.seed))


def encoded(image: EncodedImage) -> tuple[bytes, str]:
    """Return a picture's bytes and MIME type.

    Raises:
        DataError: it cannot be read or decoded, has too many pixels, or is in none of ``FORMATS``.
    """
    from PIL import Image, UnidentifiedImageError

    data = image_bytes(image)
    if data is None:
        raise DataError("the image has no bytes" + " and the file that it names is not read" * bool(image["path"]))
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            kind = str(picture.format)
    except UnidentifiedImageError as error:
        raise DataError(f"expected an image as {', '.join(FORMATS)}, found {excerpt(repr(data[:60]))}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image cannot be decoded: {error}") from error
    open_image({"bytes": data, "path": None})
    return data, Image.MIME["JPEG" if kind == "MPO" else kind]  # MPO is a JPEG followed by more pictures


def _with_images(messages: Sequence[Mapping[str, Any]], images: Sequence[EncodedImage]) -> list[dict[str, Any]]:
    """Return the messages with pictures added to the user's last, each as a data: URL of its own bytes."""
    changed = [dict(message) for message in messages]
    if not images:
        return changed
    last = next((message for message in reversed(changed) if message.get("role") == "user"), None)
    if last is None:
        raise UsageError("pictures need a user message, found none: add {'role': 'user', 'content': …}")
    content = last["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    for data, mime in map(encoded, images):
        url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    last["content"] = parts
    return changed


# ---------------------------------------------------------------- answers as received


class Answer(NamedTuple):
    """An answer of the right shape (see ``Record.answer``); tokens (read, written) are None if not counted."""

    answered_by: str | None
    answer: Mapping[str, Any]
    tokens: tuple[int, int] | None


class Failure(NamedTuple):
    """No answer, and what follows: the request is given up, tried again after some seconds, or the run stops.

    ``retry`` is for a busy server, ``retry_connect`` for one that cannot be reached, ``retry_twice`` for an answer that
    failed or was lost: it may have been paid for, and may fail again. ``status`` is that of an error's HTTP response.
    """

    reason: str
    detail: str
    then: Literal["give_up", "retry", "retry_twice", "retry_connect", "stop"] = "give_up"
    seconds: float = 0.0
    status: int = 0


def read_answer(kind: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer | Failure:
    """Return a server's response as an answer or a failure."""
    parsed, unreadable = None, ""
    try:
        parsed = _object(body)
    except (RecursionError, ValueError) as trouble:
        unreadable = excerpt(str(trouble))
    found = parsed or {}
    error = found.get("error")
    noted: dict[str, Any] = error if isinstance(error, dict) else {}
    if 200 <= status < 300 and error and not (found.get("choices") or found.get("data")):
        # OpenRouter reports errors after a model has started this way.
        code = noted.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
    if status >= 300:
        said = (
            noted.get("message")
            or error
            or found.get("message")
            or found.get("detail")
            or body.decode("utf-8", "replace")
        )
        failure = _failure(status, noted, headers, f"HTTP {status}: {excerpt(str(said)) or 'no message'}")
        failure = failure._replace(status=status)
        return failure._replace(reason="wrong_address") if (kind, status) == ("search", 404) else failure
    wrong = "not_an_image" if kind == "image" else "not_json"
    then: Literal["give_up", "retry_twice"] = "retry_twice" if kind == "search" else "give_up"
    if unreadable:
        return Failure(wrong, f"expected JSON, found a value that cannot be read: {unreadable}", then)
    if parsed is None:
        if body.lstrip()[:1] in (b"", b"{", b"["):
            return Failure("server_error", f"the answer ends after {len(body)} bytes", "retry_twice")
        return Failure(wrong, f"expected JSON, found {excerpt(repr(body[:120]))}", then)
    read, expected = _READERS[kind]
    try:
        return read(parsed)
    except (AttributeError, LookupError, TypeError, ValueError) as trouble:
        found_there = excerpt(repr(body[:120]))
        return Failure(wrong, f"expected {expected}, found {found_there} ({type(trouble).__name__})", then)


def _failure(status: int, noted: Mapping[str, Any], headers: Mapping[str, str], detail: str) -> Failure:
    """Return the failure that an error's status and body mean."""
    codes = {str(noted.get("code")), str(noted.get("type"))}
    metadata = noted.get("metadata")
    if codes & _OUT_OF_CREDIT or status == 402 or (status == 400 and _NO_CREDIT.search(detail)):
        return Failure("no_credit", detail, "stop")
    # OpenRouter's 403 comes from a filter, not from the key.
    if codes & _FILTERED or (isinstance(metadata, dict) and "flagged_input" in metadata):
        return Failure("refused", detail)
    if status in (401, 403):
        return Failure("wrong_key", detail, "stop")
    if status == 404 or codes & _UNKNOWN_MODEL:
        return Failure("unknown_model", detail, "stop")
    if status < 400 or status == 405:
        return Failure("wrong_address", f"{detail} {excerpt(headers.get('location', ''))}".strip(), "stop")
    if status == 429:
        return Failure("rate_limited", detail, "retry", retry_after(headers))
    if status >= 500 or status in (408, 409, 425):
        return Failure("server_error", detail, "retry_twice" if status == 500 else "retry", retry_after(headers))
    return Failure("bad_request", detail)


def _read_chat(parsed: Mapping[str, Any]) -> Answer | Failure:
    choice = parsed["choices"][0]
    message, finish = choice["message"], choice.get("finish_reason")
    if finish == "error":
        return Failure("server_error", "the model stopped with an error", "retry_twice")
    content = message.get("content")
    if isinstance(content, list):  # parts, as from Mistral's reasoning models
        content = "".join(part["text"] for part in content if part["type"] == "text")
    said = {"text": content, "refusal": message.get("refusal"), "finish_reason": finish}
    if not all(value is None or isinstance(value, str) for value in said.values()):
        raise TypeError("text")
    return Answer(_name(parsed), said, _tokens(parsed))


def _read_image(parsed: Mapping[str, Any]) -> Answer:
    image = parsed["data"][0]["b64_json"]
    image = image.partition(",")[2] if image.startswith("data:") else image
    base64.b64decode(image, validate=True)
    return Answer(_name(parsed), {"image": image}, _tokens(parsed))


def _read_search(parsed: Mapping[str, Any]) -> Answer:
    """Return the results of a search that have a URL; the rest of a reply is left out."""
    found = parsed.get("organic") or []
    if not isinstance(found, list):
        raise TypeError("organic")
    results = []
    for result in found:
        kept = {name: result[name] for name in ("link", "title", "snippet") if isinstance(result.get(name), str)}
        if kept.get("link"):
            results.append(kept)
    credits = parsed.get("credits")
    return Answer(
        None,
        {"results": results, "credits": credits if type(credits) is int and 0 < credits <= MAX_CREDITS else 1},
        (0, 0),
    )


_READERS: dict[str, tuple[Callable[[Mapping[str, Any]], Answer | Failure], str]] = {
    "chat": (_read_chat, "choices[0].message.content"),
    "image": (_read_image, "data[0].b64_json"),
    "search": (_read_search, "organic[].link"),
}


def _name(parsed: Mapping[str, Any]) -> str | None:
    name = parsed.get("model")
    return excerpt(name) if isinstance(name, str) else None


def _tokens(parsed: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the tokens read and written; counts that are negative or larger than any model's are ignored."""
    usage = parsed.get("usage")
    for names in (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")):
        read, written = (usage.get(name) if isinstance(usage, dict) else None for name in names)
        if type(read) is int and type(written) is int and max(read, written) <= MAX_TOKENS and min(read, written) >= 0:
            return read, written
    return None


def _object(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object, or None if a body is not one.

    Raises:
        RecursionError: it is nested too deep.
        ValueError: it holds a number of too many digits.
    """
    try:
        parsed = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return parsed if isinstance(parsed, dict) else None


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a ``Retry-After`` header asks for, given as a number or a date; 0 without one."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return 0.0
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else 0.0


# ---------------------------------------------------------------- answers, judged


@dataclass(frozen=True)
class Reply:
    """A model's reply: its text, and with a ``json_schema`` the JSON value in it.

    ``answered_by`` is the model that the server names; ``usage`` is the original cost of the answer.
    """

    text: str
    data: Any
    answered_by: str | None
    digest: str
    cached: bool
    usage: Usage


@dataclass(frozen=True)
class Picture:
    """A picture made by a model, encoded as received; it decodes. The rest as in ``Reply``."""

    image: EncodedImage
    mime: str
    answered_by: str | None
    digest: str
    cached: bool
    usage: Usage


@dataclass(frozen=True)
class Result:
    """A page that a search engine found; title and snippet are empty if it gave none."""

    url: str
    title: str = ""
    snippet: str = ""


@dataclass(frozen=True)
class Found:
    """The results of a search, best first. The rest as in ``Reply``."""

    results: tuple[Result, ...]
    digest: str
    cached: bool
    usage: Usage


@dataclass(frozen=True)
class Unanswered:
    """Why a request has no usable answer: one of ``REASONS``, and details in one line."""

    reason: str
    detail: str
    digest: str = ""


def judge(
    record: Record, request: Request, *, cached: bool, strict_model: bool
) -> Reply | Picture | Found | Unanswered:
    """Return a recorded answer, or why it is unusable."""
    answer, named = record.answer, record.answered_by
    if isinstance(request, SearchRequest):
        results = [Result(r["link"], r.get("title", ""), r.get("snippet", "")) for r in answer["results"]]
        return Found(tuple(results), record.digest, cached, record.usage)
    if strict_model and not (same_model(record.model, named) if named else record.kind == "image"):
        return Unanswered("wrong_model", f"asked {record.model}, answered by {named or 'no name'}", record.digest)
    if isinstance(request, ImageRequest):
        try:
            data, mime = encoded({"bytes": base64.b64decode(answer["image"]), "path": None})
        except DataError as error:
            return Unanswered("not_an_image", str(error), record.digest)
        return Picture({"bytes": data, "path": None}, mime, named, record.digest, cached, record.usage)
    text = (answer["text"] or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    said = excerpt(text)
    if answer["refusal"] or answer["finish_reason"] == "content_filter":
        return Unanswered("refused", excerpt(answer["refusal"] or "") or f"content_filter: {said}", record.digest)
    if answer["finish_reason"] == "length":
        return Unanswered("truncated", f"after {record.usage.tokens_out} tokens: {said}", record.digest)
    if not text.strip():
        return Unanswered("empty", f"finish_reason {answer['finish_reason']}", record.digest)
    value = None
    if request.json_schema is not None:
        try:
            value = parse_json(text if record.form != "prompt" else json_within(text))
        except ValueError as error:
            return Unanswered("not_json", f"{error}: {said}", record.digest)
    return Reply(text, value, named, record.digest, cached, record.usage)


def same_model(asked: str, answered: str) -> bool:
    """Return whether two names mean the same model, as servers spell them.

    A path before the name (``org/name``), a provider, tag or revision that one of them lacks (``name:provider``,
    ``name@main``) and a date that the answer adds (``name-2024-07-18``, also to ``name-latest``) are ignored.
    """
    (name, _, tag), (found, _, found_tag) = (
        spelled.strip().casefold().replace("@", ":").partition(":") for spelled in (asked, answered)
    )
    name, found = name.rpartition("/")[2], found.rpartition("/")[2]
    if tag and found_tag and tag != found_tag:
        return False
    undated = name.removesuffix("-latest")
    dated = found.startswith(undated) and _DATE.fullmatch(found, len(undated)) is not None
    return found in (name, undated) or dated


def parse_json(text: str) -> Any:
    """Return the JSON value of a text, also between code fences.

    Raises:
        ValueError: there is none, or it contains NaN or a lone surrogate.
    """
    try:
        value = json.loads(_unfenced(text))
        canonical_json(value).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


def json_within(text: str) -> str:
    """Return the JSON object or list in a text, or the text if there is none.

    It is that between the only code fences, or the one at the first bracket that begins one.
    """
    fenced = text.split("```")
    if len(fenced) == 3:
        return f"```{fenced[1]}```"
    for start in sorted(text.find(bracket) for bracket in "{["):
        if start >= 0:
            try:
                _, end = json.JSONDecoder().raw_decode(text, start)
            except (ValueError, RecursionError):
                continue
            return text[start:end]
    return text


def _unfenced(text: str) -> str:
    """Return the content of the code fences around a text, or the text if it has none."""
    fenced = text.strip()
    if len(fenced) < 7 or not (fenced.startswith("```") and fenced.endswith("```")):
        return text
    inside = fenced[3:-3].removeprefix("json")
    blanks = inside[: len(inside) - len(inside.lstrip())]
    return inside[blanks.rindex("\n") + 1 :].rstrip() if "\n" in blanks else text
