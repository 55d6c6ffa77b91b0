"""How a server is asked for JSON of a schema: by the first of three forms that it takes.

``json_schema`` is OpenAI's ``response_format``; ``json_object`` with the schema beside it is that of llama.cpp's Python
server; ``prompt`` has no ``response_format``, but the schema at the end of the user's last message.

The next form is tried after an error that may be about the form: one that mentions it, or, as long as the server has
answered nothing yet, any of a bad request or a failure inside (``DOUBTFUL``). Errors of a busy server, of a gateway, of
the key or of the model are not about the form. The form that is answered is remembered for the server and model while
the process runs. After ``MOST_DOUBTS`` requests that were answered in no form, no other form is tried for them.
"""

import json
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hf_mner_aug.models.endpoint.protocol import Answer, Call, Failure
from hf_mner_aug.models.endpoint.responses import FORMS, Form

MOST_DOUBTS = 3
DOUBTFUL = (400, 422, 500)
REFUSING = (*DOUBTFUL, 404, 415, 501)  # with a mention of the form
_MENTION = re.compile(r"response.?format|json.?schema|json.?object|structured.?output|grammar", re.IGNORECASE)
_AS = {"json_object": "as response_format=json_object", "prompt": "in the prompt"}


def has_schema(call: Call) -> bool:
    """Return whether a call asks for JSON of a schema."""
    return call.kind == "chat" and "response_format" in call.body


def in_form(call: Call, form: Form) -> Call:
    """Return a call with its schema in another form, under the digest of the request."""
    if form == FORMS[0]:
        return call
    body = dict(call.body)
    schema = body.pop("response_format")["json_schema"]["schema"]
    if form == "json_object":
        body["response_format"] = {"type": "json_object", "schema": schema}
    else:
        body["messages"] = _with_schema(body["messages"], schema)
    return call._replace(body=body)


def _with_schema(messages: Sequence[Mapping[str, Any]], schema: Any) -> list[dict[str, Any]]:
    """Return messages of which one has the schema: the user's last, unless one has it already."""
    spelt = json.dumps(schema)
    changed = [dict(message) for message in messages]
    if not changed or any(spelt in str(message.get("content")) for message in changed):
        return changed
    last = next((message for message in reversed(changed) if message.get("role") == "user"), changed[-1])
    told = f"Answer with one JSON value of this schema and nothing else:\n{spelt}"
    content = last.get("content")
    if isinstance(content, list):
        last["content"] = [*content, {"type": "text", "text": told}]
    else:
        last["content"] = f"{content}\n\n{told}"
    return changed


def is_refusal(failure: Failure) -> bool:
    """Return whether a failure says that the server does not take the form."""
    return failure.status in REFUSING and _MENTION.search(failure.detail) is not None


class Taken:
    """The form that a server takes, as far as this process knows; threads share it."""

    def __init__(self) -> None:
        self.form: Form = FORMS[0]
        self._known = False  # something was answered in it
        self._doubts = 0
        self._lock = threading.Lock()

    def after(self, form: Form, failure: Failure) -> Form | None:
        """Return the form to try after a failure in a form, or None."""
        with self._lock:
            doubtful = not self._known and failure.status in DOUBTFUL
            if self._doubts >= MOST_DOUBTS or not (doubtful or is_refusal(failure)):
                return None
            later = FORMS[max(FORMS.index(form) + 1, FORMS.index(self.form)) :]
        return later[0] if later else None

    def note(self, form: Form, outcome: Answer | Failure, others: int, host: str) -> None:
        """Remember the outcome in the last form of a request, after so many other forms; tell of a new one once."""
        with self._lock:
            if isinstance(outcome, Failure):
                self._doubts += others > 0 and outcome.status in REFUSING
                return
            new = FORMS.index(form) > FORMS.index(self.form)
            self._known = True
            if new:
                self.form = form
        if new:
            told = f"{host} refuses response_format=json_schema: schemas are sent {_AS[form]}"
            warnings.warn(told, stacklevel=2)


_LOCK = threading.Lock()
_TAKEN: dict[tuple[str, str], Taken] = {}


def taken_by(base_url: str, model: str) -> Taken:
    """Return what this process knows of a model on a server."""
    with _LOCK:
        return _TAKEN.setdefault((base_url, model), Taken())
