"""The reference of the command line, as typer's own ``utils docs`` writes it."""

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from typer.main import get_command

from from_code.markdown import table
from hf_mner_aug.cli import app

NAME = "hf-mner-aug"
_VERBS = re.compile(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+")
_NOTES = """Options of several values take them with or without repeating the option: `--seeds 0 1 2` is
`--seeds 0 --seeds 1 --seeds 2`.

**Exit codes**: 0 all is well; 1 trouble of this machine (disk, network) or a fault of ours; 2 what you can mend (a
name, a value, a row; `validate` and `verify` that find something); 3 a run that made no post; 128 and more a signal.
"""


def page() -> str:
    """Return the reference: every verb with its arguments and options."""
    command = [sys.executable, "-m", "typer", "hf_mner_aug.cli", "utils", "docs", "--name", NAME, "--title", NAME]
    written = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120).stdout
    return _VERBS.sub(lambda _: f"{verbs()}\n\n{_NOTES}", written, count=1)


def commands() -> Mapping[str, Any]:
    """Return the verbs by name, as click has them."""
    found: Mapping[str, Any] = getattr(get_command(app), "commands", {})
    return found


def verbs() -> str:
    """Return a table of the verbs: typer's own list cuts their help."""
    rows = ([f"[`{verb}`](#{NAME}-{verb})", help_of(command)] for verb, command in commands().items())
    return table(["verb", "what it does"], rows)


def help_of(command: object) -> str:
    """Return the first line of a verb's help."""
    return str(getattr(command, "help", "") or "").strip().partition("\n")[0]
