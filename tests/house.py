"""Counts the package's rooms, the floors they stand on, and the arrows between them, from its imports.

By hand: ``python tests/house.py``. A room is a module or package of the top level, or a role of ``models/``.
"""

from graphlib import CycleError, TopologicalSorter

import grimp

PACKAGE = "hf_mner_aug"


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    return ".".join(parts[: 2 if parts[0] == "models" else 1])


def arrows() -> dict[str, set[str]]:
    """Return the rooms that each room imports, wherever the import stands but for type checkers alone."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True)
    found: dict[str, set[str]] = {room_of(module): set() for module in graph.modules - {PACKAGE, f"{PACKAGE}.models"}}
    for module in sorted(graph.modules - {PACKAGE, f"{PACKAGE}.models"}):
        targets = graph.find_modules_directly_imported_by(module) - {PACKAGE, f"{PACKAGE}.models"}
        found[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return found


def floors(rooms: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms by floor, the lowest first: each stands as low as what it imports lets it.

    Raises:
        CycleError: rooms import each other in a circle.
    """
    height: dict[str, int] = {}
    for room in TopologicalSorter(rooms).static_order():
        height[room] = 1 + max((height[below] for below in rooms[room]), default=-1)
    return [sorted(room for room in rooms if height[room] == floor) for floor in range(max(height.values()) + 1)]


if __name__ == "__main__":
    rooms = arrows()
    print(f"{len(rooms)} rooms, {sum(map(len, rooms.values()))} arrows")
    try:
        for number, floor in enumerate(floors(rooms)):
            print(f"{number:3}  {'  '.join(floor)}")
    except CycleError as error:
        print("a circle: " + " -> ".join(reversed(error.args[1])))
