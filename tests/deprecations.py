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
LIBRARY = re.compile(r"[/\\]site-packages[/\\](\w+)")
CATEGORIES = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
LOGGED = re.compile(r"deprecat|will be (removed|renamed)|(has|have) been renamed", re.IGNORECASE)

# Calls that libraries make by themselves, below a call of ours that is in order: the way there, then the message.
NOT_OURS = {
    "diffusers: __array__ implementation": "np.array of a tensor, in the steps of its schedulers",
    "peft > transformers: `is_gradient_checkpointing`": "read as an adapter is put on",
    r"multi-threaded, use of fork\(\)": "datasets forks its workers; Python 3.12 and later warn",
}

found: list[str] = []  # since the last test


def way():
    """Return our innermost frame as file and line, and the libraries called from there on, outermost first.

    Without such a frame, or where a library warns as it is imported, the first is None.
    """
    libraries = []
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            return f"{code.co_filename}:{frame.f_lineno}", libraries[::-1]
        if code.co_name == "exec_module" and "importlib" in code.co_filename:
            break
        if code.co_filename == logging.__file__:
            libraries.clear()  # who made the record, as Ray's factory does, is not who told it
        if (library := LIBRARY.search(code.co_filename)) and libraries[-1:] != [library[1]]:
            libraries.append(library[1])
        frame = frame.f_back
    return None, []


def note(message):
    """Keep a message about a call of ours; return whether it is one."""
    place, libraries = way()
    told = f"{' > '.join(libraries)}: {message}"
    ours = place is not None and not any(re.search(pattern, told) for pattern in NOT_OURS)
    if ours:
        found.append(f"{place} > {told}")
    return ours


def watch():
    """Note each deprecation from now on, also inside ``catch_warnings``; those of libraries alone are left out."""
    show, make = warnings._showwarnmsg, logging.getLogRecordFactory()

    def noted(shown):
        if not issubclass(shown.category, CATEGORIES) or note(str(shown.message)):
            show(shown)

    def recorded(*args, **kwargs):
        record = make(*args, **kwargs)
        if record.levelno >= logging.WARNING and LOGGED.search(record.getMessage()):
            note(record.getMessage())
        return record

    warnings._showwarnmsg = noted
    logging.setLogRecordFactory(recorded)


def taken():
    """Return what was noted, and forget it."""
    messages = list(dict.fromkeys(found))
    found.clear()
    return messages
