"""Deprecated calls of this package, found where they are warned of or logged, so that the next rename shows early.

A filter such as ``error::DeprecationWarning:hf_mner_aug`` sees only the module that a warning is attributed to: the
library's own, where decorators lie between, and none where a logger tells it. So the stack is searched for our frames.
"""

import logging
import os
import re
import sys
import warnings
from pathlib import Path

PACKAGE = str(Path(__file__).parent.parent / "hf_mner_aug") + os.sep
CATEGORIES = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
LOGGED = re.compile(r"deprecat|will be (removed|renamed)|(has|have) been renamed", re.IGNORECASE)

# Calls that libraries make themselves, below a call of ours that is in order: file that is blamed, then message.
NOT_OURS = {
    r"diffusers/schedulers/.*: __array__ implementation": "np.array of a tensor, in the schedulers' own steps",
    r"multi-threaded, use of fork\(\)": "datasets forks its workers; Python 3.12 and later warn",
}

found: list[str] = []  # since the last test


def our_call():
    """Return file and line of our innermost frame; None without one, or where a library warns as it is imported."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            return f"{code.co_filename}:{frame.f_lineno}"
        if code.co_name == "exec_module" and "importlib" in code.co_filename:
            return None
        frame = frame.f_back
    return None


def note(blamed, message):
    """Keep a message about a call of ours; return whether it is one."""
    place = our_call()
    ours = place is not None and not any(re.search(pattern, f"{blamed}: {message}") for pattern in NOT_OURS)
    if ours:
        found.append(f"{place}: {message}")
    return ours


def watch():
    """Note each deprecation from now on, also inside ``catch_warnings``; those of libraries alone are left out."""
    show, make = warnings._showwarnmsg, logging.getLogRecordFactory()

    def noted(shown):
        if not issubclass(shown.category, CATEGORIES) or note(shown.filename, str(shown.message)):
            show(shown)

    def recorded(*args, **kwargs):
        record = make(*args, **kwargs)
        if record.levelno >= logging.WARNING and LOGGED.search(record.getMessage()):
            note(record.pathname, record.getMessage())
        return record

    warnings._showwarnmsg = noted
    logging.setLogRecordFactory(recorded)


def taken():
    """Return what was noted, and forget it."""
    messages = list(dict.fromkeys(found))
    found.clear()
    return messages
