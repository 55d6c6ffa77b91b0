"""A page of results: the tables of studies, each with the command, version, date and machine that made it."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hf_mner_aug import __version__
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.publishing.cards import with_section
from hf_mner_aug.storage.artifacts import write_atomically
from hf_mner_aug.untrusted.printable import fenced, for_markdown

CHECKOUT = Path(__file__).parents[2]  # of this package, if it is not installed


def write_page(page: str | Path, title: str, table: str, command: Sequence[str]) -> None:
    """Put a study's table into a Markdown page; a section of the same title is replaced, a missing page is made.

    Args:
        page: the file.
        title: what was studied.
        table: the report as Markdown.
        command: the words of the command that made it.

    Raises:
        UsageError: the page's folder does not exist, or the page is a folder.
    """
    page = Path(page)
    if not page.parent.is_dir() or page.is_dir():
        raise UsageError(f"{page}: expected a Markdown file in a folder that exists")
    text = page.read_text(encoding="utf-8") if page.is_file() else "# Results\n"
    heading = for_markdown(title[:1].upper() + title[1:])
    made = f"{fenced([f'$ {shlex.join(command)}'])}\n\nRecorded on {circumstances()}."
    write_atomically(page, with_section(text, title, f"## {heading}\n\n{table.rstrip()}\n\n{made}").encode())


def circumstances() -> str:
    """Return the date, the version with its commit, and the machine, as text."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} CPUs"
    return f"{datetime.now(UTC):%Y-%m-%d} with hf_mner_aug {__version__}{commit()} on {system}, {gpu()}"


def commit() -> str:
    """Return the commit of the checkout that the package is imported from, empty for an installed one."""
    if not (CHECKOUT / ".git").exists() or not shutil.which("git"):
        return ""
    done = subprocess.run(["git", "-C", CHECKOUT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return f" (commit {done.stdout.strip()})" if done.returncode == 0 else ""


def gpu() -> str:
    """Return the name of the GPU, if torch was used and there is one."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name(0) if torch and torch.cuda.is_available() else "no GPU"
