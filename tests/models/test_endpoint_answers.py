"""One bad answer of an endpoint is a value, and the run goes on; no body raises."""

import base64
import json
import struct
import time
import zlib
from dataclasses import replace

import endpoint_client
import pytest
from endpoint_client import ask, asks, edit, encode
from endpoint_server import drawing
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.endpoint import (
    REASONS,
    ImageRequest,
    Picture,
    Unanswered,
)
from hf_mner_aug.models.endpoint.protocol import Answer, Failure, read_answer

environment, server, llm = endpoint_client.environment, endpoint_client.server, endpoint_client.llm  # fixtures


# ---------------------------------------------------------------- what goes wrong with one answer


PAGE = b"<!DOCTYPE html><html><title>Welcome to nginx!</title></html>"
BAD_CHATS = {
    "rate_limited": ({"kind": "status", "status": 429}, "HTTP 429: status 429 as asked (tries: 4)"),
    "rate_limited, for an hour": (
        {"kind": "status", "status": 429, "headers": {"Retry-After": "3600"}},
        "(tries: 1); it asks to wait 3600 s, over max_wait_s=3",
    ),
    "server_error": ({"kind": "status", "status": 503}, "HTTP 503: status 503 as asked (tries: 4)"),
    "server_error, from a proxy": ({"kind": "status", "status": 502, "body": PAGE}, "Welcome to nginx"),
    "server_error, cut": ({"kind": "cut"}, "the connection was cut: peer closed connection without sending"),
    "server_error, of its own": ({"kind": "status", "status": 500}, "HTTP 500: status 500 as asked (tries: 3)"),
    "server_error, dropped": ({"kind": "drop"}, "the connection was cut: Server disconnected"),
    "server_error, half of it": ({"kind": "body", "body": b'{"choices": [{"mess'}, "ends after 19 bytes (tries: 3)"),
    "server_error, in a 200": ({"kind": "body", "body": b'{"error": {"message": "late", "code": 502}}'}, "502: late"),
    "bad_request": (
        {"kind": "status", "status": 400, "body": b'{"error": {"message": "Unknown parameter: seed"}}'},
        "HTTP 400: Unknown parameter: seed",
    ),
    "bad_request, as FastAPI says it": ({"kind": "status", "status": 422, "body": b'{"detail": "no"}'}, "HTTP 422: no"),
    "refused": ({"kind": "change", "change": edit(content=None, refusal="I can't help with that.")}, "I can't help"),
    "refused, by a filter": ({"kind": "change", "change": edit(finish="content_filter")}, 'content_filter: {"echo"'),
    "refused, before the model": (
        {"kind": "status", "status": 400, "body": b'{"error": {"code": "content_filter", "message": "flagged"}}'},
        "HTTP 400: flagged",
    ),
    "refused, by OpenRouter's filter": (
        {"kind": "status", "status": 403, "body": b'{"error": {"message": "x", "metadata": {"flagged_input": "t"}}}'},
        "HTTP 403: x",
    ),
    "truncated": ({"kind": "change", "change": edit(finish="length")}, 'after 3 tokens: {"echo": "tweet 1"}'),
    "empty": ({"kind": "change", "change": edit(content=" \n")}, "finish_reason stop"),
    "not_json": ({"kind": "body", "body": PAGE}, "expected JSON, found b'<!DOCTYPE html>"),
    "not_json, another shape": ({"kind": "body", "body": b'{"answer": 42}'}, "expected choices[0].message.content"),
    "not_json, text where JSON was asked": ({"kind": "change", "change": edit(content="Sure! {")}, "Sure! {"),
    "not_json, NaN": ({"kind": "change", "change": edit(content='{"score": NaN}')}, "NaN"),
    "not_json, half a surrogate pair": ({"kind": "change", "change": edit(content='{"a": "\\ud83d"}')}, "surrogates"),
    "not_json, too deep": ({"kind": "change", "change": edit(content="[" * 9**5)}, "nested too deep"),
    "wrong_model": (
        {"kind": "change", "change": edit(model="org/cheaper")},
        "asked org/model, answered by org/cheaper",
    ),
    "timeout": ({"kind": "hang", "seconds": 5}, "gave no whole answer in 0.4 s"),
    "timeout, dripping": ({"kind": "drip"}, "gave no whole answer in 0.4 s"),
    "timeout, dripping headers": ({"kind": "drip_headers"}, "gave no whole answer in 0.4 s"),
}


@pytest.mark.parametrize("case", BAD_CHATS)
def test_one_bad_answer_is_a_value_and_the_run_goes_on(server, llm, case):
    reason = case.partition(",")[0]
    fault, words = BAD_CHATS[case]
    server.fault(**fault, match="tweet 1")
    quick = replace(llm, strict_model=True, timeout_s=0.4 if reason == "timeout" else 5.0)
    begun = time.monotonic()
    first, bad, last = quick.many(asks(3, json_schema={"type": "object"}))
    assert time.monotonic() - begun < 2.5
    assert (first.data, last.data) == ({"echo": "tweet 0"}, {"echo": "tweet 2"})
    assert isinstance(bad, Unanswered)
    assert bad.reason == reason
    assert reason in REASONS
    assert words in bad.detail
    assert "\n" not in bad.detail
    # Good again, it is asked again only if no answer had come that may have been paid.
    server.faults.clear()
    calls = len(server.log)
    again = quick.many(asks(3, json_schema={"type": "object"}))[1]
    whole = fault["kind"] == "change"
    assert len(server.log) - calls == (0 if whole else 1)
    assert again == bad if whole else again.data == {"echo": "tweet 1"}


@pytest.mark.parametrize("case", [name for name in BAD_CHATS if name.startswith("server_error, ")])
def test_an_answer_that_is_lost_is_not_paid_often(server, llm, case):
    server.fault(**BAD_CHATS[case][0])
    replace(llm, retries=5).many(asks(1))
    assert len(server.log) == (6 if "proxy" in case or "200" in case else 3)


def blank_png(side):
    """Return a PNG's header that promises so many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT" * 4


BAD_PICTURES = {
    "a page": ({"kind": "body", "body": PAGE}, "expected JSON, found b'<!DOCTYPE html>"),
    "a page in base64": (PAGE, "found b'<!DOCTYPE html>"),
    "a picture cut short": (drawing("x", 1, "64x64")[:90], "cannot be decoded"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "found b'%!PS-Adobe-3.0"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "found"),
    "a little too many pixels": (blank_png(10_000), "10000x10000 pixels, over Pillow's limit of"),
    "far too many pixels": (blank_png(60_000), "exceeds limit of"),
    "a URL": ({"kind": "body", "body": b'{"data": [{"url": "http://127.0.0.1/x.png"}]}'}, "expected data[0].b64_json"),
    "no base64": ({"kind": "body", "body": b'{"data": [{"b64_json": "%%%"}]}'}, "expected data[0].b64_json"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", BAD_PICTURES)
def test_a_picture_that_is_none(server, llm, case):
    fault, words = BAD_PICTURES[case]
    if isinstance(fault, bytes):
        data = base64.b64encode(fault).decode()
        fault = {"kind": "change", "change": lambda body: body.update(data=[{"b64_json": data}])}
    server.fault(**fault, match="bad")
    good, bad = llm.many([ImageRequest(prompt=prompt, seed=1, size=(8, 8)) for prompt in ("good", "bad")])
    assert isinstance(good, Picture)
    assert bad.reason == "not_an_image"
    assert words in bad.detail
    assert (llm.usage.calls, llm.usage.retries) == (2, 0)


def test_a_request_with_a_broken_picture_is_not_sent(server, llm):
    broken = {"bytes": PAGE, "path": None}
    missing = {"bytes": None, "path": "/nowhere/x.jpg"}
    bad, gone, good = llm.many([ask("look", images=(broken,)), ask("look", images=(missing,)), ask("read")])
    assert (bad.reason, gone.reason) == ("not_an_image", "not_an_image")
    assert "in the request: expected an image" in bad.detail
    assert "the file that it names is not read" in gone.detail
    assert good.text == "echo: read"
    assert len(server.log) == 1
    with pytest.raises(UsageError, match="pictures need a user message"):
        llm.chat([{"role": "system", "content": "x"}], seed=1, images=(encode("L", "PNG"),))


def test_an_answer_without_end_is_given_up(server, llm):
    server.fault("body", body=b" " * (5 << 20))
    assert llm.many(asks(1))[0].reason == "too_large"


def test_an_answer_in_parts(server, llm):
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Paris"}]
    server.fault("change", change=edit(content=parts))
    assert llm.many(asks(1))[0].text == "Paris"


def test_half_a_surrogate_pair_does_not_come_out(server, llm):
    server.fault("change", change=edit(content="a \ud83d b"))
    reply = llm.many([ask("half \udc00 sent")])[0]
    assert reply.text == "a � b"
    assert llm.many([ask("half \udc00 sent")])[0] == replace(reply, cached=True)


FIELDS = ["error", "code", "message", "metadata", "choices", "content", "data", "b64_json", "usage", "model", "detail"]


@settings(max_examples=50)
@given(
    st.sampled_from(["chat", "image"]),
    st.sampled_from([200, 201, 301, 400, 404, 429, 500]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(FIELDS),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    ),
)
def test_no_body_raises(kind, status, body):
    outcome = read_answer(kind, status, {}, json.dumps(body).encode())
    assert isinstance(outcome, Answer | Failure)
    if isinstance(outcome, Failure):
        assert "\n" not in outcome.detail
