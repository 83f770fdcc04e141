"""The rooms of forge_train and their stairs: no module leads back to itself, no room to one above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "forge_train"

FLOORS = [
    {"engine", "trajectory", "seeds", "config", "clock", "refusals", "interrupt", "typed"},
    {"record"},
    {"learn"},
    {"saving", "reference_keeper"},
    {"engines"},
    {"play"},
    {"agents", "rubric"},
    {"show", "simulator"},
    {"evaluation", "merging"},
    {"selection"},
    {"sft", "tiny", "judging"},
    {"amending", "policy"},
    {"supervision"},
    {"trainer"},
    {"run", "replay"},
    {"recipes"},
    {"commands"},
    {"cli"},
]
"""From the ground up; what stands on one floor knows that floor and those below."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(tree: ast.AST, modules: set[str]) -> Iterator[str]:
    """Of `modules`, those that a file imports: at the top, inside functions, and for types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "say whole names"
            names = [
                whole if (whole := f"{node.module}.{alias.name}") in modules else node.module
                for alias in node.names
            ]
        else:
            continue
        yield from (name for name in names if name in modules)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that lead back to the first of them; [] when there is no such way.

    >>> circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}), circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    (['b', 'c', 'b'], [])
    """
    done: set[str] = set()

    def walk(here: str, way: list[str]) -> list[str]:
        if here in way:
            return [*way[way.index(here) :], here]
        if here in done:
            return []
        found = next((c for there in sorted(graph[here]) if (c := walk(there, [*way, here]))), [])
        done.add(here)
        return found

    return next((c for here in sorted(graph) if (c := walk(here, []))), [])


GRAPH = {
    name: set(imported(ast.parse(path.read_text()), set(MODULES))) - {name} for name, path in MODULES.items()
}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_no_module_leads_back_to_itself() -> None:
    assert not circle(GRAPH), " -> ".join(circle(GRAPH))


def test_no_room_leads_back_to_itself() -> None:
    rooms: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        rooms.setdefault(room(name), set()).update(map(room, others))
    assert not circle({name: others - {name} for name, others in rooms.items()})


def test_imports_go_down() -> None:
    floor = {place: number for number, places in enumerate(FLOORS) for place in places}
    above = {
        name: others
        for name in MODULES
        if room(name) and (others := {o for o in GRAPH[name] if floor[room(o)] > floor[room(name)]})
    }
    assert above == {}, "modules import from a floor above theirs"
