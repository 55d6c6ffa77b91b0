"""HTML pages of what the package made; each is one file that requests nothing."""

from pathlib import Path
from typing import Any

from hf_mner_aug.untrusted.printable import for_html


def fill(template: str, **values: Any) -> str:
    """Return a template of this folder with values filled in; text in them is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=for_html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
