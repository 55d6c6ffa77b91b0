"""Labelled texts as JSON: what a model is asked, and what is read of its answers."""

import json

import pytest
from endpoint_server import EndpointServer, said

from hf_mner_aug import GMDA
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.text.json_answers import answer_schema, as_answer, labelled_text, names_of
from hf_mner_aug.schema import Entity, Post

TYPES = ("PER", "LOC", "person/actor", "person/singer")


def listed(*entities):
    return [{"text": text, "type": kind} for text, kind in entities]


@pytest.mark.parametrize(
    ("text", "entities", "line"),
    [
        (
            "Cher is in New York!",
            [("New York", "location"), ("Cher", "person")],
            "B-PER Cher is in B-LOC New I-LOC York !",
        ),
        ("York, New York", [("York", "Location"), ("New York", "location")], "B-LOC York , B-LOC New I-LOC York"),
        ("Cher and Cher", [("Cher", "person (singer)")], "B-person/singer Cher and B-person/singer Cher"),
        ("a B-52 in\nRome", [("Rome", "location")], "a \\B\\-52 in B-LOC Rome"),
        ("nothing here", [], "nothing here"),
        ("Cher twice", [("Cher", "person"), ("Cher", "person")], "B-PER Cher twice"),
    ],
)
def test_an_answer_is_read_as_a_labelled_text(text, entities, line):
    assert labelled_text({"text": text, "entities": listed(*entities)}, TYPES, "whole") == line


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "the answer: expected a mapping"),
        ({"text": "a"}, "the answer: expected the key entities"),
        ({"text": 1, "entities": []}, "the answer: text: expected text, found"),
        ({"text": "a", "entities": [{"text": "a"}]}, "entities.0: expected the key type"),
        ({"text": "in Rome", "entities": listed(("Oslo", "location"))}, "Oslo is not in the text"),
        ({"text": "in Rome", "entities": listed((" ", "location"))}, "is not in the text"),
        ({"text": "in Rome", "entities": listed(("Rome", "planet"))}, "Rome has the unknown type planet"),
        ({"text": "in Rome", "entities": listed(("Rome", "person"), ("Rome", "location"))}, "Rome has two types"),
        ({"text": "in Rome !", "entities": listed(("!", "location"))}, "! has no letter and no digit"),
        ({"text": "in Rome", "entities": listed(("Rome", "planet"), ("Rome", "location"))}, "unknown type planet"),
        ({"text": "a" * 601, "entities": []}, "expected at most 600 characters and 40 entities, found more"),
        ({"text": "a", "entities": listed(*[("a", "person")] * 41)}, "40 entities, found more"),
    ],
)
def test_an_answer_that_does_not_fit_is_one_line(value, told):
    with pytest.raises(DataError) as caught:
        labelled_text(value, TYPES, "whole")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_types_have_names_and_equal_names_stay_apart():
    assert names_of(TYPES)["person/actor"] == "person (actor)"
    assert names_of(("PER", "person", "LOC")) == {"PER": "PER", "person": "person", "LOC": "location"}
    post = Post("a", ["Cher", "in", "New", "York"], [Entity(0, 1, "person", "singer"), Entity(2, 4, "LOC")])
    assert as_answer(post, TYPES) == {
        "text": "Cher in New York",
        "entities": listed(("Cher", "person (singer)"), ("New York", "location")),
    }
    kinds = answer_schema(TYPES)["properties"]["entities"]["items"]["properties"]["type"]["enum"]
    assert kinds == ["location", "person", "person (actor)", "person (singer)"]


def test_gmda_takes_json_from_a_server_without_schemas(mner, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "max_concurrency=1,backoff_s=0.01")

    def say(body):
        asked = json.loads(said(body).split("<data>")[1].split("</data>")[0])
        names = " , ".join(one["text"] for one in asked["entities"])
        return json.dumps({"text": f"so we all meet {names} again", "entities": asked["entities"]})

    with EndpointServer() as server:
        server.say = say
        server.refusal = lambda body: (422, {}) if "response_format" in body else None
        method = GMDA(text_model=f"endpoint:{server.url}#m,answer=json,shown=1", detector=None, image=False).fit(mner)
        with pytest.warns(UserWarning, match="schemas are sent in the prompt"):
            made = method.map(mner)
        shown = json.loads(said(server.log[-1].body).split("<data>")[1].split("</data>")[0])
        assert set(shown["examples"][0]) == {"text", "entities"}
        assert all(row["tokens"][:4] == ["so", "we", "all", "meet"] for row in made)
        assert sum(any(row["ner_tags"]) for row in made) > 5
    with pytest.raises(UsageError, match="unknown answer 'xml': valid are json, tags"):
        GMDA(text_model="endpoint:http://127.0.0.1:1/v1#m,answer=xml")
