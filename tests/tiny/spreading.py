"""A method that learns by independent calls, one of which may end its process once."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hf_mner_aug.elsewhere import call_all
from hf_mner_aug.reasons import Reason
from hf_mner_aug.transform import Facts, Method

CALLS = {"a": 1, "b": 2, "c": 3}


def call(mark, number):
    """Return the process and the square of a number; without its mark, the second call leaves one and dies."""
    if mark and number == 2 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), number**2


@dataclass(frozen=True, kw_only=True)
class Spreading(Method):
    """Copies posts; learns the processes of its calls.

    Args:
        mark: the file that is written before the only death; empty for none.
    """

    name: ClassVar[str] = "spreading"
    rejects: ClassVar[Mapping[str, Reason]] = {}
    facts: ClassVar[Facts] = Facts(does="copies", paper="none", learns="processes", images="kept", boxes="kept")

    mark: str = ""

    def learn(self, train, validation):
        found = dict(call_all(call, self.mark, CALLS))
        processes = [process for process, _ in found.values()]
        return {"own": os.getpid(), "processes": processes, "squares": {name: found[name][1] for name in CALLS}}

    def rewrite(self, posts, draws):
        return posts
