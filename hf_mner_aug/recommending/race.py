"""The race: candidates fall out round by round on some folds; the last one is compared with gold on the others.

Successive halving (Jamieson & Talwalkar 2016) in which each round scores posts that no round before has scored. The
folds of the final comparison choose nothing, so its interval is that of a single comparison; those of the rounds are
of the best of many, and optimistic.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_mner_aug.recommending.candidates import Candidate
from hf_mner_aug.recommending.cells import FOLDS, Cells, Job, Spent
from hf_mner_aug.runs.engines import Engine
from hf_mner_aug.studies.significance import Difference, paired_bootstrap, rates, resample
from hf_mner_aug.studies.tables import LEVEL, RESAMPLES

if TYPE_CHECKING:
    import numpy as np

ROUNDS = ((0, 1), (2,), (3,), (4,))  # the folds that each round adds
FINAL = tuple(range(5, FOLDS))
SHARES = (0.42, 0.52, 0.57, 0.6)  # of the time: after this no candidate is trained in a round any more
SEED = 0  # of the trainings of rounds
ENDED = "the budget ended"


@dataclass
class Standing:
    """A candidate's place in the race: F1 on the posts scored so far, and the difference from the best gold there."""

    candidate: Candidate
    round: int = 0
    posts: int = 0
    f1: float | None = None
    against: Difference | None = None
    made: float = 0.0
    seconds: float = 0.0
    usd: float = 0.0
    out: str = ""
    told: list[str] = field(default_factory=list)


@dataclass
class Final:
    """The final comparison of one candidate, over seeds that were finished on all of its folds."""

    candidate: Candidate
    seeds: list[int]
    posts: int
    f1: dict[str, float]
    equal: Difference
    best_gold: Difference
    seconds: float
    gold_seconds: float
    usd: float

    @property
    def better(self) -> bool:
        """Whether the candidate was shown to be better than gold, as it is and repeated to equal size."""
        return all(found.delta > 0 and found.p < LEVEL for found in (self.equal, self.best_gold))


@dataclass
class Race:
    """A race on a budget of seconds, which counts the trainings, also those before it was stopped and started again.

    Args:
        cells: its trainings.
        times: how often gold posts are repeated in the controls, once included.
        seeds: of the final comparison.
        engine: what trains.
        budget: seconds.
        on_cell: called with the name of each training.
    """

    cells: Cells
    times: Sequence[int]
    seeds: Sequence[int]
    engine: Engine
    budget: float
    on_cell: Callable[[str], None] = lambda key: None

    def __post_init__(self) -> None:
        self.spent = Spent()
        self.standings = {c.name: Standing(c) for c in self.cells.candidates}
        self.rounds: list[dict[str, Any]] = []
        self.stop = ""
        self.final: Final | None = None

    def run(self) -> None:
        """Run the rounds and the final comparison, as far as the budget goes."""
        alive = list(self.standings.values())
        for number, folds in enumerate(ROUNDS, start=1):
            alive = self._round(number, folds, alive)
            if self.stop or self.spent.seconds >= SHARES[-1] * self.budget or len(alive) == 1:
                break
        if not self.stop:
            leader, *others = alive
            for other in others:
                other.out = "behind the leader at the end of the rounds"
            self._compare(leader)
        self._train([self.cells.gold(fold, k, SEED) for fold in range(FOLDS) for k in self.times], self.budget)

    # ------------------------------------------------------------ rounds

    def _round(self, number: int, folds: Sequence[int], alive: list[Standing]) -> list[Standing]:
        """Train the candidates that are left on further folds, and return those that stay, the best first."""
        limit = SHARES[number - 1] * self.budget
        gold = [self.cells.gold(fold, times, SEED) for fold in folds for times in self.times]
        self._train(gold, limit)
        for standing in alive if self._whole(gold) else ():
            self._train([self.cells.augmented(fold, standing.candidate, SEED) for fold in folds], limit)
        scored = [fold for of_round in ROUNDS[:number] for fold in of_round]
        why = {id(standing): self._score(standing, number, scored) for standing in alive}
        ranked = [standing for standing in alive if not why[id(standing)]]
        if not ranked and number > 1 and any(why[id(standing)] == ENDED for standing in alive):
            return [standing for standing in alive if why[id(standing)] == ENDED]  # as the round before left them
        for standing in alive:
            standing.out = why[id(standing)] and f"round {number}: {why[id(standing)]}"
        if not ranked:
            ended = ENDED in why.values()
            self.stop = f"{ENDED}, in round {number}" if ended else f"in round {number} no candidate made a model"
            return []
        self.rounds.append({"round": number, "folds": list(folds), "posts": ranked[0].posts, "candidates": len(ranked)})
        return self._halve(number, sorted(ranked, key=lambda standing: -(standing.f1 or 0.0)))

    def _halve(self, number: int, ranked: list[Standing]) -> list[Standing]:
        """Return the better half of the candidates, without those below gold; none of them may be worth going on."""
        kept = []
        for place, standing in enumerate(ranked):
            found = standing.against
            if found and found.delta < 0 and found.p < LEVEL:
                standing.out = f"round {number}: below gold (p = {found.p:.3f})"
            elif place >= math.ceil(len(ranked) / 2):
                standing.out = f"round {number}: not in the better half"
            else:
                kept.append(standing)
        if not kept:
            self.stop = f"after round {number} all candidates that were left are below gold"
        elif number > 1 and self._hopeless(kept):
            self.stop = f"after round {number} no gain seems large enough for the final comparison to show it"
            for standing in kept:
                standing.out = f"round {number}: its gain is too small for the final comparison to show"
        return kept

    def _score(self, standing: Standing, number: int, scored: Sequence[int]) -> str:
        """Score a candidate on the folds so far, or return why it cannot be scored."""
        jobs = [self.cells.augmented(fold, standing.candidate, SEED) for fold in scored]
        if why := self.cells.dropped.get(standing.candidate.name):
            return why
        if not self._whole(jobs):
            return ENDED
        records = [record for job in jobs if (record := self.cells.read(job))]
        gold = [self.cells.n_gold(fold) for fold in scored]
        standing.made = sum(r["train_posts"] - n for r, n in zip(records, gold, strict=True)) / sum(gold)
        standing.seconds = sum(record["seconds"] for record in records) / len(records)
        standing.usd = sum(record.get("usd", 0.0) for record in records) / len(records)
        standing.told = sorted({told for record in records for told in record.get("told", ())})
        if not standing.made and not standing.candidate.replaces:
            return "it made no post that publishing keeps"
        counts = self.cells.counts(jobs)
        standing.round, standing.posts, standing.f1 = number, len(counts), f1_of(counts)
        best = self.best_gold(scored)
        gold_counts = self.cells.counts([self.cells.gold(fold, best, SEED) for fold in scored])
        standing.against = paired_bootstrap(counts[None], gold_counts[None], self._samples(scored))
        return ""

    def _hopeless(self, kept: Sequence[Standing]) -> bool:
        """Return whether no gain that is likely could be shown by the final comparison.

        The upper end of a candidate's interval is set against the smallest difference that the final comparison would
        find four times in five, by the number of its posts.
        """
        n_final = sum(len(self.cells.study(fold).posts) for fold in FINAL)
        return not any(
            standing.against.high >= standing.against.detectable * math.sqrt(standing.posts / n_final)
            for standing in kept
            if standing.against
        )

    # ------------------------------------------------------------ the final comparison

    def _compare(self, leader: Standing) -> None:
        """Compare a candidate with gold on the folds that chose nothing, seed by seed while the budget lasts."""
        candidate, done = leader.candidate, []
        best = self.best_gold(self.scored)
        for seed in self.seeds:
            ours = [self.cells.augmented(fold, candidate, seed) for fold in FINAL]
            self._train([*(self.cells.gold(fold, best, self._seed(seed)) for fold in FINAL), *ours], self.budget)
            if not self._whole(ours):
                break
            equal = [self.cells.equal(fold, candidate, seed) for fold in FINAL]
            self._train(equal, self.budget)
            if not self._whole([*equal, *(self.cells.gold(fold, best, self._seed(seed)) for fold in FINAL)]):
                break
            done.append(seed)
        if not done:
            why = self.cells.dropped.get(candidate.name, ENDED)
            self.stop = f"{why}, before the final comparison was finished"
            leader.out = f"it leads, and was not compared: {why}"
            return
        self.final = self._finish(candidate, best, done)
        leader.out = "" if self.final.better else "final comparison: not shown to be better than gold"

    def _finish(self, candidate: Candidate, best: int, seeds: list[int]) -> Final:
        """Return the comparison over seeds; gold has one training alone if its seed changes nothing."""
        import numpy as np

        own = [*dict.fromkeys(map(self._seed, seeds))]
        ours = [[self.cells.augmented(fold, candidate, seed) for fold in FINAL] for seed in seeds]
        equal = [[self.cells.equal(fold, candidate, seed) for fold in FINAL] for seed in seeds]
        gold = [[self.cells.gold(fold, best, seed) for fold in FINAL] for seed in own]
        counts = [np.stack([self.cells.counts(jobs) for jobs in of_seed]) for of_seed in (ours, equal, gold)]
        names = candidate.name, f"gold repeated to its size ({candidate.name})", spell_gold(best)
        samples = self._samples(FINAL)
        return Final(
            candidate,
            seeds,
            counts[0].shape[1],
            dict(zip(names, map(f1_of, counts), strict=True)),
            equal=paired_bootstrap(counts[0], counts[1], samples),
            best_gold=paired_bootstrap(counts[0], counts[2], samples),
            seconds=self._mean("seconds", ours),
            gold_seconds=self._mean("seconds", gold),
            usd=self._mean("usd", ours),
        )

    def _mean(self, name: str, jobs: Sequence[Sequence[Job]]) -> float:
        records: list[Any] = [self.cells.read(job) for of_seed in jobs for job in of_seed]
        return sum(record.get(name, 0.0) for record in records) / len(records)

    # ------------------------------------------------------------ gold

    @property
    def scored(self) -> list[int]:
        """The folds of the rounds that were run."""
        return [fold for found in self.rounds for fold in found["folds"]]

    def best_gold(self, folds: Sequence[int]) -> int:
        """Return how often gold is repeated where it scores best on some folds; the fewest times of equals."""
        scores = {k: self.gold_f1(k, folds) for k in self.times}
        return max(self.times, key=lambda k: (scores[k], -k))

    def gold_f1(self, times: int, folds: Sequence[int]) -> float:
        """Return the F1 of gold, repeated some times, on some folds."""
        return f1_of(self.cells.counts([self.cells.gold(fold, times, SEED) for fold in folds]))

    def gold_folds(self) -> list[int]:
        """Return the folds on which gold was trained with each number of repetitions."""
        return [
            fold for fold in range(FOLDS) if self._whole([self.cells.gold(fold, times, SEED) for times in self.times])
        ]

    # ------------------------------------------------------------ inside

    def _train(self, jobs: Sequence[Job], limit: float) -> None:
        self.cells.train_jobs(jobs, self.engine, self.spent, limit, self.on_cell)

    def _whole(self, jobs: Sequence[Job]) -> bool:
        return all(self.cells.read(job) for job in jobs)

    def _seed(self, seed: int) -> int:
        return SEED if self.cells.backbone.seedless else seed

    def _samples(self, folds: Sequence[int]) -> "np.ndarray":
        n_posts = sum(len(self.cells.study(fold).posts) for fold in folds)
        return resample(n_posts, RESAMPLES, groups=self.cells.groups(folds))


def f1_of(counts: "np.ndarray") -> float:
    """Return the F1 of counts [n_posts, 3], or its mean over runs of counts [n_runs, n_posts, 3]."""
    return float(rates(counts.sum(axis=-2))[..., 2].mean())


def spell_gold(times: int) -> str:
    """Return gold posts repeated some times, in words."""
    return "gold alone" if times == 1 else f"gold, each post {times} times"
