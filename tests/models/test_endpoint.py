import asyncio
import base64
import hashlib
import io
import json
import logging
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from endpoint_server import EndpointServer, drawing
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import DATA

from hf_mner_aug.exceptions import Corrupt, EndpointError, UsageError
from hf_mner_aug.models.endpoint import (
    KEY_ENV,
    REASONS,
    Budget,
    ChatRequest,
    Endpoint,
    ImageRequest,
    Picture,
    Reply,
    Unanswered,
    Usage,
    find_key,
)
from hf_mner_aug.models.endpoint.budget import Account
from hf_mner_aug.models.endpoint.protocol import Answer, Failure, parse_json, read_answer, retry_after, same_model
from hf_mner_aug.untrusted import hosts

KEY = "sk-this-key-must-stand-nowhere-42"
QUICK = {"backoff_s": 0.01, "max_wait_s": 3.0, "retries": 3, "timeout_s": 5.0}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(KEY_ENV, KEY)


@pytest.fixture
def server():
    with EndpointServer() as running:
        yield running


@pytest.fixture
def llm(server, tmp_path):
    return Endpoint(base_url=server.url, model="org/model", responses=tmp_path / "responses", **QUICK)


def ask(text, **more):
    return ChatRequest(messages=[{"role": "user", "content": text}], seed=7, **more)


def asks(n, **more):
    return [ask(f"tweet {i}", **more) for i in range(n)]


def recorded(folder):
    return sorted(folder.glob("responses/??/*.json"))


# ---------------------------------------------------------------- what is sent and what comes back


def test_a_chat_is_sent_as_inference_client_sends_it(server, llm):
    from huggingface_hub import InferenceClient

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Où est Paris ? 😂"}]
    theirs = InferenceClient(base_url=server.url, api_key=KEY).chat_completion(
        messages, model="org/model", seed=7, temperature=0.5, max_tokens=64
    )
    ours = llm.chat(messages, seed=7, temperature=0.5, max_tokens=64)
    first, second = server.log
    assert second.path == first.path == "/v1/chat/completions"
    assert second.body == {name: value for name, value in first.body.items() if name != "stream"}
    assert second.headers["authorization"] == first.headers["authorization"] == f"Bearer {KEY}"
    assert ours.text == theirs.choices[0].message.content
    assert (ours.data, ours.answered_by) == (None, "org/model")
    assert (ours.usage.tokens_in, ours.usage.tokens_out) == (5, 6)
    assert theirs.usage.total_tokens == 11


def test_json_is_asked_for_by_schema(server, llm):
    schema = {"type": "object", "properties": {"echo": {"type": "string"}}}
    reply = llm.many([ask("two words", json_schema=schema)])[0]
    assert reply.data == {"echo": "two words"}
    assert server.log[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }


def test_the_seed_is_sent_as_31_bits_and_told_apart_as_a_whole(server, llm):
    replies = [llm.chat([{"role": "user", "content": "hi"}], seed=seed) for seed in (3, 3 + 2**31, 3 + 2**40)]
    assert [request.body["seed"] for request in server.log] == [3, 3, 3]
    assert len({reply.digest for reply in replies}) == 3


def test_the_digest_is_of_the_request_as_canonical_json(llm):
    asked = (
        '{"body":{"messages":[{"content":"hi","role":"user"}],"temperature":0.5},'
        '"kind":"chat","model":"org/model","seed":7}'
    )
    reply = llm.many([ask("hi", temperature=0.5)])[0]
    assert reply.digest == hashlib.sha256(asked.encode()).hexdigest()


def test_fields_that_a_server_refuses_are_left_out(server, llm):
    quiet = replace(llm, omit=("seed", "max_tokens", "response_format", "n"))
    quiet.many([ask("hi", max_tokens=5)])
    assert server.log[0].body == {"model": "org/model", "messages": [{"role": "user", "content": "hi"}]}
    first, other = (quiet.image("a dog", seed=seed, size=(8, 8)) for seed in (1, 2))
    assert set(server.log[1].body) == {"model", "prompt", "size"}
    assert first.digest != other.digest


def encode(mode, kind, **options):
    buffer = io.BytesIO()
    Image.effect_noise((9, 7), 80).convert(mode).save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def test_pictures_go_as_their_own_bytes(server, llm):
    jpeg, png = encode("RGB", "JPEG"), encode("RGBA", "PNG")
    several = encode("RGB", "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    llm.many([ask("what is this", images=(jpeg, png | {"path": "x.jpg"}, several))])  # a PNG by another name
    text, *parts = server.log[0].body["messages"][-1]["content"]
    assert text == {"type": "text", "text": "what is this"}
    assert len(parts) == 3
    for part, image, mime in zip(parts, (jpeg, png, several), ("image/jpeg", "image/png", "image/jpeg"), strict=True):
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == f"data:{mime};base64"
        assert base64.b64decode(data) == image["bytes"]


def test_real_tweets_with_their_pictures(server, llm):
    folder = DATA / "tweets_with_images"
    if not folder.is_dir():
        pytest.skip(f"no real data in {DATA} ($MNER_DATA)")
    images = {path.name: path for path in sorted((folder / "images").glob("*.jpg"))}
    requests = [
        ask(f"describe {name}", images=({"bytes": path.read_bytes(), "path": name},)) for name, path in images.items()
    ]
    replies = llm.many(requests)
    assert [reply.text for reply in replies] == [f"echo: describe {name}" for name in images]
    assert len(server.log) == len(images) == 36
    mimes = []
    for request in server.log:
        text, picture = request.body["messages"][0]["content"]
        head, _, data = picture["image_url"]["url"].partition(",")
        assert base64.b64decode(data) == images[text["text"].removeprefix("describe ")].read_bytes()
        mimes.append(head)
    assert mimes.count("data:image/png;base64") == 4
    assert mimes.count("data:image/jpeg;base64") == 32


def test_pictures_are_made_and_edited(server, llm):
    made = llm.image("a red dog", seed=5, size=(40, 30))
    assert server.log[0].path == "/v1/images/generations"
    assert server.log[0].body["response_format"] == "b64_json"
    assert made.image["bytes"] == drawing("a red dog", 5, "40x30")
    assert (made.mime, made.answered_by) == ("image/png", None)
    jpeg = encode("RGB", "JPEG")
    edited = llm.image("bluer", seed=5, image=jpeg)
    assert llm.image("half \ud83d", seed=5, image=jpeg).mime == "image/jpeg"
    assert server.log[1].path == "/v1/images/edits"
    assert b'name="prompt"\r\n\r\nbluer\r\n' in server.log[1].raw
    assert b'name="model"\r\n\r\norg/model\r\n' in server.log[1].raw
    assert (edited.image["bytes"], edited.mime) == (jpeg["bytes"], "image/jpeg")
    again = llm.image("bluer", seed=5, image=encode("RGB", "JPEG"))
    assert again.digest != edited.digest


def test_tokens_and_dollars(server, llm):
    def heavy(body):
        body["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500}

    server.fault("change", change=heavy, match="tweet")
    priced = replace(llm, price_in=2.0, price_out=8.0, price_image=0.04)
    replies = priced.many(asks(3))
    # 1,000 x 2 / 10^6 + 500 x 8 / 10^6 = 0.006 each
    assert [reply.usage.usd for reply in replies] == pytest.approx([0.006] * 3)
    assert priced.image("a dog", seed=1, size=(8, 8)).usage.usd == pytest.approx(0.04)
    used = priced.usage
    assert (used.calls, used.cached, used.retries, used.tokens_in, used.tokens_out) == (4, 0, 0, 3000, 1500)
    assert used.usd == pytest.approx(3 * 0.006 + 0.04)
    assert priced.spent() == used
    assert 0 < used.seconds < 10


# ---------------------------------------------------------------- order, concurrency, the same thing at once


def test_many_keeps_the_order_and_the_limit(server, llm):
    for i in range(12):
        server.fault("delay", match=rf"tweet {i}\"", seconds=0.1 + 0.03 * (i % 3))
    replies = replace(llm, max_concurrency=3).many(asks(12))
    assert [reply.text for reply in replies] == [f"echo: tweet {i}" for i in range(12)]
    assert server.peak == 3
    assert llm.many([]) == []


def test_the_limit_holds_over_threads(server, llm):
    server.fault("delay", seconds=0.05)
    two = replace(llm, max_concurrency=2)
    threads = [threading.Thread(target=two.many, args=([ask(f"{i} {j}") for j in range(3)],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (server.peak, len(server.log)) == (2, 12)


def test_two_threads_that_ask_the_same_call_once(server, llm):
    server.fault("delay", seconds=0.2)
    replies = llm.many([ask("the same")] * 4)
    assert len(server.log) == 1
    assert {reply.text for reply in replies} == {"echo: the same"}
    assert sorted(reply.cached for reply in replies) == [False, True, True, True]
    assert (llm.usage.calls, llm.usage.cached) == (1, 3)


def test_it_works_inside_an_event_loop(llm):
    async def notebook():
        return llm.chat([{"role": "user", "content": "hi"}], seed=1)

    assert asyncio.run(notebook()).text == "echo: hi"
    left = [thread.name for thread in threading.enumerate()]
    assert not [name for name in left if "ThreadPoolExecutor" in name or "run_forever" in name]


def test_it_pickles_and_hashes_the_same_after_use(llm):
    from datasets.fingerprint import Hasher

    before = Hasher.hash(llm)
    llm.many(asks(2))
    assert Hasher.hash(llm) == before
    assert pickle.loads(pickle.dumps(llm)) == llm
    assert pickle.loads(pickle.dumps(llm)).usage.calls == 2


# ---------------------------------------------------------------- what goes wrong with one answer


def edit(**values):
    """Return an edit of a right chat: the model, the finish reason, the message."""

    def change(body):
        body["choices"][0]["finish_reason"] = values.get("finish", "stop")
        body["choices"][0]["message"].update({k: v for k, v in values.items() if k in ("content", "refusal")})
        body["model"] = values.get("model", body["model"])

    return change


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


# ---------------------------------------------------------------- trying again


def test_a_busy_server_is_asked_again(server, llm):
    server.fault("status", status=429, times=2)
    server.fault("status", status=503, times=1)
    server.fault("cut", times=1)
    state = random.getstate()
    reply = replace(llm, retries=4).many(asks(1))[0]
    assert random.getstate() == state
    assert reply.text == "echo: tweet 0"
    assert len(server.log) == 5
    assert (reply.usage.retries, llm.spent().retries) == (4, 4)
    assert llm.spent().calls == 1


def test_the_server_says_how_long_to_wait(server, llm):
    server.fault("status", status=429, headers={"Retry-After": "1"}, times=1)
    begun = time.monotonic()
    assert llm.many(asks(1))[0].text == "echo: tweet 0"
    assert 1 <= time.monotonic() - begun < 2


def test_waiting_is_bounded(server, llm):
    server.fault("status", status=503)
    begun = time.monotonic()
    bad = replace(llm, retries=1000, backoff_s=0.1, max_wait_s=0.5).many(asks(1))[0]
    assert bad.reason == "server_error"
    assert 0.1 < time.monotonic() - begun < 1
    assert 3 <= len(server.log) <= 6  # 0.05-0.1, 0.1-0.2, 0.2-0.4 s apart


def test_retry_after_is_a_number_or_a_date():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 58 < retry_after({"retry-after": in_a_minute}) <= 60
    cases = {"7": 7.0, "1.5": 1.5, "-3": 0.0, "soon": 0.0, "": 0.0, "inf": 0.0, "nan": 0.0}
    assert {value: retry_after({"retry-after": value}) for value in cases} == cases
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


# ---------------------------------------------------------------- what stops a run


STOPS = {
    "wrong_key": ({"status": 401}, f"refuses the key in {KEY_ENV}: set {KEY_ENV} to a valid key for org/model"),
    "wrong_key, without rights": ({"status": 403}, "refuses the key"),
    "no_credit": ({"status": 402}, "says that the credit is spent: add credit; answers so far are kept"),
    "no_credit, as OpenAI says it": (
        {"status": 429, "body": b'{"error": {"message": "quota", "type": "insufficient_quota", "code": null}}'},
        "HTTP 429: quota",
    ),
    "unknown_model": ({"status": 404}, "does not know org/model"),
    "unknown_model, as the Hub's router says it": (
        {"status": 400, "body": b'{"error": {"message": "no provider", "code": "model_not_supported"}}'},
        "HTTP 400: no provider",
    ),
    "wrong_address": ({"status": 307, "headers": {"Location": "https://example.org/v1"}}, "https://example.org/v1"),
}


@pytest.mark.parametrize("case", STOPS)
def test_what_no_request_can_mend_stops_the_run(server, llm, case):
    fault, words = STOPS[case]
    server.fault("status", match="tweet 2", **fault)
    one = replace(llm, max_concurrency=1)
    with pytest.raises(EndpointError) as stopped:
        one.many(asks(6))
    assert stopped.value.reason == case.partition(",")[0]
    assert words in str(stopped.value)
    assert "\n" not in str(stopped.value)
    sent = len(server.log)
    assert sent in (3, 4)  # the next may have been under way
    # Mended, the run goes on where it was: no tweet is paid twice.
    server.faults.clear()
    assert [reply.text for reply in one.many(asks(6))] == [f"echo: tweet {i}" for i in range(6)]
    assert [server.texts().count(f"tweet {i}") for i in range(6)] == [1, 1, 2, 1, 1, 1]


def test_a_run_that_waits_stops_at_once(server, llm):
    server.fault("status", match="tweet 0", status=429, headers={"Retry-After": "30"})
    server.fault("delay", match="tweet 1", seconds=0.2, times=1)
    server.fault("status", match="tweet 2", status=401)
    begun = time.monotonic()
    with pytest.raises(EndpointError, match="refuses the key"):
        replace(llm, max_wait_s=60.0, max_concurrency=2).many(asks(3))
    assert time.monotonic() - begun < 3


def test_one_that_was_stopped_does_not_stop_another_that_asks_the_same(server, llm):
    server.fault("status", match="same", status=429, headers={"Retry-After": "30"}, times=1)
    server.fault("delay", match="good", seconds=0.3, times=1)
    server.fault("status", match="stop", status=401)
    patient = replace(llm, max_wait_s=60.0)
    failed = []

    def first():
        with pytest.raises(EndpointError) as error:
            replace(patient, max_concurrency=2).many([ask("same"), ask("good"), ask("stop")])
        failed.append(error.value.reason)

    thread = threading.Thread(target=first)
    thread.start()
    while not any(text == "same" for text in server.texts()):
        time.sleep(0.01)
    assert patient.many([ask("same")])[0].text == "echo: same"
    thread.join()
    assert failed == ["wrong_key"]
    assert server.texts().count("same") == 2


def test_no_key_is_told_apart_from_a_wrong_one(llm, tmp_path, monkeypatch):
    with EndpointServer(key="the-right-one", allowed=(KEY_ENV, "OTHER")) as server:
        guarded = replace(llm, base_url=server.url)
        with pytest.raises(EndpointError, match=rf"refuses the key in {KEY_ENV}") as wrong:
            guarded.many(asks(2))
        assert KEY not in str(wrong.value)
        assert "Incorrect API key provided: [key]" in str(wrong.value)
        monkeypatch.delenv(KEY_ENV)
        with pytest.raises(EndpointError, match=f"asks for a key: set {KEY_ENV};"):
            guarded.many(asks(2))
        assert "authorization" not in server.log[-1].headers
        monkeypatch.setenv(KEY_ENV, "the-right-one\n")
        assert guarded.many(asks(1))[0].text == "echo: tweet 0"
        monkeypatch.setenv("OTHER", "the-right-one")
        monkeypatch.setenv(KEY_ENV, "")
        assert replace(guarded, key_env="OTHER").many([ask("other")])[0].text == "echo: other"


def test_credit_that_ends_in_the_middle(llm):
    with EndpointServer(credit=5) as server:
        short = replace(llm, base_url=server.url, max_concurrency=2)
        with pytest.raises(EndpointError, match="credit is spent"):
            short.many(asks(10))
        server.credit = 100
        assert [reply.text for reply in short.many(asks(10))] == [f"echo: tweet {i}" for i in range(10)]
        assert 100 - server.credit == 5  # five were on record


def test_a_model_that_the_server_lacks(llm):
    with EndpointServer(models=("other",)) as server:
        with pytest.raises(EndpointError, match=r"does not know org/model under http://127\.0\.0\.1") as stopped:
            replace(llm, base_url=server.url).many(asks(1))
        assert "The model `org/model` does not exist" in str(stopped.value)


def test_a_server_that_is_not_there_is_waited_for_and_stops_the_run(server, llm):
    hosts.allow("http://127.0.0.1:1", KEY_ENV)
    nobody = replace(llm, base_url="http://127.0.0.1:1/v1", retries=50)
    with pytest.raises(EndpointError, match=r"cannot reach 127\.0\.0\.1:1: .*tries: 5") as stopped:
        nobody.many(asks(3))
    assert stopped.value.reason == "unreachable"
    assert pickle.loads(pickle.dumps(stopped.value)).reason == "unreachable"


def test_offline_is_said(llm, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EndpointError, match="HF_HUB_OFFLINE is set: unset it"):
        llm.many(asks(1))


# ---------------------------------------------------------------- the key


def test_the_key_stands_nowhere(llm, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with EndpointServer() as server:
        chatty = replace(llm, base_url=server.url, run="run-1", budget=Budget(calls=100))
        server.fault("change", match="tweet 0", change=edit(content=f"your key is {KEY}, friend", model=f"m-{KEY}"))
        server.fault("status", match="tweet 1", status=400, body=f"<p>{'x' * 170}{KEY}</p>".encode())
        server.fault("status", match="tweet 2", status=500, body=json.dumps({"error": f"key {KEY}"}).encode())
        server.fault("body", match="tweet 3", body=f"<html>{KEY}</html>".encode())
        server.fault("body", match="tweet 4", body=json.dumps({"choices": KEY}).encode())
        results = chatty.many(asks(6))
        assert results[0].text == "your key is [key], friend"
        server.fault("status", match="tweet 6", status=401, body=f'{{"error": "\\u0073{KEY[1:]} is wrong"}}'.encode())
        with pytest.raises(EndpointError) as stopped:
            chatty.many([ask("tweet 6")])
    said = "".join(map(repr, [chatty, results, stopped.value, chatty.usage, pickle.dumps(chatty)]))
    out = capfd.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for text in (said, caplog.text, out.out, out.err, *(path.read_text() for path in files)):
        assert KEY not in text
        assert KEY[:20] not in text


def test_the_hubs_token_goes_to_hugging_face_only(monkeypatch):
    monkeypatch.delenv(KEY_ENV)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for url in ("https://router.huggingface.co/v1", "https://huggingface.co/api"):
        assert find_key(url) == ("hf_secret", "HF_TOKEN")
    for url in (
        "http://router.huggingface.co/v1",
        "https://evilhuggingface.co/v1",
        "https://huggingface.co.evil.org/v1",
        "https://api.openai.com/v1",
        "http://127.0.0.1:8000",
    ):
        assert find_key(url) == ("", KEY_ENV)
    monkeypatch.setenv(KEY_ENV, "mine")
    assert find_key("https://router.huggingface.co/v1") == ("mine", KEY_ENV)


def test_a_key_that_cannot_be_sent_is_not_shown(llm, monkeypatch):
    for key in ("sk-one\nsk-two", "sk-ключ", "sk one"):
        monkeypatch.setenv(KEY_ENV, key)
        with pytest.raises(UsageError, match="holds a space or an invalid character") as error:
            llm.many(asks(1))
        assert "sk" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "localhost:8000"}, "base_url must be"),
        ({"base_url": "http://user:secret@host/v1"}, "base_url must be"),
        ({"base_url": "https://host/v1?api_key=secret"}, "base_url must be"),
        ({"base_url": "http://host:99999/v1"}, "base_url must be"),
        ({"key_env": "sk-secret"}, "key_env must be the name"),
        ({"key_env": "hf_secret"}, "key_env must be the name"),
        ({"model": ""}, "model must not be empty"),
        ({"timeout_s": 0}, "timeout_s must be more than 0, found 0"),
        ({"max_concurrency": 0}, "max_concurrency must be more than 0"),
        ({"retries": -1}, "retries must be at least 0, found -1"),
        ({"price_in": float("nan")}, "price_in must be at least 0, found nan"),
        ({"run": "../x"}, "run must be letters"),
        ({"budget": Budget(calls=3), "responses": None}, "a budget is counted per run"),
    ],
)
def test_settings_are_checked(llm, settings, words):
    with pytest.raises(UsageError, match=words) as error:
        replace(llm, **settings)
    assert "secret" not in str(error.value)


# ---------------------------------------------------------------- the record


SCRIPT = """
import sys
from pathlib import Path
from hf_mner_aug.models.endpoint import Budget, ChatRequest, Endpoint, Reply
url, folder, first, last, calls = sys.argv[1:]
budget = Budget(calls=int(calls)) if calls else Budget()
llm = Endpoint(base_url=url, model="org/model", responses=Path(folder), max_concurrency=1, budget=budget)
requests = [
    ChatRequest(messages=[{"role": "user", "content": f"tweet {i}"}], seed=7) for i in range(int(first), int(last))
]
replies = llm.many(requests)
said = [reply.text if isinstance(reply, Reply) else reply.reason for reply in replies]
print(said, llm.usage.calls, llm.usage.cached)
"""


def another_process(server, llm, first, last, calls="", **options):
    arguments = [server.url, str(llm.responses), str(first), str(last), str(calls)]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_the_same_again_in_another_process_is_free(server, llm):
    first = llm.many(asks(2))
    elsewhere = another_process(server, llm, 0, 3)
    out, err = elsewhere.communicate(timeout=30)
    assert out.strip() == "['echo: tweet 0', 'echo: tweet 1', 'echo: tweet 2'] 1 2", err
    assert len(server.log) == 3
    again = llm.many(asks(3))
    assert again[:2] == [replace(reply, cached=True) for reply in first]
    assert llm.spent().calls == 3
    assert llm.usage == replace(llm.usage, calls=2, cached=3)


def test_killed_in_the_middle_nothing_that_was_recorded_is_asked_again(server, llm, tmp_path):
    server.fault("delay", seconds=0.05)
    killed = another_process(server, llm, 0, 12)
    deadline = time.monotonic() + 20
    while len(recorded(tmp_path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)
    done = len(recorded(tmp_path))
    assert 4 <= done < 12
    time.sleep(0.1)  # what was under way ends
    server.faults.clear()
    sent = len(server.log)
    assert sent - done in (0, 1)
    assert [reply.text for reply in llm.many(asks(12))] == [f"echo: tweet {i}" for i in range(12)]
    assert len(server.log) - sent == llm.usage.calls == 12 - done
    assert llm.usage.cached == done
    assert llm.spent().calls - len(server.log) in (0, 1)  # counted before it is sent


def test_a_request_is_known_by_what_is_asked_and_of_whom(server, llm, monkeypatch):
    base = llm.many([ask("hi", temperature=0.5)])[0]
    monkeypatch.setenv(KEY_ENV, "another-key")
    with EndpointServer() as other:
        moved = replace(llm, base_url=other.url, timeout_s=9.0)
        assert moved.many([ask("hi", temperature=0.5)])[0] == replace(base, cached=True)
        assert other.log == []
    others = [ask("ho", temperature=0.5), ask("hi", temperature=0.6), replace(ask("hi", temperature=0.5), seed=8)]
    digests = {reply.digest for reply in llm.many(others)}
    digests.add(replace(llm, model="org/other").many([ask("hi", temperature=0.5)])[0].digest)
    digests.add(replace(llm, model="tiny:8b").many([ask("hi", temperature=0.5)])[0].digest)
    digests.add(replace(llm, model="tiny:70b").many([ask("hi", temperature=0.5)])[0].digest)
    assert len(digests - {base.digest}) == 6


def test_replay_never_calls(server, llm, monkeypatch):
    made = llm.many([*asks(3), ask("cut", max_tokens=1)])
    picture = llm.image("a dog", seed=3, size=(8, 8))
    calls = len(server.log)
    monkeypatch.delenv(KEY_ENV)
    tape = replace(llm, replay=True, base_url="http://127.0.0.1:1/v1")
    assert tape.many([*asks(3), ask("cut", max_tokens=1)]) == [replace(reply, cached=True) for reply in made]
    assert tape.image("a dog", seed=3, size=(8, 8)) == replace(picture, cached=True)
    with pytest.raises(EndpointError, match=r"chat request [0-9a-f]{64} to org/model is not recorded") as missing:
        tape.many([ask("new")])
    assert missing.value.reason == "not_recorded"
    assert llm.many([ask("new")])[0].digest in str(missing.value)
    assert len(server.log) == calls + 1
    assert (tape.usage.calls, tape.usage.cached) == (0, 5)


def test_a_record_says_what_came_and_a_damaged_one_is_refused(server, llm, tmp_path):
    reply = llm.many([ask("hi")])[0]
    (path,) = recorded(tmp_path)
    assert path.stem == reply.digest
    found = json.loads(path.read_text())
    assert found["answered_by"] == found["model"] == "org/model"
    assert found["answer"] == {"text": "echo: hi", "refusal": None, "finish_reason": "stop"}
    assert (found["usage"]["tokens_in"], found["usage"]["tokens_out"]) == (1, 2)
    for damage in ("{", "[]", path.read_text().replace(reply.digest, "0" * 64), '{"digest": 1}'):
        path.write_text(damage)
        with pytest.raises(Corrupt, match=f"{reply.digest}.json: .*: delete it and run again"):
            llm.many([ask("hi")])
    path.unlink()
    assert llm.many([ask("hi")])[0].text == "echo: hi"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_stops_and_the_run_goes_on(server, llm, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("hf_mner_aug.storage.artifacts.write_atomically", full)
        with pytest.raises(OSError, match="No space left"):
            llm.many(asks(2))
    assert [reply.text for reply in llm.many(asks(2))] == ["echo: tweet 0", "echo: tweet 1"]


# ---------------------------------------------------------------- the budget


@pytest.mark.parametrize("limit", [Budget(calls=3), Budget(tokens=15), Budget(usd=15e-6)])
def test_a_budget_stops_cleanly(server, llm, limit):
    # "tweet i" is 2 tokens in, "echo: tweet i" 3 tokens out: 5 tokens, and 5 millionths of a dollar here.
    tight = replace(llm, budget=limit, max_concurrency=1, price_in=1.0, price_out=1.0)
    replies = tight.many(asks(5))
    assert [isinstance(reply, Reply) for reply in replies] == [True, True, True, False, False]
    assert {reply.reason for reply in replies[3:]} == {"over_budget"}
    assert len(server.log) == 3
    assert (tight.usage.calls, tight.usage.over_budget) == (3, 2)
    # What is on record costs nothing; more budget goes on.
    assert [reply.cached for reply in tight.many(asks(3))] == [True] * 3
    said = {"calls": "3 of 3 calls spent", "tokens": "15 of 15 tokens spent", "usd": "1.5e-05 of 1.5e-05 usd spent"}
    assert replies[3].detail == next(said[name] for name in said if getattr(limit, name))
    more = replace(tight, budget=Budget())
    assert all(isinstance(reply, Reply) for reply in more.many(asks(5)))
    assert len(server.log) == 5


def test_a_budget_counts_what_a_killed_run_spent_and_what_others_spend(server, llm):
    first = another_process(server, llm, 0, 4)
    assert first.communicate(timeout=30)[0].startswith("['echo: tweet 0'")
    both = [another_process(server, llm, n, n + 8, calls=9) for n in (10, 20)]
    said = [process.communicate(timeout=30) for process in both]
    assert len(server.log) == 9, said
    assert sum(out.count("over_budget") for out, _ in said) == 11
    rest = replace(llm, budget=Budget(calls=9)).many([ask("more")])[0]
    assert (rest.reason, rest.detail) == ("over_budget", "9 of 9 calls spent")
    other = replace(llm, budget=Budget(calls=9), run="another").many([ask("more")])[0]
    assert other.text == "echo: more"


def test_calls_under_way_may_pass_a_budget_in_tokens_and_no_more(server, llm):
    server.fault("delay", seconds=0.1)
    tight = replace(llm, budget=Budget(tokens=1), max_concurrency=3)
    replies = tight.many(asks(9))
    assert sum(isinstance(reply, Reply) for reply in replies) == len(server.log) == 3


def test_a_budget_needs_prices_and_counts(server, llm):
    with pytest.raises(UsageError, match="a budget in usd needs price_in and price_out of org/model"):
        replace(llm, budget=Budget(usd=1)).many(asks(1))
    with pytest.raises(UsageError, match="needs price_image"):
        replace(llm, budget=Budget(usd=1), price_in=1, price_out=1).image("x", seed=1)
    assert server.log == []
    for usage in (None, {"prompt_tokens": -(10**9), "completion_tokens": 1}, {"prompt_tokens": True}, "lots"):
        server.fault("change", change=lambda body, usage=usage: body.update(usage=usage), times=1)
        with pytest.raises(EndpointError, match="does not count tokens") as stopped:
            replace(llm, budget=Budget(tokens=10**6)).many([ask(f"{usage}")])
        assert stopped.value.reason == "no_usage"
    # It was answered all the same, and is on record.
    assert llm.many([ask("None")])[0].cached
    for values in ({"usd": -1}, {"usd": float("nan")}, {"calls": -1}):
        with pytest.raises(UsageError, match="must be at least 0"):
            Budget(**values)


def test_many_who_claim_at_once_get_no_more_than_there_is(tmp_path):
    for attempt in range(5):
        accounts = [Account(tmp_path / str(attempt) / "run.jsonl") for _ in range(8)]  # as in as many processes
        ready = threading.Barrier(8)
        refused = []

        def claim(account, ready=ready, refused=refused):
            ready.wait()
            refused.append(account.claim(Budget(calls=4)))

        threads = [threading.Thread(target=claim, args=(account,)) for account in accounts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(refused) == [""] * 4 + ["4 of 4 calls spent"] * 4


def test_a_torn_line_costs_one_line(tmp_path):
    account = Account(tmp_path / "spent" / "run.jsonl")
    account.add(Usage(calls=1, usd=0.5))
    with account.path.open("ab") as file:
        file.write(b'{"calls": 1, "us')
    again = Account(account.path)
    assert again.spent() == Usage(calls=1, usd=0.5)
    again.add(Usage(calls=2))
    assert again.spent() == account.spent() == Usage(calls=3, usd=0.5)
    assert Account(account.path).claim(Budget(calls=3)) == "3 of 3 calls spent"
    assert Account(account.path).claim(Budget(usd=0.6)) == ""


# ---------------------------------------------------------------- small parts


def test_names_of_one_model():
    same = [
        ("org/name", "name"),
        ("name", "org/name"),
        ("Qwen/Qwen3-8B", "qwen/qwen3-8b"),
        ("org/name:together", "org/name"),
        ("llama3", "llama3:latest"),
        ("org/name", "/models/org/name@main"),
        ("claude-x", "claude-x@20240620"),
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("claude-x", "claude-x-20250219"),
        ("gpt-4", "gpt-4-0613"),
        ("mistral-small-latest", "mistral-small-2506"),
        ("mistral-small-latest", "mistral-small-latest"),
        ("name", "/models/org/name"),
    ]
    other = [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o-mini", "gpt-4o"),
        ("llama3:8b", "llama3:70b"),
        ("name@v1", "name@v2"),
        ("qwen-7", "qwen-72"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("name", ""),
        ("org/name", "org/"),
    ]
    assert [pair for pair in same if not same_model(*pair)] == []
    assert [pair for pair in other if same_model(*pair)] == []


def test_json_between_fences():
    assert parse_json('```json\n{"a": [1]}\n```\n') == parse_json(' {"a": [1]}') == {"a": [1]}
    for text in ("", "```json\n```", 'Sure: {"a": 1}', "[" * 10**5, "[Infinity]"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_importing_it_is_light():
    heavy = ["datasets", "numpy", "torch", "PIL", "httpx2", "huggingface_hub", "pandas"]
    code = f"import sys, hf_mner_aug.models.endpoint; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
