"""What the calls of a method may cost."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hf_mner_aug.schema import Post


class CallPrice(NamedTuple):
    """What a call is assumed to take before any is made, and in ``told`` what the two numbers are from."""

    usd: float = 0.0
    seconds: float = 0.0
    told: str = "nothing"


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The calls of a method that may cost money; to ask for their numbers and their price makes none.

    Args:
        calls: how many a post takes.
        to_fit: how many ``fit`` takes, at least and at most.
        price: what a call takes by this machine's settings, at most.
        usage: what calls took in this process, by name; ``usd`` is their price.
    """

    calls: Callable[[Post], int] = lambda post: 0
    to_fit: Callable[[Iterable[Post]], tuple[int, int]] = lambda train: (0, 0)
    price: Callable[[], CallPrice] = CallPrice
    usage: Callable[[], Mapping[str, float]] = dict
