"""Stubs: rows of retrieved posts without words and pictures, with a digest of each instead.

A config published with ``retrieved="ids-only"`` has the gold posts in ``train``. Made posts are stubs, in files of
their own (``retrieved-*.parquet``) and, for ``load_dataset``, in a config of their own: all splits of a config must
have the same columns, and rows of ``train`` without words would break training. A stub keeps tags and spans,
``provenance`` (id, url, date, licence), and digests, from which the fingerprint of the whole rows is computed: so a
restored post is checked to be the one that was published.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.schema import IMAGE_COLUMNS
from hf_mner_aug.storage.fingerprint import DIGEST, row_digests
from hf_mner_aug.transform import Method
from hf_mner_aug.untrusted.names import STUBS

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

Retrieved = Literal["whole", "ids-only"]
WITHHELD = ("tokens", *IMAGE_COLUMNS)


def check_retrieved(method: Method, retrieved: str) -> None:
    """Check that a method's posts can be published in this way.

    Raises:
        UnknownName: there is no such way.
        UsageError: it is ids-only, and the method retrieves no posts.
    """
    if retrieved not in get_args(Retrieved):
        raise UnknownName("value of retrieved", retrieved, get_args(Retrieved))
    if retrieved == "ids-only" and not method.content.retrieved:
        raise UsageError(f"{method.name} retrieves no posts: leave out --retrieved ids-only")


def check_whole(note: Mapping[str, Any], repo: Any, config: str) -> None:
    """Check that a config has the words of its posts, by its augmentation.json.

    Raises:
        UsageError: it has only the ids of retrieved posts.
    """
    if note.get("retrieved") == "ids-only":
        raise UsageError(
            f"{config} holds its retrieved posts by id only: put them back first with "
            f"hf-mner-aug hydrate {repo} {config} --corpus FILE --out DIR"
        )


def stub_config(config: str) -> str:
    """Return the name of the config of a config's stubs, for ``load_dataset``."""
    return f"{config}_{STUBS}"


def stub_features(features: "Features") -> "Features":
    """Return the columns of the stubs of rows with these columns."""
    from datasets import Features, Value

    kept = {name: feature for name, feature in features.items() if name not in WITHHELD}
    return Features({**kept, **{name + DIGEST: Value("string") for name in withheld(features)}})


def withheld(features: "Features") -> "Features":
    """Return the columns that stubs lack."""
    from datasets import Features

    return Features({name: features[name] for name in WITHHELD if name in features})


def to_stubs(table: "pa.Table", features: "Features") -> "pa.Table":
    """Return rows with these columns as stubs."""
    import pyarrow as pa

    columns = stub_features(features)
    for name, digests in row_digests(table.select(list(withheld(features))), withheld(features)).items():
        table = table.append_column(name + DIGEST, pa.array([digest.hex() for digest in digests], pa.string()))
    return table.select(list(columns))
