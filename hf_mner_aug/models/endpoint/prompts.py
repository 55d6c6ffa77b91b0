"""Prompts for a language model: files of the package, a new one for each change, with data that is fenced off."""

import importlib.resources
import json
import re
from typing import Any

# The marks' first sign, and characters that JSON does not escape although they end or reorder a line.
_ESCAPED = re.compile("[<\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069]")


def read_prompt(method: str, name: str) -> str:
    """Return the text of a method's prompt."""
    return (importlib.resources.files("hf_mner_aug") / "prompts" / method / name).read_text(encoding="utf-8")


def as_block(data: Any) -> str:
    """Return data as JSON between marks that the data cannot forge: quotes, line ends and marks are escaped."""
    spelt = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data, ensure_ascii=False, indent=1))
    return f"<data>\n{spelt}\n</data>"
