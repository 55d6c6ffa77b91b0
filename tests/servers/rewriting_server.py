"""A language model for tests that gives entities other names and writes contexts anew, badly at first where told so.

It reads what the real one reads: the block of JSON in the user's message. What an answer does wrong is told by a word
in the post that it is asked for (``FAULTS``); each critique is one fault less.
"""

import json
from typing import Any

from endpoint_server import EndpointServer
from pattern_server import block

NEW = {"person": "Ada Lovelace", "location": "Bergen", "organization": "Lego", "miscellaneous": "Tetris"}
# What is answered to the first, second and third request; afterwards it is good.
FAULTS: dict[str, tuple[str, ...]] = {
    "prose": ("Sure! Here is a post.",),
    "schema": ('{"text": "hello"}', '["hello"]'),
    "lost": ("lost", "lost"),
    "further": ("further",),
    "absent": ("absent",),
    "twice": ("twice",),
    "planet": ("planet",),
    "handle": ("handle",),
    "same": ("same",),
    "short": ("short",),
    "terse": ("brief",),
    "hopeless": ("lost",) * 9,
}


class RewritingServer(EndpointServer):
    """The server."""

    def say(self, body: dict[str, Any]) -> str:
        """Answer by what is asked."""
        data = block(body)
        words = data["post"].split()
        faults = next((FAULTS[word] for word in words if word in FAULTS), ())
        fault = faults[len(data["critiques"])] if len(data["critiques"]) < len(faults) else ""
        if fault[:1] in ("{", "[", "S"):
            return fault
        return self.context(data, fault) if "strategy" in data else self.names(data, fault)

    def names(self, data: Any, fault: str) -> str:
        """Other names, or what is wrong with them."""
        listed = [{**entity, "new": NEW.get(entity["type"], "Somebody Else")} for entity in data["entities"]]
        if fault == "handle":
            listed[0]["new"] = "@somebody"
        elif fault == "same":
            listed[0]["new"] = listed[0]["text"].upper()
        elif fault == "brief":
            listed[0]["new"] = "Al"
        elif fault in ("lost", "hopeless"):
            listed = listed[1:]
        return json.dumps({"entities": listed})

    def context(self, data: Any, fault: str) -> str:
        """The entities in another sentence, or what is wrong with it."""
        entities = list(data["entities"])
        texts = [entity["text"] for entity in entities]
        if fault in ("lost", "hopeless"):
            entities = entities[1:]
        elif fault == "further":
            entities.append({"text": "Zork", "type": "miscellaneous"})
            texts.append("Zork")
        elif fault == "absent":
            texts = texts[1:]
        elif fault == "twice":
            texts = [*texts, texts[0]]
        elif fault == "planet":
            entities[0] = {**entities[0], "type": "planet"}
        told = sum(map(ord, data["post"])) % 97
        words = ["number", f"{told}x", "is", "about", *texts, "as", "they", "say"]
        text = " and ".join(texts) if fault == "short" else " ".join(words)
        return json.dumps({"text": text, "entities": entities})
