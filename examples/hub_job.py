# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-mner-aug>=0.1"]
# ///
"""Make an augmented config with several jobs of the Hub, which share a run as its ranks, and push it.

    uv run hub_job.py ORG/SET ORG/SET-aug --method lsms:copies=4 --ranks 8 --storage hf://buckets/ORG/RUNS/set-aug

This starts eight jobs, each of which makes its parts and leaves them in the storage, a folder of a bucket that is made
if it is missing; then one that makes what a failed job left, and pushes. Run the same again: finished parts are kept.
The token is the one that huggingface_hub finds; jobs get it as a secret. What each job needs beyond the core, or a GPU:
`--with 'hf-mner-aug[models]' --flavor l4x1`.
"""

import argparse
import sys
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError

from hf_mner_aug import augment, publish, push
from hf_mner_aug.exceptions import UsageError

BUCKETS = "hf://buckets/"
POLL_S = 15.0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="the set to augment: ORG/NAME, with @revision and :config")
    parser.add_argument("repo", help="the dataset repo to push to, ORG/NAME; its other configs are kept")
    parser.add_argument("--storage", required=True, help="where jobs share their parts: hf://buckets/ORG/NAME/FOLDER")
    parser.add_argument("--method", default="lsms", help="a method with its settings, as lsms:copies=4 (default: lsms)")
    parser.add_argument("--fraction", type=float, default=1.0, help="the share of train to use (default: 1)")
    parser.add_argument(
        "--part-size", type=int, default=250, help="posts of a part, which one job makes (default: 250)"
    )
    parser.add_argument("--ranks", type=int, default=4, help="how many jobs share the parts (default: 4)")
    parser.add_argument("--flavor", default="cpu-basic", help="the hardware of each job (default: cpu-basic)")
    parser.add_argument("--with", dest="packages", action="append", default=[], help="a further package for the jobs")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # of a job: its rank, or "publish"
    return parser.parse_args()


def start(told: argparse.Namespace) -> None:
    """Start a job for each rank, wait for all, and start the one that publishes.

    Raises:
        UsageError: there is no token or rank.
        OSError: the last job failed.
    """
    token = huggingface_hub.get_token()
    if token is None or told.ranks < 1:
        raise UsageError("a job needs a token: hf auth login" if token is None else f"ranks: 1 or more: {told.ranks}")
    if told.storage.startswith(BUCKETS):
        bucket = "/".join(told.storage.removeprefix(BUCKETS).split("/")[:2])
        huggingface_hub.create_bucket(bucket, private=True, exist_ok=True)
    words = [told.source, told.repo, "--storage", told.storage, "--method", told.method]
    words += ["--fraction", str(told.fraction), "--part-size", str(told.part_size), "--ranks", str(told.ranks)]

    def run(job: str) -> huggingface_hub.JobInfo:
        return huggingface_hub.run_uv_job(
            str(Path(__file__)),
            script_args=[*words, "--job", job],
            dependencies=told.packages,
            flavor=told.flavor,
            secrets={"HF_TOKEN": token},
            name=f"mner-aug-{job}",
        )

    for jobs in ([str(rank) for rank in range(told.ranks)], ["publish"]):
        started = {job: run(job) for job in jobs}
        for job, info in started.items():
            print(f"{job}: {info.url}")
        ended = huggingface_hub.wait_for_job([info.id for info in started.values()], poll_interval=POLL_S)
        failed = [info.url for info in ended if info.status.stage != "COMPLETED"]
        for url in failed:
            print(f"failed: {url}", file=sys.stderr)
    if failed:
        raise OSError("nothing was pushed; what is finished is kept, run the same again")


def work(told: argparse.Namespace) -> None:
    """Make a rank's parts; or what is missing of all, publish and push it."""
    out = Path("augmented")
    chosen = {"fraction": told.fraction, "part_size": told.part_size, "out": out, "storage": told.storage}
    if told.job != "publish":
        share = augment(told.source, told.method, rank=int(told.job), world_size=told.ranks, **chosen)
        print(f"rank {told.job}: {len(share.parts)} parts")
        return
    run = augment(told.source, told.method, **chosen)
    made = publish(run, out, source=told.source, overwrite=True, allow_empty=False)
    huggingface_hub.create_repo(told.repo, repo_type="dataset", private=True, exist_ok=True)
    print(f"{made.config}: {made.funnel['kept']} made posts")
    print(push(out, told.repo))


if __name__ == "__main__":
    told = arguments()
    try:
        work(told) if told.job else start(told)
    except (UsageError, HFValidationError, OSError) as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")
