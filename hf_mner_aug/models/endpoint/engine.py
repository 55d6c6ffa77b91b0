"""Engines behind an endpoint, named ``endpoint:URL#MODEL``, and this machine's settings for them."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_type_hints

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.endpoint import KEY_ENV, ChatRequest, Endpoint, Reply, Unanswered, host_of
from hf_mner_aug.models.endpoint.budget import Budget
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.transform import CallPrice, Costs, Method
from hf_mner_aug.untrusted.hosts import Host
from hf_mner_aug.values import ByContent, Named, parse_settings

ENDPOINT = "endpoint"  # an engine of a method: endpoint:URL#MODEL
# The REASONS for which another request may succeed; those that end a run (a budget, a server that is down) are not.
UNUSABLE = ("bad_request", "refused", "truncated", "empty", "not_json", "not_an_image", "too_large")
SETTINGS = "HF_MNER_AUG_ENDPOINT"
# Fields of Endpoint that belong to a request, or are set otherwise; all others are settings of the sending machine.
NOT_OF_MACHINE = {"base_url", "model", "budget", "run", "price_image", "price_search"}
_PATH = re.compile(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]")  # how a path begins
ASSUMED_TOKENS, ASSUMED_SECONDS = 1000, 5.0  # per request, before any is sent


def endpoint_settings() -> dict[str, Any]:
    """Return the fields of ``Endpoint`` that this machine sets: they change no answer, so no recipe has them.

    ``HF_MNER_AUG_ENDPOINT="max_concurrency=8,usd=5,price_in=0.1,price_out=0.4"`` sets fields of ``Endpoint``
    (except ``NOT_OF_MACHINE``) and of ``Budget``.

    Raises:
        UnknownName: there is no such setting.
        UsageError: one is not NAME=VALUE, does not convert or is out of range.
    """
    of_endpoint, of_budget = get_type_hints(Endpoint), get_type_hints(Budget)
    kinds = {name: kind for name, kind in of_endpoint.items() if name not in NOT_OF_MACHINE} | of_budget
    chosen = parse_settings(os.environ.get(SETTINGS, ""), kinds, SETTINGS)
    budget = Budget(**{name: chosen.pop(name) for name in of_budget if name in chosen})
    return {"budget": budget, **chosen}


def open_endpoint(base_url: str, model: str, run: str = "") -> Endpoint:
    """Return an endpoint with this machine's settings, its budget counted per run; raises as these."""
    return Endpoint(base_url=base_url, model=model, run=run, **endpoint_settings())


@dataclass(frozen=True)
class ChatEngine:
    """A chat model that writes for a method, as a parameter names it: ``endpoint:URL#MODEL,max_tokens=800``.

    Args:
        parameter: the parameter's name.
        base_url: as ``Endpoint`` takes it.
        model: the name that the server knows.
        settings: how the model is asked, ``max_tokens`` among it; the fields of its class are the valid settings.
    """

    parameter: str
    base_url: str
    model: str
    settings: Any

    @classmethod
    def of(cls, parameter: str, spec: str, settings: type[Any]) -> Self | None:
        """Return the engine that a parameter names, or None if that is not ``endpoint:…``.

        Raises:
            UnknownName: there is no such setting.
            UsageError: the address or the model is missing, the address holds a key, or a value is out of range.
        """
        if spec.partition(":")[0] != ENDPOINT:
            return None
        url, _, rest = spec.partition(":")[2].partition("#")
        model, _, chosen = rest.partition(",")
        if not url or not model:
            # The value is not repeated: it may hold a key.
            raise UsageError(
                "the engine endpoint needs an address and a model: endpoint:URL#MODEL, as "
                "endpoint:http://127.0.0.1:8000/v1#Qwen/Qwen3-8B"
            )
        Endpoint(base_url=url, model=model)
        return cls(parameter, url, model, settings(**parse_settings(chosen, get_type_hints(settings), ENDPOINT)))

    def ask(self, requests: Sequence[ChatRequest], run: str) -> list[Reply | Unanswered]:
        """Return the answer to each request, or why it has none; the budget is counted under the name of a run.

        Raises:
            EndpointError: no request can be answered; earlier answers are kept.
        """
        return open_endpoint(self.base_url, self.model, run).many(requests, stop_unless=UNUSABLE)

    def costs(self, method: Method, **counts: Any) -> Costs:
        """Return the calls of a method, whose artifact names its posts under ``files``; ``counts`` as in ``Costs``."""

        def usage() -> Mapping[str, float]:
            if method.artifact is None:
                return {}
            run = run_name(method, method.learned["files"]["posts"])
            return open_endpoint(self.base_url, self.model, run).usage.told()

        return Costs(hosts=self.hosts, price=self.price, usage=usage, **counts)

    def hosts(self) -> dict[str, Host]:
        """Return the host and the key that this machine sends there; none if everything is answered from the record."""
        chosen = endpoint_settings()
        if chosen.get("replay"):
            return {}
        return {self.parameter: host_of(self.base_url, chosen.get("key_env", KEY_ENV))}

    def price(self) -> CallPrice:
        """Return the cost of a chat by this machine's prices, with an answer of maximum length; nothing is sent."""
        chosen, written = endpoint_settings(), self.settings.max_tokens
        tokens_usd = ASSUMED_TOKENS * (chosen.get("price_in") or 0) + written * (chosen.get("price_out") or 0)
        at_a_time = chosen.get("max_concurrency", Endpoint.max_concurrency)
        told = (
            f"{ASSUMED_TOKENS:,} tokens read and {written:,} written per call, {ASSUMED_SECONDS:g} seconds each, "
            f"{at_a_time} at a time"
        )
        return CallPrice(tokens_usd / 1e6, ASSUMED_SECONDS / at_a_time, told)


def checked_name(spec: str, where: str) -> str:
    """Return a parameter's value as it is, which may name a model behind an endpoint.

    Raises:
        UsageError: the model's name is a path, which recipes, rows and cards would have.
    """
    kind, _, rest = spec.partition(":")
    if kind == ENDPOINT and _PATH.match(rest.partition("#")[2]):
        raise UsageError(
            f"{where}endpoint: the model's name is a path, and recipes and cards have it: let the server give it "
            "a name (llama-server --alias NAME, vllm --served-model-name NAME)"
        )
    return spec


def endpoint_models(spec: str) -> tuple[Named, ...]:
    """Return the model behind an endpoint that a parameter names; nothing for other engines."""
    kind, _, rest = spec.partition(":")
    return (Named(rest.partition("#")[2].partition(",")[0]),) if kind == ENDPOINT else ()


# A parameter that may name a model behind an endpoint.
EngineName = Annotated[str, ByContent(checked_name, models=endpoint_models)]


def run_name(method: Method, posts: str) -> str:
    """Return the name that a budget is counted under: one for the train posts (their digest) and all parameters."""
    asked = canonical_json([posts, method.params, method.seed, method.copies])
    return f"{method.name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
