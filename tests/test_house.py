"""The rooms of the package: none imports itself over others, and CONTRIBUTING shows where each stands."""

from house import arrows, floors
from places import ROOT


def test_no_room_stands_above_itself():
    rooms = arrows()
    stack = floors(rooms)
    assert sorted(room for floor in stack for room in floor) == sorted(rooms)
    assert stack[-2:] == [["cli"], ["__main__"]]
    assert "exceptions" in stack[0]


def test_contributing_shows_every_room():
    shown = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Floors")[1]
    missing = [room for room in arrows() if room.removeprefix("models.") not in shown.split()]
    assert missing == []
