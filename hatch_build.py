"""The README as a package index shows it: its links and pictures lead into the repository, at the version's tag."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A picture of the README, or a link to one of its files.
_RELATIVE = re.compile(r"(!?)(\[[^\[\]]*\])\((?!https?://|#)([^()\s]+)\)")


def with_full_links(text: str, repository: str, version: str) -> str:
    """Return Markdown whose relative links are those of a tag of a repository on GitHub."""

    def full(link: re.Match[str]) -> str:
        kind = "raw" if link[1] else "blob"
        return f"{link[1]}{link[2]}({repository}/{kind}/v{version}/{link[3]})"

    return _RELATIVE.sub(full, text)


class CustomMetadataHook(MetadataHookInterface):
    """Called by hatchling with what ``pyproject.toml`` declares."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = with_full_links(text, metadata["urls"]["Repository"], metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
