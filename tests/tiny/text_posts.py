"""Eight posts whose words say what their entities are, and eight pairs whose words say how they are related."""

from hf_mner_aug.schema import Entity, Post, Relation

TWEETS = [
    ("Stephen Curry scores for the Warriors", [(0, 2, "PER"), (5, 6, "ORG")]),
    ("I love Paris in the spring", [(2, 3, "LOC")]),
    ("RT @fan : Lionel Messi signs", [(3, 5, "PER")]),
    ("nothing to see here today", []),
    ("New York meets Apple again", [(0, 2, "LOC"), (3, 4, "ORG")]),
    ("The Office is on tonight", [(0, 2, "MISC")]),
    ("Drake Rihanna and Adele sing", [(0, 1, "PER"), (1, 2, "PER"), (3, 4, "PER")]),
    ("going home #tired", []),
]
POSTS = [Post(f"tw-{i}", text.split(), tuple(Entity(*e) for e in spans)) for i, (text, spans) in enumerate(TWEETS)]
RELATIONS = ["None", "/per/org/member_of", "/per/loc/place_of_residence"]
PAIRS = [
    Post(f"re-{i}", text.split(), relation=Relation(head, tail, RELATIONS[kind]))
    for i, (text, head, tail, kind) in enumerate(
        [
            ("Curry plays for the Warriors", (0, 1), (4, 5), 1),
            ("Messi plays for Barcelona now", (0, 1), (3, 4), 1),
            ("Adele lives in London", (0, 1), (3, 4), 2),
            ("Drake lives near Toronto", (0, 1), (3, 4), 2),
            ("Drake saw the Warriors", (0, 1), (3, 4), 0),
            ("Adele saw Paris once", (0, 1), (2, 3), 0),
            ("the Warriors have Curry", (3, 4), (0, 2), 1),
            ("in London lives Adele", (3, 4), (1, 2), 2),
        ]
    )
]
