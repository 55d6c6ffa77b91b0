"""The marks that written pictures carry."""

import re


def picture_source(image):
    """Return the ``DigitalSourceType`` that an encoded picture carries, without its URL; None if it has none."""
    found = re.search(rb"DigitalSourceType\W+http://cv\.iptc\.org/newscodes/digitalsourcetype/(\w+)", image["bytes"])
    return found[1].decode() if found else None
