"""Servers that refuse ``response_format=json_schema`` are sent the schema as they take it."""

import json
import warnings

import pytest
from endpoint_server import EndpointServer, said

from hf_mner_aug.exceptions import EndpointError
from hf_mner_aug.models.endpoint import KEY_ENV, Budget, ChatRequest, Endpoint
from hf_mner_aug.models.endpoint.forms import MOST_DOUBTS, Taken
from hf_mner_aug.models.endpoint.protocol import Answer, Failure, json_within, parse_json

QUICK = {"backoff_s": 0.01, "max_wait_s": 3.0, "retries": 3, "timeout_s": 5.0, "max_concurrency": 1}
SCHEMA = {"type": "object", "properties": {"echo": {"type": "string"}}}
LLAMA_CPP = {
    "message": "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \""
    "Input should be 'text' or 'json_object'\", 'input': 'json_schema'}\n\n  File \"app.py\", line 376, in f",
    "type": "internal_server_error",
    "param": None,
    "code": None,
}
EXTRA = {"detail": [{"loc": ["body", "response_format"], "msg": "extra fields not permitted", "type": "value_error"}]}
UNSUPPORTED = {"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model"}
WORDLESS = {"message": "'messages' must contain the word 'json' to use 'response_format' of type 'json_object'"}
NO_PROVIDER = {"message": "No endpoints found that support structured outputs", "code": 404}
# By what a server takes: what it answers to the other forms.
KINDS = {
    "llama.cpp": ("json_object", 500, {"error": LLAMA_CPP}),
    "one with JSON mode": ("json_object", 400, {"error": UNSUPPORTED}),
    "one that says nothing": ("json_object", 400, {"error": {"message": "Bad Request"}}),
    "one that fails inside": ("json_object", 500, {"detail": "Internal Server Error"}),
    "a router": ("json_object", 200, {"error": NO_PROVIDER}),
    "one without the field": ("prompt", 422, EXTRA),
    "one that wants the word JSON": ("prompt", 400, {"error": WORDLESS}),
    "one that fails inside on any": ("prompt", 500, {"detail": "Internal Server Error"}),
}


def form_of(body):
    return body.get("response_format", {"type": "prompt"})["type"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_ENV, "sk-a-key-of-some-length")


@pytest.fixture
def server():
    with EndpointServer() as running:
        running.say = lambda body: json.dumps({"echo": said(body).partition("\n")[0]})
        yield running


@pytest.fixture
def llm(server, tmp_path):
    return Endpoint(base_url=server.url, model="org/model", responses=tmp_path / "responses", **QUICK)


def taking(server, *forms, status=400, body=None):
    """Let a server take some forms, and answer the others as told."""
    server.refusal = lambda asked: None if form_of(asked) in forms else (status, body or {"error": UNSUPPORTED})


def asks(n, first=0, **more):
    return [
        ChatRequest(messages=[{"role": "user", "content": f"tweet {i}"}], seed=7, json_schema=SCHEMA, **more)
        for i in range(first, first + n)
    ]


def forms_sent(server):
    return [form_of(request.body) for request in server.log]


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_sent_the_form_that_it_takes_and_it_is_remembered(server, llm, kind):
    form, status, body = KINDS[kind]
    taking(server, form, status=status, body=body)
    with pytest.warns(UserWarning, match="refuses response_format=json_schema: schemas are sent ") as told:
        replies = llm.many(asks(4))
    assert [reply.data for reply in replies] == [{"echo": f"tweet {i}"} for i in range(4)]
    assert len(told) == 1
    sent = forms_sent(server)
    assert sent[-4:] == [form] * 4
    assert set(sent[:-4]) == set(("json_schema", "json_object")[: 1 + (form == "prompt")])
    assert llm.usage.calls == len(set(sent)) + 3, "each form is a call, its repetitions are retries"
    assert llm.usage.calls + llm.usage.retries == len(sent)
    assert llm.spent().calls == llm.usage.calls
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [reply.data for reply in llm.many(asks(2, first=4))] == [{"echo": "tweet 4"}, {"echo": "tweet 5"}]
    assert forms_sent(server)[len(sent) :] == [form] * 2


def test_the_schema_goes_beside_or_into_the_prompt(server, llm):
    taking(server, "json_object")
    with pytest.warns(UserWarning, match="sent as response_format=json_object"):
        llm.many(asks(1))
    assert server.log[-1].body["response_format"] == {"type": "json_object", "schema": SCHEMA}
    assert server.log[-1].body["messages"] == [{"role": "user", "content": "tweet 0"}]
    taking(server, "prompt")
    with pytest.warns(UserWarning, match="sent in the prompt"):
        llm.many(asks(1, first=1))
    told = f"Answer with one JSON value of this schema and nothing else:\n{json.dumps(SCHEMA)}"
    assert server.log[-1].body["messages"] == [{"role": "user", "content": f"tweet 1\n\n{told}"}]
    has_it = {"role": "system", "content": f"The schema: {json.dumps(SCHEMA)}"}
    messages = [has_it, {"role": "user", "content": [{"type": "text", "text": "tweet 2"}]}]
    llm.chat(messages, seed=1, json_schema=SCHEMA)
    assert server.log[-1].body["messages"] == messages
    llm.chat(messages[1:], seed=1, json_schema=SCHEMA)
    assert server.log[-1].body["messages"][0]["content"] == [
        {"type": "text", "text": "tweet 2"},
        {"type": "text", "text": told},
    ]


def test_a_replay_needs_no_server_and_gives_the_same(server, llm, tmp_path):
    asked = llm.many(asks(1))[0]
    taking(server, "prompt")
    server.say = lambda body: 'Sure!\n```json\n{"echo": 1}\n```'
    with pytest.warns(UserWarning, match="sent in the prompt"):
        first = llm.many(asks(2))
    assert first[0] == asked.__class__(**{**vars(asked), "cached": True})
    assert first[1].data == {"echo": 1}
    count = len(server.log)
    replayed = Endpoint(base_url=server.url, model="org/model", responses=tmp_path / "responses", replay=True)
    again = replayed.many(asks(2))
    assert [(r.data, r.digest, r.text) for r in again] == [(r.data, r.digest, r.text) for r in first]
    assert len(server.log) == count
    records = [json.loads(path.read_text()) for path in (tmp_path / "responses").glob("??/*.json")]
    assert sorted(record.get("form", "") for record in records) == ["", "prompt"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_an_outage_is_no_refusal_and_bounded(server, llm, status):
    server.refusal = lambda body: (status, {"error": {"message": "the server is overloaded"}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = llm.many(asks(8))
    assert {answer.reason for answer in found} == {"rate_limited" if status == 429 else "server_error"}
    others = [form for form in forms_sent(server) if form != "json_schema"]
    assert others == ["json_object", "prompt"] * (MOST_DOUBTS if status == 500 else 0)
    server.refusal = lambda body: None
    del server.log[:]
    assert [answer.data for answer in llm.many(asks(2))] == [{"echo": "tweet 0"}, {"echo": "tweet 1"}]
    assert forms_sent(server) == ["json_schema"] * 2, "no other form was learned"


def test_a_server_that_answered_a_schema_is_not_doubted(server, llm):
    assert llm.many(asks(1))[0].data == {"echo": "tweet 0"}
    server.refusal = lambda body: (400, {"error": {"message": "this prompt is too long"}})
    assert [answer.reason for answer in llm.many(asks(5, first=1))] == ["bad_request"] * 5
    assert forms_sent(server) == ["json_schema"] * 6


def test_a_bad_request_in_each_form_is_told_as_the_first(server, llm):
    server.refusal = lambda body: (400, {"error": {"message": f"too long as {form_of(body)}"}})
    found = llm.many(asks(5))
    assert {answer.detail for answer in found} == {"HTTP 400: too long as json_schema"}
    assert forms_sent(server) == ["json_schema", "json_object", "prompt"] * MOST_DOUBTS + ["json_schema"] * 2


def test_a_budget_holds_over_forms(server, tmp_path):
    taking(server, "prompt")
    llm = Endpoint(base_url=server.url, model="m", responses=tmp_path / "r", budget=Budget(calls=2), **QUICK)
    found = llm.many(asks(2))
    assert [(answer.reason, answer.detail) for answer in found] == [("over_budget", "2 of 2 calls spent")] * 2
    assert forms_sent(server) == ["json_schema", "json_object"]
    assert llm.spent().calls == 2


def test_what_ends_a_run_ends_it_in_any_form(server, llm):
    server.refusal = lambda body: (401, {"error": {"message": "no response_format for you"}})
    with pytest.raises(EndpointError, match="refuses the key"):
        llm.many(asks(1))
    assert len(server.log) == 1


@pytest.mark.filterwarnings("ignore:host refuses")
def test_a_form_that_another_thread_found_is_tried_next():
    taken = Taken()
    refused = Failure("bad_request", "HTTP 400: no response_format", status=400)
    taken.note("prompt", Answer(None, {}, None), 2, "host")
    assert taken.form == "prompt"
    assert taken.after("json_schema", refused) == "prompt"
    taken.note("json_schema", Answer(None, {}, None), 0, "host")
    assert taken.form == "prompt", "an answer that comes late is no reason to go back"
    assert taken.after("prompt", refused) is None


def test_a_chat_without_a_schema_has_one_form(server, llm):
    server.refusal = lambda body: (500, {"error": LLAMA_CPP})
    assert llm.many([ChatRequest(messages=[{"role": "user", "content": "hi"}], seed=1)])[0].reason == "server_error"
    assert len(server.log) == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Sure, here it is:\n\n```json\n{"a": "`b`"}\n```\nHope it helps {x}', {"a": "`b`"}),
        ('The answer is {"a": {"b": "}"}}. It follows', {"a": {"b": "}"}}),
        ('[see below] {"a": 1}', {"a": 1}),
        ("{name}: [1, 2]", [1, 2]),
    ],
)
def test_json_is_found_in_a_plain_answer(text, found):
    assert parse_json(json_within(text)) == found


@pytest.mark.parametrize("text", ["no JSON", '{"a": 1', "{{}", "[" * 100_000, "```\nno\n```", "{" * 9])
def test_a_plain_answer_without_json_is_one_line(server, llm, text):
    taking(server, "prompt")
    server.say = lambda body: text
    with pytest.warns(UserWarning, match="sent in the prompt"):
        (answer,) = llm.many(asks(1))
    assert answer.reason == "not_json"
    assert "\n" not in answer.detail
    assert len(answer.detail) < 400
