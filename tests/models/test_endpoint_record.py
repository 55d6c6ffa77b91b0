"""What an endpoint answered is recorded and replayed, and a budget holds, in other processes too."""

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import endpoint_client
import pytest
from endpoint_client import ask, asks, recorded
from endpoint_server import EndpointServer

from hf_mner_aug.exceptions import Corrupt, EndpointError, UsageError
from hf_mner_aug.models.endpoint import (
    KEY_ENV,
    Budget,
    Reply,
    Usage,
)
from hf_mner_aug.models.endpoint.budget import Account

environment, server, llm = endpoint_client.environment, endpoint_client.server, endpoint_client.llm  # fixtures

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
