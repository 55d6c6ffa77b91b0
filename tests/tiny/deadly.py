"""A method that ends its process."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hf_mner_aug.reasons import Reason
from hf_mner_aug.transform import Facts, Method


@dataclass(frozen=True, kw_only=True)
class Deadly(Method):
    """Copies posts; one of them kills the process, once or as long as there is no cure.

    Args:
        post: its id.
        mark: the file that is written before the only death, or the cure.
        always: whether it kills until there is a cure.
        wait_s: seconds for a batch.
    """

    name: ClassVar[str] = "deadly"
    rejects: ClassVar[Mapping[str, Reason]] = {}
    facts: ClassVar[Facts] = Facts(does="copies", paper="none", learns="nothing", images="kept", boxes="kept")

    post: str = ""
    mark: str = ""
    always: bool = False
    wait_s: float = 0.0

    def rewrite(self, posts, draws):
        time.sleep(self.wait_s)
        if self.post in [post.id for post in posts] and not Path(self.mark).exists():
            if not self.always:
                Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return posts
