"""What Label Studio and Doccano export after they imported what ``export`` wrote, and people worked on it."""

import json

PERSON = {"id": 7, "email": "ann.reviewer@post.org", "first_name": "Ann", "last_name": "Reviewer"}


def label_studio(folder, decide=lambda i, results: results):
    """The export JSON; ``decide`` gives the results of task i, None for a skipped and "" for an unopened one."""
    exported = []
    for i, task in enumerate(json.loads((folder / "tasks.json").read_bytes())):
        results = decide(i, [{**result, "origin": "prediction"} for result in task["predictions"][0]["result"]])
        annotation = {
            "id": 100 + i,
            "completed_by": PERSON,
            "result": results or [],
            "was_cancelled": results is None,
            "ground_truth": False,
            "created_at": "2026-11-30T08:00:00.000000Z",
            "updated_at": "2026-11-30T08:00:01.000000Z",
            "lead_time": 4.2,
            "task": i,
        }
        exported.append(
            {
                "id": i,
                "annotations": [] if results == "" else [annotation],
                "drafts": [],
                "predictions": [i],
                "data": task["data"],
                "meta": task["meta"],
                "updated_by": 7,
                "project": 1,
            }
        )
    return json.dumps(exported, ensure_ascii=False)


def label_studio_min(folder, decide=lambda i, results: results):
    """The export JSON-MIN of the same review, which leaves out skipped tasks."""
    exported = []
    for i, task in enumerate(json.loads(label_studio(folder, decide))):
        for annotation in (made for made in task["annotations"] if not made["was_cancelled"]):
            values = [r["value"] for r in annotation["result"] if r["type"] == "labels"]
            chosen = [r["value"]["choices"][0] for r in annotation["result"] if r["type"] == "choices"]
            record = {**task["data"], "id": i, "label": values, "annotator": 7, "annotation_id": annotation["id"]}
            exported.append({**record, **({"verdict": chosen[0]} if chosen else {})})
    return json.dumps(exported, ensure_ascii=False)


def region(start, end, text, label):
    value = {"start": start, "end": end, "text": text, "labels": [label]}
    return {"id": "new", "from_name": "label", "to_name": "text", "type": "labels", "value": value, "origin": "manual"}


REJECT = {"id": "no", "from_name": "verdict", "to_name": "text", "type": "choices", "value": {"choices": ["Reject"]}}


def doccano(folder, decide=lambda i, label: label):
    """The export JSONL; ``decide`` gives the spans of post i, None where it was deleted."""
    lines = []
    for i, line in enumerate((folder / "posts.jsonl").read_text(encoding="utf-8").split("\n")[:-1]):
        record = json.loads(line)
        text, spans = record.pop("text"), decide(i, record.pop("label"))
        if spans is not None:
            lines.append(json.dumps({"id": 500 + i, "text": text, **record, "label": sorted(spans), "Comments": []}))
    return "\n".join(lines) + "\n"
