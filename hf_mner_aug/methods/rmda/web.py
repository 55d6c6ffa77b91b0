"""What RMDA takes from the web: hits of a search engine, and their pictures."""

from dataclasses import replace
from typing import Any

from hf_mner_aug.schema import Post
from hf_mner_aug.transform import Reject


def web_search(url: str, run: str) -> Any:
    """Return the search of the web by the engine at an address, with this machine's settings."""
    from hf_mner_aug.models.search.fetching import web_settings
    from hf_mner_aug.models.search.web import WebSearch

    return WebSearch(web=web_settings(), url=url, run=f"rmda-{run}")


def illustrated(found: list[list[Post | Reject]]) -> list[list[Post | Reject]]:
    """Return posts with the pictures that ``image_urls`` in their details name."""
    from hf_mner_aug.models.search.fetching import web_settings
    from hf_mner_aug.models.search.web import fetch_images

    posts = [result for results in found for result in results if isinstance(result, Post)]
    images = iter(fetch_images([post.details["image_urls"] for post in posts], web_settings()))

    def illustrate(post: Post) -> Post | Reject:
        fetched = next(images)
        details = {name: value for name, value in post.details.items() if name != "image_urls"}
        return fetched if isinstance(fetched, Reject) else replace(post, images=fetched, details=details)

    return [[illustrate(r) if isinstance(r, Post) else r for r in results] for results in found]
