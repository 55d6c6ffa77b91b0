"""One client for OpenAI-compatible chat, vision and image endpoints, and for a search engine's (``serper``).

    hosts.allow("http://127.0.0.1:8000")
    llm = Endpoint(base_url="http://127.0.0.1:8000/v1", model="Qwen/Qwen3-8B", run="try-1", budget=Budget(calls=500))
    for reply in llm.many(ChatRequest(messages=[{"role": "user", "content": text}], seed=7) for text in texts):
        print(reply.text if isinstance(reply, Reply) else reply.reason)

Nothing is sent to a host that is not allowed for the key (``hosts``). A redirect is not followed.

An answer is recorded under the digest of its request before anyone sees it. The same request again, also after a kill,
in another process or with ``replay``, is answered from the record. An unusable answer is recorded as well, since it was
paid for: delete the file named by its digest to ask again. A server that refuses a JSON schema is sent it in another
form (``forms``); the digest stays that of the request. Threads that send the same request at once share one call;
processes do not.

Requests go through the asynchronous session of ``huggingface_hub``. Its ``InferenceClient`` posts the same chats, but a
server that sends slowly can block it forever, it has no route for pictures, and only TGI reads its form of a schema.
"""

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, overload
from urllib.parse import urlsplit

from hf_mner_aug.exceptions import DataError, EndpointError, UsageError
from hf_mner_aug.models.endpoint.budget import NO_LIMIT, Account, Budget, Usage
from hf_mner_aug.models.endpoint.connection import KEY_ENV, Connection, find_key, host_of
from hf_mner_aug.models.endpoint.forms import REFUSING, has_schema, in_form, is_refusal, taken_by
from hf_mner_aug.models.endpoint.protocol import (
    REASONS,
    Answer,
    Call,
    ChatRequest,
    Failure,
    Found,
    ImageRequest,
    Picture,
    Reply,
    Request,
    SearchRequest,
    Unanswered,
    judge,
    read_answer,
    to_call,
)
from hf_mner_aug.models.endpoint.responses import FORMS, Form, Record, read_record, record_path, write_record
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.bodies import ENCODINGS, UnusableBody, read_body
from hf_mner_aug.untrusted.hosts import origin_of, require_allowed
from hf_mner_aug.untrusted.printable import excerpt
from hf_mner_aug.values import Amount, Count, Range, check_ranges

if TYPE_CHECKING:
    import httpx2

__all__ = ["REASONS", "Budget", "ChatRequest", "Endpoint", "ImageRequest", "Picture", "Reply", "Unanswered", "Usage"]

Price = Annotated[float | None, Range(0)]
# Bytes of an answer, and the JSON values in it: they limit the time of parsing to a fraction of a second.
MAX_BODY = {"chat": 4 << 20, "image": 64 << 20, "search": 4 << 20}
MAX_VALUES = 200_000
# The most retries if waiting may not help (see Failure).
LIMITS = {"retry_twice": 2, "retry_connect": 4}
MAX_DELAY = 30.0  # seconds between two tries, unless the server asks for more
CONNECT_SECONDS = 10.0

T = TypeVar("T")
_JITTER = random.SystemRandom()  # leaves the global generator alone


@dataclass
class _State:
    """The state that equal endpoints share in a process: kept outside them, so that they can be pickled and hashed."""

    slots: threading.Semaphore
    account: Account
    usage: Usage = field(default_factory=Usage)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, usage: Usage) -> None:
        with self.lock:
            self.usage += usage


_Found = tuple[Record, bool] | Unanswered  # an answer and whether it was on record
_LOCK = threading.Lock()
_STATES: dict[tuple["Endpoint", Path], _State] = {}
_FLIGHTS: dict[Path, "Future[_Found]"] = {}  # running requests, by the path of their record


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind an OpenAI-compatible API.

    Args:
        base_url: the address up to the version, as the ``openai`` package takes it; a bare host gets ``/v1``.
        model: the name that the server knows.
        key_env: the environment variable that holds the key (see ``find_key``); the key itself is never stored.
        timeout_s: seconds for one try, from connecting to the last byte.
        retries: tries after the first if the server is busy; fewer if an answer was cut or nothing is reached.
        backoff_s: seconds before the second try; they double with each try, minus a random part.
        max_wait_s: no try of a request starts later than this many seconds after its first.
        max_concurrency: concurrent requests in one process.
        price_in: USD per million tokens read.
        price_out: USD per million tokens written.
        price_image: USD per picture, besides its tokens.
        price_search: USD per credit of a search.
        budget: once it is reached, requests return ``over_budget`` and are not sent; see ``Budget``.
        run: the name under which the budget is counted, over all processes and restarts.
        responses: the folder of the record (default: in the cache); the counts of runs are in its ``spent``.
        replay: answer from the record only, never call.
        strict_model: an answer that names another model is ``wrong_model``.
        omit: fields that the server refuses, which are not sent: seed, temperature, max_tokens, response_format, n,
            size. A seed distinguishes requests even if it is not sent.

    Raises:
        UsageError: a value is out of range.
    """

    base_url: str
    model: str
    key_env: str = KEY_ENV
    timeout_s: Annotated[float, Range(0, ends="(]")] = 120.0
    retries: Count = 8
    backoff_s: Amount = 1.0
    max_wait_s: Amount = 180.0
    max_concurrency: Annotated[int, Range(0, ends="(]")] = 4
    price_in: Price = None
    price_out: Price = None
    price_image: Price = None
    price_search: Price = None
    budget: Budget = NO_LIMIT
    run: str = ""
    responses: Path | None = None
    replay: bool = False
    strict_model: bool = False
    omit: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.base_url)
            known = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            known = known and bool(origin_of(self.base_url))
        except (ValueError, UsageError):
            known = False
        if not known or url.username or url.password or url.query or url.fragment:
            # The value is not repeated: it may hold a key.
            raise UsageError("base_url must be http(s)://host/path, without user, password, query or fragment")
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", self.key_env):
            raise UsageError("key_env must be the name of an environment variable, in capitals, not the key itself")
        if not self.model:
            raise UsageError("model must not be empty")
        check_ranges(self)
        if not re.fullmatch(r"(\w[\w.-]*)?", self.run):
            raise UsageError(f"run must be letters, digits, dots and hyphens, as in a file's name, found {self.run!r}")
        if self.budget != NO_LIMIT and not self.run and self.responses is None:
            raise UsageError("a budget is counted per run: name it, run='…', or give it a folder, responses=…")

    @property
    def usage(self) -> Usage:
        """Counts of this process."""
        return self._state.usage

    def spent(self) -> Usage:
        """Return the counts of the run over all its processes, including those that were killed."""
        return self._state.account.spent()

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        temperature: float | None = None,
        max_tokens: int | None = None,
        json_schema: Mapping[str, Any] | None = None,
        images: Sequence[EncodedImage] = (),
    ) -> Reply | Unanswered:
        """Ask for one answer; arguments as in ``ChatRequest``, raises as ``many``."""
        request = ChatRequest(
            messages=messages,
            seed=seed,
            temperature=temperature,
            max_tokens=max_tokens,
            json_schema=json_schema,
            images=images,
        )
        return self.many([request])[0]

    def image(
        self, prompt: str, *, seed: int, size: tuple[int, int] = (512, 512), image: EncodedImage | None = None
    ) -> Picture | Unanswered:
        """Ask for one picture; arguments as in ``ImageRequest``, raises as ``many``."""
        return self.many([ImageRequest(prompt=prompt, seed=seed, size=size, image=image)])[0]

    @overload
    def many(
        self, requests: Iterable[ChatRequest], *, stop_unless: Collection[str] | None = None
    ) -> list[Reply | Unanswered]: ...

    @overload
    def many(
        self, requests: Iterable[ImageRequest], *, stop_unless: Collection[str] | None = None
    ) -> list[Picture | Unanswered]: ...

    @overload
    def many(
        self, requests: Iterable[SearchRequest], *, stop_unless: Collection[str] | None = None
    ) -> list[Found | Unanswered]: ...

    def many(self, requests: Iterable[Any], *, stop_unless: Collection[str] | None = None) -> list[Any]:
        """Return the outcome of each request, in order; several run at a time.

        Args:
            requests: of one kind.
            stop_unless: the ``REASONS`` for which a request may remain unanswered; any other reason ends all requests.
                None: all reasons may.

        Raises:
            EndpointError: no request can be answered: the key, the credit, the model or the address is wrong, or a
                request is not in the replayed record; or one failed for a reason that is not in ``stop_unless``.
                Running requests are finished and recorded.
            Corrupt: a recorded answer is damaged.
            HostNotAllowed: an answer is not on record, and the host is not allowed for the key.
            UsageError: there is a budget in USD but no price, or there are pictures but no user message.
            OSError: the disk is full.
            KeyboardInterrupt: running requests are cancelled.
        """
        requests = list(requests)
        connection = Connection()
        pool = ThreadPoolExecutor(max(1, min(self.max_concurrency, len(requests))))
        try:
            with keeping(lambda: "answers so far are kept; the same command goes on"):
                futures = [pool.submit(self._ask, request, connection, stop_unless) for request in requests]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                return [future.result() for future in futures]
        except KeyboardInterrupt:
            connection.cut()
            raise
        finally:
            connection.stop.set()
            pool.shutdown(cancel_futures=True)
            connection.close()

    def would_ask(self, request: Request) -> bool:
        """Return whether the server would be asked: not for an answer on record, nor with ``replay``.

        Raises:
            HostNotAllowed: it would, and the host is not allowed for the key.
            UsageError: there is a budget in USD but no price.
        """
        call = to_call(request, self.model, self.omit)
        if self.replay or record_path(self._folder, call.digest).exists():
            return False
        self._check_sending(call)
        return True

    # ------------------------------------------------------------ from the record or the server

    @property
    def _folder(self) -> Path:
        return Path(self.responses) if self.responses is not None else artifacts.cache_folder() / "responses"

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).netloc

    @property
    def _state(self) -> _State:
        key = self, self._folder  # the cache folder may change while we run
        with _LOCK:
            if key not in _STATES:
                account = Account(self._folder / "spent" / f"{self.run or 'run'}.jsonl")
                _STATES[key] = _State(threading.Semaphore(self.max_concurrency), account)
            return _STATES[key]

    def _ask(
        self, request: Request, connection: Connection, stop_unless: Collection[str] | None
    ) -> Reply | Picture | Found | Unanswered:
        answer = self._answer(request, connection)
        if isinstance(answer, Unanswered) and stop_unless is not None and answer.reason not in stop_unless:
            told = f"{self._host}: {answer.reason}: {answer.detail}"
            raise EndpointError(f"{told}; answers so far are kept, run again to go on", answer.reason)
        return answer

    def _answer(self, request: Request, connection: Connection) -> Reply | Picture | Found | Unanswered:
        try:
            call = to_call(request, self.model, self.omit)
        except DataError as error:
            return Unanswered("not_an_image", f"in the request: {error}")
        path = record_path(self._folder, call.digest)
        found, shared = _fetch_once(path, lambda: self._fetch(call, path, connection))
        if isinstance(found, Unanswered):
            self._state.count(Usage(over_budget=int(found.reason == "over_budget")))
            return found
        record, cached = found
        cached = cached or shared
        self._state.count(Usage(cached=int(cached)))
        return judge(record, request, cached=cached, strict_model=self.strict_model)

    def _fetch(self, call: Call, path: Path, connection: Connection) -> _Found:
        """Return the answer from the record, or ask the server and record its answer."""
        record = read_record(path)
        if record is not None:
            return record, True
        if self.replay:
            asked = f"{call.kind} request {call.digest} to {self.model}"
            raise EndpointError(f"{asked} is not recorded in {self._folder}: run once without replay", "not_recorded")
        self._check_sending(call)
        state = self._state
        with state.slots:
            if connection.stop.is_set():
                raise CancelledError
            reached = self._claim()
            if reached:
                return Unanswered("over_budget", reached, call.digest)
            begun = time.monotonic()
            outcome, retries, form = self._send_in_forms(call, connection)
            took = Usage(retries=retries, seconds=round(time.monotonic() - begun, 4))
            if isinstance(outcome, Answer):
                took += self._cost(call.kind, outcome)
                record = Record(call.digest, call.kind, self.model, outcome.answered_by, outcome.answer, took, form)
                write_record(path, record)
            state.account.add(took)
            state.count(took)
        if isinstance(outcome, Failure):
            return Unanswered(outcome.reason, outcome.detail, call.digest)
        if outcome.tokens is None and call.kind == "chat" and (self.budget.usd, self.budget.tokens) != (None, None):
            raise EndpointError(
                f"{self._host} does not count tokens, so a budget in usd or tokens cannot hold: give it in calls",
                "no_usage",
            )
        assert record is not None
        return record, False

    def _check_sending(self, call: Call) -> None:
        require_allowed(self._address(call), host_of(self.base_url, self.key_env).key)
        self._check_prices(call.kind)

    def _claim(self) -> str:
        """Count one call if the budget allows it, otherwise return which limit is reached."""
        reached = self._state.account.claim(self.budget)
        self._state.count(Usage(calls=int(not reached)))
        return reached

    def _check_prices(self, kind: str) -> None:
        needed = {"chat": ("price_in", "price_out"), "image": ("price_image",), "search": ("price_search",)}[kind]
        missing = [name for name in needed if getattr(self, name) is None]
        if self.budget.usd is not None and missing:
            raise UsageError(f"a budget in usd needs {' and '.join(missing)} of {self.model} (0 where it is free)")

    def _cost(self, kind: str, outcome: Answer) -> Usage:
        tokens = outcome.tokens or (0, 0)
        if kind == "search":
            return Usage(usd=outcome.answer["credits"] * (self.price_search or 0))
        usd = (tokens[0] * (self.price_in or 0) + tokens[1] * (self.price_out or 0)) / 1e6
        usd += (self.price_image or 0) if kind == "image" else 0
        return Usage(tokens_in=tokens[0], tokens_out=tokens[1], usd=usd)

    # ------------------------------------------------------------ over the network

    def _send_in_forms(self, call: Call, connection: Connection) -> tuple[Answer | Failure, int, Form]:
        """Return the answer, or why there is none, the retries, and the form of the schema; each form is a call.

        Raises as ``_send``.
        """
        if not has_schema(call):
            return *self._send(call, connection, self.retries), FORMS[0]
        taken = taken_by(self.base_url, self.model)
        form = taken.form
        outcome, retries = self._send(in_form(call, form), connection, self.retries)
        failures = []
        while isinstance(outcome, Failure) and (following := taken.after(form, outcome)):
            failures.append(outcome)
            reached = self._claim()
            if reached:
                return Failure("over_budget", reached), retries, form
            form = following
            # What failed in one form is not tried several times in the next: it may have been paid for.
            outcome, _ = self._send(in_form(call, form), connection, 0)
        taken.note(form, outcome, len(failures), self._host)
        if failures and isinstance(outcome, Failure) and outcome.status in REFUSING:
            outcome = failures[0]
        return outcome, retries, form

    def _send(self, call: Call, connection: Connection, most: int) -> tuple[Answer | Failure, int]:
        """Return the answer, or why there is none, and the number of retries, ``most`` at most.

        Raises:
            EndpointError: no other request would succeed either.
            CancelledError: the run was stopped while this one waited.
        """
        begun, retries, failures = time.monotonic(), 0, Counter[str]()
        while True:
            outcome = self._try(call, connection)
            if isinstance(outcome, Answer) or outcome.then == "give_up":
                return outcome, retries
            if outcome.then == "stop":
                raise EndpointError(self._advice(outcome), outcome.reason)
            delay = min(MAX_DELAY, self.backoff_s * 2.0 ** min(retries, 30)) * _JITTER.uniform(0.5, 1)
            delay = max(delay, outcome.seconds)
            failures[outcome.then] += 1
            spent = retries == most or failures[outcome.then] > LIMITS.get(outcome.then, retries + 1)
            if spent or time.monotonic() - begun + delay > self.max_wait_s:
                break
            retries += 1
            if connection.stop.wait(delay):
                raise CancelledError
        detail = f"{outcome.detail} (tries: {retries + 1})"
        if outcome.seconds > self.max_wait_s:
            detail += f"; it asks to wait {outcome.seconds:.0f} s, over max_wait_s={self.max_wait_s:g}"
        if outcome.reason == "unreachable":
            raise EndpointError(f"cannot reach {self._host}: {detail}; check base_url and the server", "unreachable")
        return outcome._replace(detail=detail, then="give_up"), retries

    def _advice(self, failure: Failure) -> str:
        """Return why no request can be answered, and what to do."""
        key, name = find_key(self.base_url, self.key_env)
        match failure.reason:
            case "wrong_key" if key:
                what = f"refuses the key in {name}: set {name} to a valid key for {self.model}"
            case "wrong_key":
                what = f"asks for a key: set {name}"
            case "no_credit":
                what = "says that the credit is spent: add credit"
            case "unknown_model":
                what = f"does not know {self.model} under {self.base_url}: check model and base_url"
            case _:
                what = f"takes no requests under {self.base_url}: check base_url"
        return f"{self._host} {what}; answers so far are kept, run again to go on ({failure.detail})"

    def _try(self, call: Call, connection: Connection) -> Answer | Failure:
        """Send a request once."""
        import httpx2
        from huggingface_hub.errors import OfflineModeIsEnabled

        key, _ = find_key(self.base_url, self.key_env)

        def redact(text: str) -> str:
            # Shorter keys are placeholders, such as EMPTY, that an answer may contain by chance.
            return text.replace(key, "[key]") if len(key) >= 8 else text

        try:
            status, headers, body = connection.call(lambda client: self._post(client, call, key))
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return Failure("unreachable", redact(excerpt(str(error)) or type(error).__name__), "retry_connect")
        except (TimeoutError, httpx2.TimeoutException):
            return Failure("timeout", f"{self._host} gave no whole answer in {self.timeout_s:g} s")
        except OfflineModeIsEnabled as error:
            raise EndpointError("HF_HUB_OFFLINE is set: unset it, or answer with replay=True", "offline") from error
        except httpx2.RequestError as error:
            return Failure("server_error", f"the connection was cut: {redact(excerpt(str(error)))}", "retry_twice")
        except UnusableBody as error:
            return Failure("too_large" if error.reason == "too_large" else "not_json", redact(excerpt(error.detail)))
        if sum(map(body.count, (b"[", b"{", b","))) > MAX_VALUES:
            return Failure("too_large", f"{self._host} sent more than {MAX_VALUES} values")
        outcome = read_answer(call.kind, status, headers, redact(body.decode("latin-1")).encode("latin-1"))
        if isinstance(outcome, Failure):
            if has_schema(call) and is_refusal(outcome):
                outcome = outcome._replace(reason="bad_request", then="give_up")
            return outcome._replace(detail=redact(outcome.detail))
        named = outcome.answered_by and redact(outcome.answered_by)
        return outcome._replace(answered_by=named, answer=_changed(outcome.answer, redact))

    def _address(self, call: Call) -> str:
        """Return the URL that a request is sent to."""
        base = self.base_url.rstrip("/")
        if call.kind != "search" and not urlsplit(self.base_url).path.strip("/"):
            base += "/v1"
        return f"{base}/{call.route}"

    async def _post(self, client: "httpx2.AsyncClient", call: Call, key: str) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body.

        Raises:
            TimeoutError: after ``timeout_s``.
            UnusableBody: it is too large, or in an unknown encoding.
        """
        import httpx2

        fields, headers = dict(call.body), {}
        if call.kind == "search":
            headers = {"X-API-KEY": key} if key else {}
        else:
            # Not every server accepts a seed of more than 31 bits.
            fields = {"model": self.model, **fields, "seed": call.seed & 0x7FFFFFFF}
            fields = {name: value for name, value in fields.items() if name not in self.omit}
            headers = {"Authorization": f"Bearer {key}"} if key else {}
        sent: dict[str, Any]
        headers["Accept-Encoding"] = ENCODINGS
        if call.file is None:
            headers["Content-Type"] = "application/json"
            sent = {"content": json.dumps(fields).encode()}
        else:
            data, mime = call.file
            texts = {k: str(v).encode("utf-8", "replace") for k, v in fields.items() if k != "image"}
            sent = {"data": texts, "files": {"image": (f"image.{mime.rpartition('/')[2]}", data, mime)}}
        limits = httpx2.Timeout(self.timeout_s, connect=min(self.timeout_s, CONNECT_SECONDS))
        sent |= {"headers": headers, "timeout": limits, "follow_redirects": False}
        async with (
            asyncio.timeout(self.timeout_s),
            client.stream("POST", self._address(call), **sent) as response,
        ):
            body = await read_body(response.aiter_raw(), response.headers, MAX_BODY[call.kind])
            return response.status_code, response.headers, body


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON with all its strings changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _changed(item, change) for name, item in value.items()}
    return [_changed(item, change) for item in value] if isinstance(value, list) else value


def _fetch_once(path: Path, fetch: Callable[[], _Found]) -> tuple[_Found, bool]:
    """Return the result of ``fetch``, and whether another thread called it: for each path, only one thread does."""
    while True:
        mine: Future[_Found] = Future()
        with _LOCK:
            flight = _FLIGHTS.setdefault(path, mine)
        if flight is not mine:
            try:
                return flight.result(), True
            except CancelledError:
                continue  # the other thread was stopped, this one was not
        try:
            found = fetch()
            mine.set_result(found)
            return found, False
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with _LOCK:
                del _FLIGHTS[path]
