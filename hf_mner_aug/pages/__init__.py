"""HTML pages of what the package made; each is one file that requests nothing, and all have one head and stylesheet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_mner_aug.untrusted.printable import for_html

HUES = (215, 175, 35, 280, 325, 60, 250, 195, 15, 300)  # of entity types, in degrees; green and red mark changes


def fill(template: str, *, types: Sequence[str] = (), **values: Any) -> str:
    """Return a template of this folder with values filled in; text in them is escaped, and types have colours."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=for_html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colours = {kind: i % len(HUES) for i, kind in enumerate(types)}
    return environment.get_template(template).render(hues=HUES, colours=colours, **values)
