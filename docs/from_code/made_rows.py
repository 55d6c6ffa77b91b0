"""The columns of made rows that a method adds to those of its source."""

from from_code.markdown import table
from hf_mner_aug.methods import METHODS, method_class


def added(name: str) -> str:
    """Return the columns that a method adds to those that all made rows have, or nothing."""
    columns = method_class(name)().content.columns
    rows = ([f"`{column}`", dtype] for column, dtype in columns.items())
    return table(["column", "type"], rows) if columns else ""


def added_by_methods() -> dict[str, str]:
    """Return the columns of single methods, each with the method's name."""
    return {column: name for name in METHODS for column in method_class(name)().content.columns}
