"""Searching and fetching on a web of its own: what is sent, what is read, what is refused, what is paid."""

import asyncio
import gzip
import json
import pickle
import socket
import threading
import time
import tracemalloc
from collections import defaultdict
from itertools import pairwise
from types import SimpleNamespace

import httpx2
import pytest
from web_server import BAD, GOOD, INSIDE, KINDS, WebServer

from hf_mner_aug.exceptions import EndpointError, UnknownName, UsageError
from hf_mner_aug.models.endpoint import Endpoint
from hf_mner_aug.models.search import Hit, Query
from hf_mner_aug.models.search import fetching as web_module
from hf_mner_aug.models.search import web as posts
from hf_mner_aug.models.search.fetching import Web, is_public, web_settings
from hf_mner_aug.models.search.serper import Serper, build_query, page_id
from hf_mner_aug.models.search.web import Page, WebSearch, fetch_pages, fetch_pictures
from hf_mner_aug.transform import Reject
from hf_mner_aug.untrusted.bodies import UnusableBody, read_body

KEY = "serper-key-0123456789"
PARIS = Query(text="we love Paris", phrases=("Paris",), sites=("twitter.com",))


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Each test begins with no streak, and with the key in the environment."""
    monkeypatch.setenv("SERPER_API_KEY", KEY)
    posts._STREAK.clear()


@pytest.fixture
def web(tmp_path):
    return Web(delay=0, concurrency=16, timeout=2, record=str(tmp_path / "record"), allow="127.0.0.1")


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Let names mean addresses; a list is gone through, one for each time that the name is looked up."""
    known, real = {"inside.test": INSIDE, "twitter.com": "127.0.0.1"}, socket.getaddrinfo

    def look_up(host, *arguments, **more):
        name = host.decode() if isinstance(host, bytes) else host
        found = known.get(name, host)
        return real(found.pop(0) if isinstance(found, list) else found, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def quick(server, folder, **more):
    options = {"backoff_s": 0.02, "max_wait_s": 5.0, "timeout_s": 5.0, "price_search": 0.001} | more
    return Serper(
        endpoint=Endpoint(
            base_url=server.url, model="serper", key_env="SERPER_API_KEY", responses=folder, run="test", **options
        )
    )


# ---------------------------------------------------------------- searches


def test_a_search_is_asked_as_serper_wants_it(tmp_path):
    with WebServer(["rain in Paris today", "sun in Rome"], key=KEY) as server:
        serper = quick(server, tmp_path)
        (found,) = serper.find([PARIS], limit=10)
        assert server.searches == [{"q": 'we love Paris "Paris" site:twitter.com', "num": 10}]
        assert "authorization" not in server.log[0].headers
        assert server.log[0].headers["content-type"] == "application/json"
        (result,) = found.results
        assert (page_id(result.url), result.snippet, result.url) == ("0", "rain in Paris today", server.page(0))
        assert serper.endpoint.spent().usd == pytest.approx(0.001)
        (again,) = serper.find([PARIS], limit=10)
        assert (again.results, again.cached) == (found.results, True)
        assert len(server.log) == 1
        assert serper.find([Query(phrases=("Oslo",))])[0].results == ()
    everything = [repr(serper), pickle.dumps(serper).decode("latin-1")]
    everything += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert all(KEY not in text for text in everything)


def test_any_key_of_a_reply_may_be_missing(tmp_path):
    organic = [
        {"link": "https://a.com/1"},
        {"title": "no link"},
        {"link": 7},
        {"link": "https://a.com/1", "snippet": "x"},
    ]
    with WebServer(key=KEY) as server:
        server.broken, server.broken_times = (200, json.dumps({"organic": organic, "credits": 2}).encode(), {}), 1
        serper = quick(server, tmp_path)
        (found,) = serper.find([PARIS])
        assert [(r.url, r.title, r.snippet) for r in found.results] == [("https://a.com/1", "", "")]
        assert found.usage.usd == pytest.approx(0.002)
        server.broken, server.broken_times = (200, b"{}", {}), 1
        assert serper.find([Query(text="Rome")])[0].results == ()


def test_queries_of_600_words_and_of_any_entities_or_days():
    import datetime

    from hf_mner_aug.models.search.serper import query_string

    words = build_query("word " * 600, ["New York"]).split()
    assert words[:3] == ['"New', 'York"', "site:twitter.com"]
    assert len(words) == 32
    assert build_query("a", ["x y", "z"], (), require="any") == 'a ("x y" OR "z")'
    query = Query(text="rain", phrases=("Oslo",), since=datetime.date(2015, 1, 2), until=datetime.date(2016, 3, 4))
    assert query_string(query) == 'rain "Oslo" after:2015-01-02 before:2016-03-04'


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", "asks for a key: set SERPER_API_KEY"),
        ("another-key-of-length", "refuses the key in SERPER_API_KEY"),
        ("two words", "holds a space"),
    ],
)
def test_no_key_or_a_wrong_one_is_one_line(tmp_path, monkeypatch, key, expected):
    monkeypatch.setenv("SERPER_API_KEY", key)
    with WebServer(["Paris"], key=KEY) as server, pytest.raises(UsageError, match=expected) as caught:
        quick(server, tmp_path).find([PARIS])
    assert "\n" not in str(caught.value)
    assert not key or key not in str(caught.value)


def test_spent_credit_stops_and_nothing_is_paid_twice(tmp_path):
    queries = [Query(text=f"query {i}") for i in range(12)]
    with WebServer(key=KEY, credit=5) as server:
        serper = quick(server, tmp_path, max_concurrency=2)
        with pytest.raises(EndpointError, match="the credit is spent") as caught:
            serper.find(queries)
        assert caught.value.reason == "no_credit"
        assert len(server.searches) == 5
        server.credit = 100
        assert len(serper.find(queries)) == 12
        assert len(server.searches) == 12
        assert len({search["q"] for search in server.searches}) == 12


def test_a_storm_of_429_passes_or_stops_the_run(tmp_path):
    with WebServer(["Paris"], key=KEY) as server:
        server.broken, server.broken_times = (429, b'{"message": "Too many requests"}', {}), 3
        assert len(quick(server, tmp_path).find([PARIS])[0].results) == 1
        assert len(server.log) == 4
        server.broken_times = 100
        with pytest.raises(EndpointError, match="rate_limited: HTTP 429: Too many requests") as caught:
            quick(server, tmp_path, retries=3).find([Query(text="Rome")])
        assert caught.value.reason == "rate_limited"


@pytest.mark.parametrize("reply", [b"<html>Bad gateway</html>", b'{"organic": 5}', b'{"organic": [7]}', b"[]"])
def test_a_reply_that_is_not_serpers_is_asked_for_again_and_then_stops(tmp_path, reply):
    with WebServer(["Paris"], key=KEY) as server:
        server.broken, server.broken_times = (200, reply, {}), 2
        assert len(quick(server, tmp_path).find([PARIS])[0].results) == 1
        server.broken_times = 100
        with pytest.raises(EndpointError, match=r"not_json|server_error"):
            quick(server, tmp_path).find([Query(text="Rome")])


def test_a_query_that_the_engine_refuses_costs_only_itself(tmp_path, web):
    with WebServer(["Paris", "Rome"], key=KEY) as server:
        server.broken, server.broken_times = (400, b'{"message": "Query not allowed"}', {}), 1
        search = WebSearch(web=Web(**{**vars(web), "concurrency": 1}), url=server.url)
        first, second = search.find([PARIS, Query(phrases=("Rome",))])
        assert first == [Reject("search_failed", "bad_request: HTTP 400: Query not allowed")]
        assert [hit.text for hit in second] == ["Rome"]


def test_the_network_goes_away_and_comes_back(tmp_path):
    with WebServer(["Paris"], key=KEY) as server:
        port = server.port
    serper = quick(server, tmp_path, backoff_s=0.1)
    begun = time.monotonic()
    with pytest.raises(EndpointError, match="cannot reach"):
        quick(server, tmp_path, backoff_s=0.01).find([PARIS])
    assert time.monotonic() - begun < 5

    def come_back():
        time.sleep(0.3)
        opened.append(WebServer(["Paris"], key=KEY, port=port).__enter__())

    opened = []
    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        assert len(serper.find([PARIS])[0].results) == 1
    finally:
        thread.join()
        opened[0].__exit__()


def test_a_budget_stops_before_it_is_passed(tmp_path, web):
    with WebServer(["Paris"], key=KEY) as server:
        search = WebSearch(web=Web(**{**vars(web), "searches": 3, "concurrency": 1}), url=server.url, run="b")
        with pytest.raises(EndpointError, match="over_budget: 3 of 3 calls spent"):
            search.find([Query(text=f"query {i}") for i in range(5)])
        assert len(server.searches) == 3


# ---------------------------------------------------------------- pages


def test_every_kind_of_page_is_read_or_refused_with_its_reason(web, names):
    texts = [f"Café number {i} & more in “Paris” 😂" for i in range(len(KINDS))]
    with WebServer(texts) as server:
        found = fetch_pages([server.page(n) for n in range(len(texts))], web)
        urls = [url for page in found if isinstance(page, Page) for url in page.image_urls]
        pictures = dict(zip(urls, fetch_pictures(urls, web), strict=True))
        reasons = {}
        for n, page in enumerate(found):
            if isinstance(page, Page):
                kept = [pictures[url] for url in page.image_urls]
                misses = [picture.reason for picture in kept if isinstance(picture, Reject)]
                reasons[KINDS[n]] = misses[0] if misses else None if kept else "no_image"
                assert page.text == texts[n]
                assert len(kept) == (4 if KINDS[n] == "four images" else len(kept[:1]))
            else:
                reasons[KINDS[n]] = page.reason
                assert "\n" not in page.detail
        assert reasons == {**dict.fromkeys(GOOD), **BAD}
        assert server.trapped == []
        assert all("passwd" not in request.path and "admin" not in request.path for request in server.log)
        assert "/secret/status" not in "".join(server.paths())
        assert server.paths()["/robots.txt"] == 2  # one for the pages, one for the pictures
        # Of what is packed no more than the limit is unpacked, of what is endless no more is read.
        again = fetch_pages([server.page(n) for n in range(len(texts))], web)
        assert again == found


def test_who_asks_is_said(web):
    with WebServer(["Paris"]) as server:
        fetch_pages([server.page(0)], Web(**{**vars(web), "contact": "me@example.org"}))
        (agent,) = {request.headers["user-agent"] for request in server.log}
        assert agent.startswith("hf-mner-aug/")
        assert "me@example.org" in agent
        assert "Mozilla" not in agent
        assert "cookie" not in server.log[-1].headers


def test_a_name_is_looked_up_once_for_a_connection(web, names):
    with WebServer(["Paris", "Rome"]) as server:
        names["turns.test"] = ["127.0.0.1", INSIDE, INSIDE, INSIDE, INSIDE]
        urls = [f"http://turns.test:{server.port}/p/status/{n}" for n in range(2)]
        first, second = fetch_pages(urls, Web(**{**vars(web), "concurrency": 1}))
        # One connection serves all, so what the name means later is not asked.
        assert [page.text for page in (first, second)] == ["Paris", "Rome"]
        names["both.test"] = [INSIDE]
        (page,) = fetch_pages([f"http://both.test:{server.port}/p/status/0"], web)
        assert (page.reason, server.trapped) == ("forbidden_address", [])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "240.0.0.1",
    ],
)
def test_addresses_inside(address):
    assert not is_public(address)


def test_addresses_outside():
    assert all(map(is_public, ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]))


def test_only_the_webs_own_ports(web):
    (page,) = fetch_pages(["http://8.8.8.8:22/"], Web(**{**vars(web), "allow": ""}))
    assert page == Reject("forbidden_address", "http://8.8.8.8:22/: 8.8.8.8 port 22 is 8.8.8.8")


def test_no_more_is_unpacked_than_the_limit():
    async def read():
        async def stream():
            yield packed

        await read_body(stream(), httpx2.Headers({"content-encoding": "gzip"}), 1 << 20)

    packed = gzip.compress(bytes(64 << 20))
    assert len(packed) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(UnusableBody, match="too_large: more than 1048576 bytes"):
            asyncio.run(read())
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http:///x",
        "http://[::1",
        "http://127.0.0.1:99999/x",
        "javascript:alert(1)",
        "nonsense",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433:{port}/p/status/0",
        "http://0x7f.2:{port}/p/status/0",
        "http://localhost.:{trap}/",
        "http://a..b/",
        "gopher://127.0.0.1:{trap}/",
        "http://127.0.0.1:{trap}@127.0.0.2:{trap}/",
    ],
)
def test_hostile_addresses(web, url, monkeypatch):
    monkeypatch.setattr("hf_mner_aug.models.search.fetching.BACKOFF_SECONDS", 0.01)
    with WebServer(["Paris"]) as server:
        trap = server.inside.rpartition(":")[2]
        strict = Web(**{**vars(web), "allow": ""})
        (page,) = fetch_pages([url.format(port=server.port, trap=trap)], strict)
        assert page.reason in ("forbidden_address", "unreachable")
        assert (server.log, server.trapped) == ([], [])


def test_each_host_has_its_delay_and_all_together_a_limit(web, names):
    names |= {f"host{i}.test": "127.0.0.1" for i in range(3)}
    with WebServer([f"post {i}" for i in range(4)], latency=0.05) as server:
        polite = Web(**{**vars(web), "delay": 0.3, "concurrency": 2})
        urls = [f"http://host{i}.test:{server.port}/p/status/{n}" for n in range(4) for i in range(3)]
        assert all(isinstance(page, Page) for page in fetch_pages(urls, polite))
        times = defaultdict(list)
        for request in server.log:
            times[request.headers["host"]].append(request.time)
        for found in times.values():
            # What lies between sending and arriving is not the client's.
            assert len(found) == 5
            assert found[-1] - found[0] > 4 * 0.3 - 0.2
            assert min(after - before for before, after in pairwise(found)) > 0.1
        assert server.peak == 2


def test_robots_are_obeyed_with_their_delay(web, names, tmp_path, monkeypatch):
    """The clock stands still, so that each wait is the time from the first request to a host to this one."""
    reserve, pause, granted, slept = web_module._reserve, asyncio.sleep, defaultdict(list), []

    def noted(host, delay):
        granted[host].append(reserve(host, delay))
        return granted[host][-1]

    async def sleep(seconds):
        slept.append(seconds)
        await pause(0)

    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web_module, "time", SimpleNamespace(time=lambda: 1000.0))
    monkeypatch.setattr(web_module, "_reserve", noted)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    names |= {"strict.test": "127.0.0.1", "other.test": "127.0.0.1"}
    rules = "Disallow: /p/*/1\nDisallow: /*?x\nCrawl-delay: 7"
    with WebServer(["a"] * 4, robots=rules) as strict, WebServer(["a"] * 4, robots="") as other:
        urls = [f"http://strict.test:{strict.port}/p/status/{n}" for n in range(3)]
        urls += [f"http://other.test:{other.port}/p/status/{n}" for n in range(3)]
        # One request at a time: the rules of the first host are known before the second one's pages are asked for.
        pages = fetch_pages(urls, Web(**{**vars(web), "delay": 1.0, "concurrency": 1, "timeout": 60}))
        assert [getattr(page, "reason", None) for page in pages] == [None, "robots", None, None, None, None]
        assert strict.paths() == {"/robots.txt": 1, "/p/status/0": 1, "/p/status/2": 1}
    assert granted == {"strict.test": [0.0, 7.0, 14.0], "other.test": [0.0, 1.0, 2.0, 3.0]}
    assert sorted(slept) == sorted([*granted["strict.test"], *granted["other.test"]])


def test_twenty_logins_in_a_row_stop_the_run(web):
    with WebServer(["post"] * 300, kinds=("scripts only",)) as server:
        with pytest.raises(
            EndpointError, match=r"20 pages in a row show a login .* take posts from an export"
        ) as caught:
            fetch_pages([server.page(n) for n in range(300)], web)
        assert (caught.value.reason, "\n" in str(caught.value)) == ("login_wall", False)
        assert len(server.log) < 300
    with WebServer(["post"] * 60, kinds=("login",) * 19 + ("og",)) as server:
        assert len(fetch_pages([server.page(n) for n in range(60)], web)) == 60


def test_twenty_pages_that_robots_refuse_stop_the_run(web):
    """Each search that leads to them is paid."""
    with WebServer(["post"] * 300, robots="User-agent: *\nDisallow: /") as server:
        with pytest.raises(
            EndpointError, match=r"^robots\.txt refuses 20 pages in a row, the last on .*: name other sites"
        ):
            fetch_pages([server.page(n) for n in range(300)], web)
        assert server.paths() == {"/robots.txt": 1}


@pytest.fixture
def asked_over_http(monkeypatch):
    """Let robots.txt of a site be asked for at a port of this machine, and return how to set it."""
    monkeypatch.setattr(posts, "_REFUSING", {})
    return lambda server: monkeypatch.setattr(web_module, "SITE", f"http://{{}}:{server.port}/")


def searching(*sites):
    return Query(text="we love Paris", phrases=("Paris",), sites=sites)


@pytest.mark.parametrize("rules", ["Disallow: /", "Disallow: /\nUser-agent: other\nAllow: /", "x" * (600 << 10)])
def test_no_search_is_paid_where_robots_refuse_every_page(web, asked_over_http, rules):
    with WebServer(["Paris in May"], key=KEY, robots=rules) as server:
        asked_over_http(server)
        for _ in range(2):
            with pytest.raises(
                EndpointError, match=r"^robots\.txt of twitter\.com refuses .*: no search was"
            ) as caught:
                WebSearch(web=web, url=server.url).find([PARIS])
        assert caught.value.reason == "robots"
        assert (server.paths(), server.searches) == ({"/robots.txt": 1}, [])


@pytest.mark.parametrize("rules", ["Disallow: /\nAllow: /*/status/", "Disallow: /search", "Allow: /x\n" * 101])
def test_a_site_that_admits_some_pages_is_searched(web, asked_over_http, rules):
    with WebServer(["Paris in May"], key=KEY, robots=rules) as server:
        asked_over_http(server)
        assert isinstance(WebSearch(web=web, url=server.url).search(PARIS)[0], Hit)
        assert len(server.searches) == 1


def test_one_of_two_sites_that_refuses_is_said_once(web, names, asked_over_http):
    names |= {"other.test": "127.0.0.2"}  # nobody is there
    with WebServer(["Paris in May"], key=KEY, robots="Disallow: /") as server:
        asked_over_http(server)
        search = WebSearch(web=web, url=server.url)
        with pytest.warns(UserWarning, match=r"robots\.txt of twitter\.com refuses .* leave it out of sites"):
            search.find([searching("twitter.com", "other.test")])
        search.find([searching("twitter.com", "other.test"), searching("other.test", "twitter.com")])
        assert len(server.searches) == 2


def test_sites_that_do_not_answer_are_asked_once_and_within_one_timeout(web, names, asked_over_http):
    sites = [f"s{n}.test" for n in range(100)]
    names |= dict.fromkeys(sites, "127.0.0.1")
    with WebServer(["Paris in May"], key=KEY) as server, WebServer(latency=30) as slow:
        asked_over_http(slow)
        search = WebSearch(web=Web(**{**vars(web), "timeout": 0.5}), url=server.url)
        begin = time.monotonic()
        search.find([searching(*sites)])
        assert time.monotonic() - begin < 5
        asked = len(slow.log)
        search.find([searching(*sites[1:])])
        assert len(server.searches) == 2
        assert len(slow.log) == asked <= web.concurrency


def test_recorded_searches_ask_no_site(web, asked_over_http):
    with WebServer(["Paris in May"], key=KEY) as server:
        asked_over_http(server)
        found = WebSearch(web=web, url=server.url).find([PARIS])
        log = server.paths()
        posts._REFUSING.clear()
        server.robots = "Disallow: /"
        assert WebSearch(web=web, url=server.url).find([PARIS]) == found
        replayed = WebSearch(web=Web(**{**vars(web), "replay": True}), url=server.url)
        with pytest.raises(EndpointError, match="not recorded"):
            replayed.find([searching("twitter.com", "other.test")])
        assert server.paths() == log


def test_what_may_be_answered_later_is_asked_again_by_the_next_call_and_nothing_else(web):
    kinds = ("login", "og", "gone", "private")
    with WebServer(kinds, kinds=kinds) as server:
        urls = [server.page(n) for n in range(4)]
        first = fetch_pages([*urls, *urls], web)
        assert set(server.paths().values()) == {1}
        assert fetch_pages(urls, web) == first[4:] == first[:4]
        asked = server.paths()
        assert [asked[f"/p/status/{n}"] for n in range(4)] == [2, 1, 1, 1]
        server.kinds = ("og",)
        assert isinstance(fetch_pages(urls, web)[0], Page)


def test_hosts_that_are_away(web, monkeypatch):
    monkeypatch.setattr("hf_mner_aug.models.search.fetching.BACKOFF_SECONDS", 0.01)
    with WebServer(["post"] * 30) as server:
        urls = [server.page(n) for n in range(30)]
    with pytest.raises(EndpointError, match="20 pages in a row cannot be reached"):
        fetch_pages(urls, web)
    posts._STREAK.clear()
    assert [page.reason for page in fetch_pages(urls[:3], web)] == ["unreachable"] * 3
    with WebServer(["post"] * 30, kinds=GOOD, port=server.port) as server:
        assert all(isinstance(page, Page) for page in fetch_pages(urls, web))
        replayed = fetch_pages(urls, Web(**{**vars(web), "replay": True}))
        assert all(isinstance(page, Page) for page in replayed)


def test_replay_asks_nobody(web, tmp_path):
    with WebServer(["Paris in May"], key=KEY) as server:
        search = WebSearch(web=web, url=server.url)
        found = search.find([PARIS])
        assert isinstance(found[0][0], Hit)
        log = len(server.log)
        again = WebSearch(web=Web(**{**vars(web), "replay": True}), url=server.url)
        assert again.find([PARIS]) == found
        assert len(server.log) == log
        with pytest.raises(EndpointError, match="not recorded") as caught:
            again.find([Query(text="another")])
        assert caught.value.reason == "not_recorded"
        with pytest.raises(EndpointError, match=r"is not recorded .* run once without replay"):
            fetch_pages(["http://127.0.0.1/other"], again.web)


def test_replay_does_not_ask_again_for_what_another_run_would(web):
    with WebServer(["a", "b"], kinds=("login", "og")) as server:
        urls = [server.page(n) for n in range(2)]
        found = fetch_pages(urls, web)
        assert [getattr(page, "reason", None) for page in found] == ["login_wall", None]
        log = len(server.log)
        assert fetch_pages(urls, Web(**{**vars(web), "replay": True})) == found
        assert len(server.log) == log
        fetch_pages(urls, web)
        assert len(server.log) > log


def test_a_caller_in_an_event_loop_is_served(web):
    with WebServer(["Paris"]) as server:

        async def call():
            return fetch_pages([server.page(0)], web)

        assert asyncio.run(call())[0].text == "Paris"


def test_settings_of_the_environment(monkeypatch):
    monkeypatch.setenv("HF_MNER_AUG_WEB", "delay=0.5, concurrency=3,usd=2,replay=true")
    assert web_settings() == Web(delay=0.5, concurrency=3, usd=2.0, replay=True)
    assert web_settings("") == Web()
    with pytest.raises(UnknownName, match="did you mean 'delay'"):
        web_settings("delya=1")
    with pytest.raises(UsageError, match="delay='x' is not a valid float"):
        web_settings("delay=x")
    with pytest.raises(UsageError, match="delay must be at least 0"):
        web_settings("delay=-1")
