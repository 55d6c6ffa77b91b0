"""Entities as the indices that ``h_index`` writes, and back.

Indices are those of signs (the end, shown, not shown, types, fine types) and then of words. An entity is its words, one
after the other, whether it is shown, its type and, if it has one, its fine type.
"""

from collections.abc import Sequence

from hf_mner_aug.backbones.sentences import Told, Written
from hf_mner_aug.schema import Post

END, SHOWN, HIDDEN = range(3)
N_MARKS = 3


class Pointers:
    """Writes and reads answers of indices.

    Args:
        types: of entities.
        fine: their fine types; empty if the set has none.
    """

    def __init__(self, types: Sequence[str], fine: Sequence[str]) -> None:
        self.types, self.fine = tuple(types), tuple(fine)
        self.n_signs = N_MARKS + len(self.types) + len(self.fine)

    def write(self, post: Post, n_words: int, covered: Sequence[bool]) -> Written:
        """Return the answer for a post of which ``n_words`` are read; ``covered`` says which entities are shown."""
        ids: list[int] = []
        shown_at: dict[int, range] = {}
        for i, entity in enumerate(post.entities):
            if entity.end > n_words:
                continue
            ids += [self.n_signs + word for word in range(entity.start, entity.end)]
            if covered[i]:
                shown_at[i] = range(len(ids), len(ids) + 1)
            ids += [SHOWN if covered[i] else HIDDEN, N_MARKS + self.types.index(entity.type)]
            if self.fine and entity.fine is not None:
                ids.append(N_MARKS + len(self.types) + self.fine.index(entity.fine))
        return Written([*ids, END], shown_at)

    def read(
        self, ids: Sequence[int], probabilities: Sequence[float], post: Post, n_words: int
    ) -> tuple[list[Told], int]:
        """Return the entities of an answer [n_steps], in their order, and the number of those that are refused.

        Words that do not ascend one by one, or belong to an earlier entity, are refused, and so is an entity without
        words, mark or type.
        """
        ids = list(ids)[: ids.index(END)] if END in ids else list(ids)
        free, found, n_lost, at = [True] * n_words, [], 0, 0
        while at < len(ids):
            mark = at
            while mark < len(ids) and ids[mark] >= self.n_signs:
                mark += 1
            after = mark
            while after < len(ids) and ids[after] < self.n_signs:
                after += 1
            told = self._read_one(ids[at:mark], ids[mark:after], at, probabilities, free)
            n_lost += told is None
            found += [told] if told else []
            at = after
        return sorted(found), n_lost

    def _read_one(
        self, words: list[int], signs: list[int], at: int, probabilities: Sequence[float], free: list[bool]
    ) -> Told | None:
        """Return the entity of words and signs that begin at a step, whose words are then not free, or None."""
        first_fine = N_MARKS + len(self.types)
        if not words or len(signs) not in (2, 3) or signs[0] not in (SHOWN, HIDDEN):
            return None
        if not N_MARKS <= signs[1] < first_fine or (signs[2:] and signs[2] < first_fine):
            return None
        start = words[0] - self.n_signs
        end = start + len(words)
        if words != [*range(words[0], words[0] + len(words))] or not all(free[start:end]) or end > len(free):
            return None
        free[start:end] = [False] * len(words)
        fine = self.fine[signs[2] - first_fine] if signs[2:] else None
        mark = at + len(words)
        confidence = min(*probabilities[at:mark], *probabilities[mark + 1 : mark + len(signs)])
        shown_at = range(mark, mark + 1) if signs[0] == SHOWN else None
        return Told(start, end, self.types[signs[1] - N_MARKS], fine, confidence, shown_at)
