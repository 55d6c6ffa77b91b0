import asyncio
import base64
import hashlib
import json
import logging
import pickle
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import endpoint_client
import pytest
from endpoint_client import KEY, ask, asks, edit, encode
from endpoint_server import EndpointServer, drawing
from PIL import Image
from places import DATA

from hf_mner_aug.exceptions import EndpointError, UsageError
from hf_mner_aug.models.endpoint import (
    KEY_ENV,
    Budget,
    find_key,
)
from hf_mner_aug.models.endpoint.protocol import parse_json, retry_after, same_model
from hf_mner_aug.untrusted import hosts

environment, server, llm = endpoint_client.environment, endpoint_client.server, endpoint_client.llm  # fixtures


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
