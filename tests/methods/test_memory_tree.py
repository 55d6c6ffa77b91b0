"""The memory tree: planted patterns found through real mining, growth branch by branch, patterns that are checked."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from conftest import parse

from hf_mner_aug.draw import Draw
from hf_mner_aug.methods.memory_hard import tree as memory_tree
from hf_mner_aug.methods.memory_hard.mining import mine
from hf_mner_aug.methods.memory_hard.tree import Gardener, Tree, check, cluster, induce_checked
from hf_mner_aug.models.patterns.cues import Space, cues_of, mention_shape, spell_cue
from hf_mner_aug.models.patterns.engine import Pattern
from hf_mner_aug.models.patterns.failures import Failure
from hf_mner_aug.models.patterns.rules import Rules, best_threshold, weigh_cues
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import Post


def split_words(text):
    return tuple(text.split())


AMBIGUOUS = split_words("Paris Jordan Austin Madison Sydney Georgia Carolina Charlotte Lincoln Houston Dallas Denver")
TOWNS = split_words("zadar lund turku graz pecs brno kielce varna split gent tampa reno")
ELSEWHERE = split_words("school work church lunch class bed sleep practice court town camp prison")
BANDS = split_words("Kooks Strokes Wanted Vamps Script Fray Killers Shins National Doors Police Cure")
TEAMS = split_words("Lakers Bulls Giants Mets Jets Bears Colts Rams Eagles")
ENDS = ("lol", "today", "again", "tonight", "!", "haha", "fr", "omg", "this week", "so much")
COMPANIES = split_words("Ford Shell Nokia Chase Barclays Delta Adidas Tesco")
KINDS = split_words("Bank Radio Club Store")
DAYS = ("Monday", "Tuesday", "Friday", "Sunday")
PATTERNS = ("album", "votes", "lower", "the")


def planted():
    """Four patterns of twelve posts; each has three times as many lures that teach a model the wrong thing.

    Gold takes the word behind a company in once and leaves it out once: borders that no model can learn.
    """
    draw = Draw(b"planted")
    texts = []
    for i in range(12):
        end, day, name = draw.choice(ENDS), draw.choice(DAYS), AMBIGUOUS[i]
        texts += [
            ("album", f"listening to the new album of [LOC {name}] on {day} {end}"),
            ("votes", f"votes are in , [LOC {name}] said no , {end}"),
            ("lower", f"on my way to [LOC {TOWNS[i]}] with mom {end}"),
            ("the", f"tickets for [ORG The {BANDS[i]}] are gone {end}"),
        ]
        for _ in range(3):
            end, day, name = draw.choice(ENDS), draw.choice(DAYS), draw.choice(AMBIGUOUS)
            texts += [
                ("lure", f"listening to the new album of [PER {name}] on {day} {end}"),
                ("lure", f"votes are in , [PER {name}] said no , {end}"),
                ("lure", f"on my way to {draw.choice(ELSEWHERE)} with mom {end}"),
                ("lure", f"tickets for The [ORG {draw.choice(TEAMS)}] are gone {end}"),
            ]
    for i, name in enumerate(COMPANIES):
        for mention in (f"[ORG {name} {KINDS[i // 2]}]", f"[ORG {name}] {KINDS[i // 2]}"):
            texts.append(("border", f"he works for {mention} now {draw.choice(ENDS)}"))
    return [Post(f"{label}-{i}", *parse(text)) for i, (label, text) in enumerate(texts)]


@pytest.fixture(scope="module")
def mined():
    """Posts of the sample set with the planted ones, and what a CRF gets wrong on them out of fold."""
    posts = [Post(d.post.id, d.post.tokens, d.post.entities) for d in draw_posts()["train"][:100]] + planted()
    return posts, mine(posts, target="crf:iterations=40", seeds=2, guard=1.0)


@pytest.fixture(scope="module")
def gardener(mined):
    return Gardener(Rules(), Space.of(mined[0]))


def is_of(name, label):
    return name.startswith(f"{label}-")


def best(groups, label, total):
    """Return purity and coverage of the group that holds a pattern best."""
    scores = []
    for members in groups:
        n = sum(is_of(name, label) for name in members)
        scores.append((n / len(members), n / total))
    return max(scores, key=min)


def test_planted_patterns_are_nodes_of_their_own(mined, gardener):
    _, found = mined
    tree = gardener.grow("crf", found.failures)
    names = list(tree.failures)
    unrelated = sum(not any(is_of(name, label) for label in PATTERNS) for name in names)
    assert unrelated / len(names) >= 0.3, "there is noise to tell them from"
    nodes, gains = {}, {}
    for label in PATTERNS:
        total = sum(is_of(name, label) for name in names)
        assert total >= 6, f"{label}: the model was to err here"
        purity, coverage = best([node.members for branch in tree.branches for node in branch.nodes], label, total)
        assert purity >= 0.9, label
        assert coverage >= 0.8, label
        flat = best([branch.members for branch in tree.branches], label, total)
        assert min(flat) < 0.9, f"{label}: the flat split is to fall short"
        gains[label] = min(purity, coverage) - min(flat)
        nodes[label] = next(
            (branch, node)
            for branch in tree.branches
            for node in branch.nodes
            if sum(is_of(name, label) for name in node.members) > len(node.members) / 2
        )
    # Error and confusion alone put them together with each other, or with unrelated failures.
    assert all(gain > 0.2 for gain in gains.values()), gains
    assert nodes["album"][0] == nodes["votes"][0], "the same error and confusion"
    assert nodes["album"][0].title == "LOC is taken for PER"
    assert nodes["lower"][0].title == "LOC is missed"
    assert nodes["the"][0].title == "the borders of ORG are wrong"
    assert all(len(node.members) >= gardener.support for branch in tree.branches for node in branch.nodes)
    for _, node in nodes.values():
        assert node.accuracy is None or node.accuracy >= memory_tree.ACCURACY
    assert "whose 'the' is left out" in nodes["the"][1].pattern.trigger
    assert "after 'of'" in nodes["album"][1].pattern.trigger
    assert "before 'said'" in nodes["votes"][1].pattern.trigger


def test_the_order_of_failures_changes_nothing(mined, gardener):
    _, found = mined
    assert gardener.grow("crf", found.failures) == gardener.grow("crf", found.failures[::-1])


def test_later_failures_change_the_branches_they_fall_into(mined, gardener):
    _, found = mined
    late = [failure for failure in found.failures if is_of(failure.post, "votes")]
    early = [failure for failure in found.failures if failure not in late]
    before = gardener.grow("crf", early)
    after = gardener.insert(before, late)
    assert after == gardener.grow("crf", found.failures)
    old = {branch.title: branch for branch in before.branches}
    touched = {branch.title for branch in after.branches if branch is not old.get(branch.title)}
    assert touched == {"LOC is taken for PER"} | {b.title for b in after.branches if b.title not in old}
    # Other nodes of the touched branch keep their members, so their counts stay theirs.
    keys = {node.key for branch in before.branches for node in branch.nodes}
    assert keys <= {node.key for branch in after.branches for node in branch.nodes}


def test_a_failure_that_is_seen_otherwise_leaves_its_branch(gardener):
    """Mined once more, a failure may be of another error: then both branches are touched, and no third one."""
    first, other = failure("off to rome", 2, 3), failure("way to oslo", 2, 3)
    third = failure("met cher", 1, 2, label="PER")
    changed = replace(first, kind="type", predicted=(2, 3, "PER"))
    before = gardener.grow("crf", [first, other, third])
    after = gardener.insert(before, [changed])
    assert after == gardener.grow("crf", [changed, other, third])
    assert {branch.title: branch.members for branch in after.branches} == {
        "LOC is missed": (other.id,),
        "LOC is taken for PER": (first.id,),
        "PER is missed": (third.id,),
    }
    assert [branch for branch in after.branches if branch in before.branches] == [before.branches[1]]


def test_a_tree_is_what_its_json_says(mined, gardener):
    tree = gardener.grow("crf", mined[1].failures)
    assert Tree.from_dict(tree.to_dict()) == tree


def test_no_failures_make_an_empty_tree(gardener):
    assert gardener.grow("crf", []).branches == ()


def test_clusters_by_hand():
    a, b, c = {"x": 1.0}, {"x": 0.8, "y": 0.6}, {"z": 1.0}
    assert cluster([a, b, c, a], 0.5) == [[0, 1, 3], [2]]
    assert cluster([a, b, c, a], 0.1) == [[0, 3], [1], [2]]
    assert cluster([a], 0.5) == [[0]]


# ---------------------------------------------------------------- patterns


def failure(text, start, end, kind="missed", predicted=None, label="LOC"):
    tokens = tuple(text.split())
    return Failure(text, tokens, ((start, end, label),), kind, (start, end, label), predicted)


def test_cues_tell_how_a_mention_is_written_and_what_stands_around():
    cues = cues_of(failure("RT @joe : off to The Hague ! http://t.co/x", 5, 7, "boundary", (6, 7, "LOC")))
    assert cues["shape"] == ("leaves out=the", "written=capital-the", "words=2", "starts with=the")
    assert cues["context"] == ("before=to", "after=!", "near=off", "near=to", "near=URL")
    assert "post=@…" in cues["post"]
    assert mention_shape(["#NewYork", "city", "FC", "@USA", "24"]) == (
        "#mixed",
        "lower",
        "capitals",
        "@capitals",
        "number",
    )
    assert spell_cue("before=to") == "after 'to'"
    assert spell_cue("words=1") == "of 1 word"
    longer = cues_of(failure("at Scovill Zoo .", 1, 2, "boundary", (1, 3, "LOC")))
    assert "takes in=zoo" in longer["shape"]


def test_rare_cues_weigh_more():
    posts = [Post(str(i), *parse(f"we saw [LOC {name}] again")) for i, name in enumerate(["Rome"] * 9 + ["rome"] * 3)]
    vector = Space.of(posts).vector(failure("they saw rome", 2, 3))
    assert vector["written=lower"] > 0.1
    assert "words=1" not in vector, "all mentions have it"
    assert "near=they" not in vector, "a word in fewer than three posts is no cue"


def test_cues_are_weighed_by_log_odds():
    members = [failure("off to rome", 2, 3), failure("way to oslo", 2, 3)]
    outsiders = [failure("love rome so", 1, 2), failure("met Oslo today", 1, 2)]
    weights = weigh_cues(members, outsiders)
    # Two of two against none of two: log((2.5/3)/(0.5/3)) twice.
    assert weights["before=to"] == pytest.approx(3.2189, abs=1e-4)
    assert "words=1" not in weights, "all have it"
    assert best_threshold([3.0, 2.0], [1.0, 0.0]) == 2.0
    assert best_threshold([3.0, 1.0], [0.5, 2.0]) == 1.0, "the lowest of equals"
    assert best_threshold([3.0, 1.0], []) == 1.0


@dataclass
class Scripted:
    """An engine that gives these answers, one after the other; a pattern matches texts that hold its name."""

    name: ClassVar[str] = "scripted"
    identity: ClassVar[str] = "scripted"
    answers: list
    told: list = field(default_factory=list)

    def induce(self, members, outsiders, critiques, draw):
        self.told.append(list(critiques))
        answer = self.answers[len(self.told) - 1]
        return answer if isinstance(answer, Unwritten) else Pattern(answer, "", "", "")

    def matches(self, questions):
        return [[pattern.name in f.tokens for f in failures] for pattern, failures in questions]


MEMBERS = [failure(f"off to rome {i}", 2, 3) for i in range(6)]
OUTSIDERS = [failure(f"we love rome {i}", 2, 3) for i in range(6)]


def test_a_pattern_is_asked_for_until_it_tells_members_from_outsiders():
    engine = Scripted([Unwritten("no_answer", "cut"), "rome", "to"])
    found = induce_checked(engine, MEMBERS, OUTSIDERS, Draw(b"x"))
    assert (found.pattern.name, found.accuracy, found.rounds) == ("to", 1.0, 3)
    assert engine.told[1] == ["no_answer: cut"]
    assert engine.told[2] == ["no_answer: cut", "accuracy: 0.50 on failures that were not shown, 0.8 is needed"]
    assert found.critiques == tuple(engine.told[2])


def test_the_best_pattern_stays_after_five_rounds():
    engine = Scripted(["nothing", "love", "rome", "nothing", "nothing", "to"])
    found = induce_checked(engine, MEMBERS, OUTSIDERS, Draw(b"x"))
    assert (found.pattern.name, found.accuracy, found.rounds) == ("nothing", 0.5, 1)
    assert len(engine.told) == 5
    engine = Scripted([Unwritten("no_answer", "cut")] * 5)
    found = induce_checked(engine, MEMBERS, OUTSIDERS, Draw(b"x"))
    assert (found.pattern.name, found.accuracy, found.rounds) == ("unnamed", 0.0, 5)
    assert found.pattern.why == "no pattern was given: no_answer: cut"


def test_what_is_shown_is_not_what_is_checked():
    seen = []

    class Watching(Scripted):
        def induce(self, members, outsiders, critiques, draw):
            seen.append({f.post for f in [*members, *outsiders]})
            return super().induce(members, outsiders, critiques, draw)

        def matches(self, questions):
            assert not seen[-1] & {f.post for _, failures in questions for f in failures}
            return super().matches(questions)

    induce_checked(Watching(["to"]), MEMBERS, OUTSIDERS, Draw(b"x"))
    assert len(seen[0]) == 8


def test_accuracy_is_balanced():
    """One of two members, none of eight outsiders: (1/2 + 8/8) / 2, though nine of ten answers are right."""
    inside = [failure("off to rome", 2, 3), failure("love rome so", 1, 2)]
    outside = [failure(f"met rome {i}", 1, 2) for i in range(8)]
    assert check(Scripted([]), Pattern("to", "", "", ""), inside, outside) == 0.75


def test_what_is_shown_hangs_on_the_seed_alone(monkeypatch, tmp_path):
    shown = []

    class Watching(Scripted):
        def induce(self, members, outsiders, critiques, draw):
            shown.append([f.post for f in [*members, *outsiders]])
            return super().induce(members, outsiders, critiques, draw)

    space = Space.of(Post(f.post, f.tokens) for f in [*MEMBERS, *OUTSIDERS])
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / place))
        Gardener(Watching(["to", "love"]), space, 0.3, seed=seed).grow("crf", [*MEMBERS, *OUTSIDERS])
    first, again, other = shown[:2], shown[2:4], shown[4:]
    assert first == again != other


def test_without_outsiders_there_is_nothing_to_tell():
    found = induce_checked(Scripted(["any"]), MEMBERS, [], Draw(b"x"))
    assert (found.pattern.name, found.accuracy, found.rounds, found.critiques) == ("any", None, 1, ())


def test_growing_goes_on_node_by_node(monkeypatch, tmp_path):
    """Patterns that were induced before a fault are not asked for again."""
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    posts = [Post(f.post, f.tokens) for f in [*MEMBERS, *OUTSIDERS]]

    class Failing(Scripted):
        def induce(self, members, outsiders, critiques, draw):
            if len(self.told) == 1:
                raise OSError("the endpoint is gone")
            return super().induce(members, outsiders, critiques, draw)

    first = Failing(["to"])
    failures = [*MEMBERS, *OUTSIDERS]
    with pytest.raises(OSError, match="endpoint is gone"):
        Gardener(first, Space.of(posts), 0.3).grow("crf", failures)
    second = Scripted(["love"])
    tree = Gardener(second, Space.of(posts), 0.3).grow("crf", failures)
    assert [node.pattern.name for node in tree.branches[0].nodes] == ["to", "love"]
    assert len(second.told) == 1
    third = Scripted([])
    assert Gardener(third, Space.of(posts), 0.3).grow("crf", failures) == tree
