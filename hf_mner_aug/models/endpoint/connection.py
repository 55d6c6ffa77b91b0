"""The key and the host of an endpoint, and the connection that concurrent requests share."""

import asyncio
import os
import re
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.untrusted.hosts import Host, origin_of

if TYPE_CHECKING:
    import httpx2

KEY_ENV = "HF_MNER_AUG_API_KEY"

T = TypeVar("T")


def find_key(base_url: str, key_env: str = KEY_ENV) -> tuple[str, str]:
    """Return the key for an endpoint, empty if there is none, and the name of its variable.

    The variable is ``key_env``, or on Hugging Face's own hosts the token that ``huggingface_hub`` finds (``HF_TOKEN``).

    Raises:
        UsageError: it holds characters that cannot be sent.
    """
    url = urlsplit(base_url)
    name, key = key_env, os.environ.get(key_env, "")
    if not key and url.scheme == "https" and f".{url.hostname}".endswith(".huggingface.co"):
        from huggingface_hub import get_token

        name, key = "HF_TOKEN", get_token() or ""
    key = key.strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise UsageError(f"the key in {name} holds a space or an invalid character: copy it again")
    return key, name


def host_of(base_url: str, key_env: str = KEY_ENV) -> Host:
    """Return the host of an endpoint, and the variable whose key is sent to it; raises as ``find_key``."""
    key, name = find_key(base_url, key_env)
    return Host(origin_of(base_url), name if key else "")


class Connection:
    """The connection of the requests of one ``many``: a stop signal, and an event loop with one client.

    The first request starts the loop, in its own thread, so that it also serves a caller inside an event loop.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cut = False

    def call(self, post: Callable[["httpx2.AsyncClient"], Coroutine[Any, Any, T]]) -> T:
        """Return the result of ``post``, run on the loop."""
        from huggingface_hub.utils import get_async_session

        with self._lock:
            if self._cut:
                raise CancelledError
            if self._loop is None:
                self._loop, self._client = asyncio.new_event_loop(), get_async_session()
                # The hub's own hook reads the whole body of an error, however large it decompresses.
                hooks = self._client.event_hooks
                others = [hook for hook in hooks["response"] if not hook.__module__.startswith("huggingface_hub.")]
                self._client.event_hooks = {**hooks, "response": others}
                self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
                self._thread.start()
            answer = asyncio.run_coroutine_threadsafe(post(self._client), self._loop)
        return answer.result()

    def cut(self) -> None:
        """End the running calls, and those about to start, with CancelledError."""
        self.stop.set()
        with self._lock:
            self._cut, loop = True, self._loop
        if loop is not None:
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])

    def close(self) -> None:
        """Close the client and end the thread."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
