"""Texts with marked spans, as annotation tools write them, turned into posts.

A tool's reader yields an ``Annotated`` for each text and a ``BadLine`` for each record that it leaves out, and
``spans_set`` makes a raw set of it. Words, offsets and overlaps are treated here, in the same way for all tools.
"""

from hf_mner_aug.readers.spans.annotated import Annotated, Marked
from hf_mner_aug.readers.spans.posts import posts_of
from hf_mner_aug.readers.spans.sets import spans_set

__all__ = ["Annotated", "Marked", "posts_of", "spans_set"]
