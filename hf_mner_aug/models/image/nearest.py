"""The picture of the train post whose words are most like a text's, for texts that are written without a picture."""

import functools
from collections.abc import Sequence
from typing import Any

from hf_mner_aug.models.image.collage import words_of
from hf_mner_aug.posts.pictures import image_bytes
from hf_mner_aug.schema import Post
from hf_mner_aug.storage.posts import open_posts


def nearest_pictured(digest: str, tokens: Sequence[str]) -> Post | None:
    """Return the train post with pictures whose words are most like a text's; None if none shares a word with it.

    Likeness is the cosine of the words' TF-IDF; of equally like posts it is the first.
    """
    rows, vectorizer, weights = _pictured(digest)
    if not rows:
        return None
    # Rounded, so that the order does not depend on the last bit of a sum.
    likeness = (weights @ vectorizer.transform([" ".join(tokens)]).T).toarray()[:, 0].round(6)
    best = int(likeness.argmax())
    found: Post = open_posts(digest)[rows[best]]
    return found if likeness[best] > 0 else None


@functools.lru_cache(maxsize=4)
def _pictured(digest: str) -> tuple[list[int], Any, Any]:
    """Return the rows of train posts with pictures, and their words' TF-IDF: the vectoriser and [n_rows, n_words]."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows, texts = [], []
    for row, post in enumerate(open_posts(digest)):
        if any(map(image_bytes, post.images)):
            rows.append(row)
            texts.append(" ".join(post.tokens))
    vectorizer = TfidfVectorizer(analyzer=words_of, sublinear_tf=True)
    if not any(map(words_of, texts)):
        return [], vectorizer, None
    return rows, vectorizer, vectorizer.fit_transform(texts)
