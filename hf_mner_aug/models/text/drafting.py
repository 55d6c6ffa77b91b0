"""Drafts that filters refuse are written again, with what was wrong as critiques, stage by stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.transform import Reject

KEPT = "kept"

Task = TypeVar("Task")
Draft = TypeVar("Draft")


class Step(NamedTuple):
    """One draft: the stage and number of the attempt, and the filter that caught it, or ``kept``."""

    stage: str
    attempt: int
    result: str


@dataclass
class Job(Generic[Task, Draft]):
    """One request in progress: what is asked for, its randomness, and the latest draft or why it was refused."""

    task: Task
    draw: Draw
    stage: int = 0
    attempt: int = 0
    trail: list[Step] = field(default_factory=list)
    critiques: list[str] = field(default_factory=list)
    draft: Draft | None = None
    refused: Reject | None = None


def write_drafts(
    jobs: Sequence[Job[Task, Draft]],
    write: Callable[[Sequence[Job[Task, Draft]]], None],
    *,
    attempts: int,
    stages: Sequence[str] = ("",),
) -> None:
    """Write a draft for each job, those that are refused again, all of them together.

    A job has ``attempts`` drafts in each stage. Its critiques are ``reason: detail`` of each draft that was refused in
    the stage, the latest last.

    Args:
        jobs: in progress; each ends with a draft, or with why the last one was refused.
        write: sets the ``draft`` and ``refused`` of some jobs.
        attempts: the most drafts of a stage.
        stages: their names.
    """
    waiting = list(jobs)
    while waiting:
        write(waiting)
        for job in waiting:
            job.trail.append(Step(stages[job.stage], job.attempt + 1, job.refused.reason if job.refused else KEPT))
        failed = [job for job in waiting if job.refused]
        waiting = []
        for job in failed:
            assert job.refused is not None
            job.critiques.append(f"{job.refused.reason}: {job.refused.detail}")
            job.attempt += 1
            if job.attempt == attempts:
                job.stage, job.attempt, job.critiques = job.stage + 1, 0, []
            if job.stage < len(stages):
                waiting.append(job)
