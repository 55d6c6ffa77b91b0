# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-mner-aug>=0.1"]
# ///
"""Make an augmented config of a dataset on the Hub and push it, on your machine or as a job of the Hub.

    uv run augment_job.py ORG/SET ORG/SET-aug --method lsms:copies=4 --fraction 0.1
    hf jobs uv run --secrets HF_TOKEN augment_job.py ORG/SET ORG/SET-aug --method lsms:copies=4

The token is the one that huggingface_hub finds: HF_TOKEN, or that of `hf auth login`. A repo that is missing is made
first, private. Run the same again: it goes on where it stopped, and pushes nothing if the repo holds all of it already.
A config of the same name is replaced. A method whose engines are models needs more packages and a GPU:
`--with 'hf-mner-aug[models]'`, and for a job `--flavor`.
"""

import argparse
import sys
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError

from hf_mner_aug import augment, publish, push
from hf_mner_aug.exceptions import UsageError


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="the set to augment: ORG/NAME (with @revision, :config), or a folder")
    parser.add_argument("repo", help="the dataset repo to push to, ORG/NAME; its other configs are kept")
    parser.add_argument("--method", default="lsms", help="a method with its settings, as lsms:copies=4 (default: lsms)")
    parser.add_argument("--fraction", type=float, default=1.0, help="the share of train to use (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("augmented"), help="the folder to write (default: augmented)")
    return parser.parse_args()


def open_repo(repo: str) -> None:
    """Make the repo if it is missing, and fail at once, not after hours, if the token may not write to it."""
    if repo.count("/") != 1:
        raise UsageError(f"{repo}: expected ORG/NAME")
    hub = HfApi()
    hub.whoami()
    hub.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
    hub.auth_check(repo, repo_type="dataset", write=True)


def main() -> None:
    """Augment, publish into a folder, push it."""
    told = arguments()
    open_repo(told.repo)
    run = augment(told.source, told.method, fraction=told.fraction, out=told.out)
    made = publish(run, told.out, source=told.source, overwrite=True, allow_empty=False)
    print(f"{made.config}: {made.funnel['kept']} made posts")
    print(push(told.out, told.repo))


if __name__ == "__main__":
    try:
        main()
    except (UsageError, HFValidationError, OSError) as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")
