"""Lists what the locks bring: the licence of each package, and a bill of materials (SBOM) in the form of CycloneDX.

``make licences`` writes ``locks/licences.md`` from the metadata of installed packages; ``make dist`` writes
``sbom.cdx.json`` from that list and the locks alone. Equal locks give equal bytes.
"""

import json
import re
import sys
import uuid
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from places import ROOT

LICENCES = ROOT / "locks" / "licences.md"
# Of packages that one platform alone installs, or whose metadata names no licence.
TOLD = {
    "appnope": "BSD-2-Clause",
    "cffi": "MIT-0",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "httpx2-jsfetch": "BSD-3-Clause",
    "pycparser": "BSD-3-Clause",
}
_PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)((?:.*\\\n)*.*)", re.MULTILINE)


def pins(lock: str) -> dict[tuple[str, str], set[str]]:
    """Return the packages of a lock, by name and version, each with the SHA-256 of its files."""
    text = (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8")
    found: dict[tuple[str, str], set[str]] = {}
    for name, version, rest in _PIN.findall(text):
        found.setdefault((name, version), set()).update(re.findall(r"sha256:(\w{64})", rest))
    return found


def licence_of(package: Distribution) -> str:
    """Return the licence that a package's metadata names; empty if it names none."""
    metadata = package.metadata
    classifiers = [text.split(" :: ")[-1] for text in metadata.get_all("Classifier") or () if text.startswith("Lic")]
    first, *more = (metadata.get("License") or "").strip().removeprefix("UNKNOWN").split("\n")
    whole = first if len(first) <= 60 and not more else ""  # some packages put the whole text there
    return metadata.get("License-Expression") or whole or " AND ".join(classifiers) or first


def table() -> str:
    """Return the list of licences as Markdown.

    Raises:
        SystemExit: a package is not installed, or names no licence, and ``TOLD`` does not have it.
    """
    core = pins("core")
    rows = []
    for name, version in sorted(pins("dev")):
        try:
            licence = TOLD.get(name) or licence_of(distribution(name))
        except PackageNotFoundError:
            licence = ""
        if not licence:
            sys.exit(f"{name}: neither installed metadata nor TOLD in {Path(__file__).name} names its licence")
        rows.append(f"| {name} | {version} | {licence} | {'core' if (name, version) in core else 'extras, tests'} |")
    head = ["# Licences of all packages in the locks", "`make licences` writes this page. Core is a plain install."]
    return "\n".join(["\n\n".join(head), "", "| package | version | licence | for |", "|---|---|---|---|", *rows, ""])


def read_table() -> dict[tuple[str, str], str]:
    """Return the licences of the list, by name and version."""
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \| [^|]+ \|$", LICENCES.read_text(encoding="utf-8"), re.MULTILINE)
    return {(name, version): licence for name, version, licence in rows if name != "package"}


def bill(version: str) -> dict[str, object]:
    """Return the bill of materials of a version of this package."""
    core, licences = pins("core"), read_table()
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{release}",
            "name": name,
            "version": release,
            "purl": f"pkg:pypi/{name}@{release}",
            "scope": "required" if (name, release) in core else "optional",
            "licenses": [{"license": {"name": licences[name, release]}}],
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(digests)],
        }
        for (name, release), digests in sorted(pins("dev").items())
    ]
    ours = f"pkg:pypi/hf-mner-aug@{version}"
    about = {"type": "library", "bom-ref": ours, "name": "hf-mner-aug", "version": version, "purl": ours}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ours + json.dumps(components))}",
        "version": 1,
        "metadata": {"component": {**about, "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": components,
    }


def main() -> None:
    """Write the list of licences, or with a path the bill of materials into it."""
    if len(sys.argv) == 1:
        LICENCES.write_text(table(), encoding="utf-8")
        return
    version = re.search(r'^__version__ = "(.+)"', (ROOT / "hf_mner_aug/__init__.py").read_text(), re.MULTILINE)
    assert version
    Path(sys.argv[1]).write_text(json.dumps(bill(version[1]), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
