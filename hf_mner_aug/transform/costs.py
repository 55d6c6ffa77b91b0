"""The calls of a method: their hosts and their cost."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hf_mner_aug.schema import Post
from hf_mner_aug.untrusted.hosts import Host, allow

if TYPE_CHECKING:
    from hf_mner_aug.transform import Method


class CallPrice(NamedTuple):
    """The assumed cost of a call before any is made; ``told`` says where the two numbers come from."""

    usd: float = 0.0
    seconds: float = 0.0
    told: str = "nothing"


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The calls of a method that may cost money; reading these numbers makes no call.

    Args:
        calls: the number of calls for a post.
        to_fit: the least and the largest number of calls of ``fit``.
        price: the largest cost of a call by this machine's settings.
        usage: the cost of the calls in this process, by name; ``usd`` is their price.
        hosts: the hosts that posts or searches are sent to, by the name of the parameter that names the host.
    """

    calls: Callable[[Post], int] = lambda post: 0
    to_fit: Callable[[Iterable[Post]], tuple[int, int]] = lambda train: (0, 0)
    price: Callable[[], CallPrice] = CallPrice
    usage: Callable[[], Mapping[str, float]] = dict
    hosts: Callable[[], Mapping[str, Host]] = dict


def hosts_of(method: "Method") -> Mapping[str, Host]:
    """Return the hosts that a method's parameters name, by the parameter's name."""
    return method.costs.hosts() if method.costs else {}


def allow_hosts(method: "Method") -> None:
    """Allow the hosts that a method's parameters name, if the user's own code wrote the parameters."""
    if not method.from_recipe:
        for host in hosts_of(method).values():
            allow(*host)
