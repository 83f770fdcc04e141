"""The house has one-way stairs: who may import whom, and how long a file and a function may get."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("forge_envs", "forge_train")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

CORE = ["errors", "messages", "grammars", "tools", "spaces", "rewards", "env", "registry"]
CORE += ["arguments", "schemas", "plugins", "task", "prose", "typed", "syntax"]
ENVS = {
    "errors": set(),
    "messages": set(),
    "grammars": {"messages", "plugins"},
    "rewards": set(),
    "registry": {"plugins"},
    "plugins": set(),
    "tables": set(),
    "arguments": {"errors"},
    "schemas": set(),
    "typed": set(),
    "syntax": set(),
    "task": set(),
    "slips": set(),
    "tools": {"errors", "messages", "schemas"},
    "spaces": {"errors", "messages", "grammars", "schemas", "tools"},
    "env": {"errors", "messages", "grammars", "tools", "spaces", "rewards", "arguments", "schemas", "task"},
    "prose": {"env", "messages"},
    "__main__": {"cli"},
    "": {*CORE},
    "probe": {*CORE},
    "border": {*CORE, "probe"},
    "testing": {*CORE, "", "probe", "border"},
    "wrappers": {*CORE},
    "people": {*CORE},
    "sandbox": {"errors", "testing", "probe"},
    "adopted": {*CORE},
    "audit": {"messages", "probe", "typed"},
    "serve": {*CORE, "adapters"},
    "by_hand": {*CORE},
    "new_world": set(),
    "cli": {
        *CORE,
        "by_hand",
        "new_world",
        "testing",
        "people",
        "sandbox",
        "make_swe",
        "adapters",
        "audit",
        "red_team",
        "serve",
        "worlds.tooluse",
    },
    "worlds": {*CORE, "", "people", "tables", "sandbox", "slips"} - {"registry"},
    "red_team": {"env", "errors", "typed", "worlds.swe", "worlds.polyglot"},
    "make_swe": {"errors", "sandbox", "typed", "worlds.swe"},
    "adapters": {*CORE, "", "sandbox", "worlds.swe", "worlds.polyglot"},
}
"""What each part of forge_envs may import; "" is the package itself. A part that is a folder may import
itself; a world imports no other world, and nobody imports what makes tasks for one."""
SHARED = [["worlds", "desk"]]
"""What is no world itself but what several worlds are made of."""
MADE_OF = {
    "tau": [["worlds", "retail"], ["worlds", "airline"], ["worlds", "telecom"]],
    "report": [["worlds", "search"]],
    "agentless": [["worlds", "swe"], ["worlds", "polyglot"]],
}
"""Published benchmarks are played with the tools of our own worlds; fixes and tests without an agent loop
take tasks and judge of one world and edits of another; reports are written over a search's web."""
SPINE = ["engine", "trajectory", "play.episode", "trainer", "cli"]
"""Parts of forge_train in the order in which they may know each other."""

LAZY = {
    "forge_envs.adapters.art": {"art", "openai"},
    "forge_envs.adapters.gem": {"gem"},
    "forge_envs.adapters.inspect_ai": {"inspect_ai"},
    "forge_envs.adapters.nemo": {"fastapi", "nemo_gym", "omegaconf", "resources_servers", "uvicorn"},
    "forge_envs.adapters.mcp_server": {"mcp", "starlette", "uvicorn"},
    "forge_envs.adapters.rllib": {"ray"},
    "forge_envs.adapters.skyrl": {"skyrl_gym"},
    "forge_envs.adapters.tinker": {"chz", "tinker_cookbook"},
    "forge_envs.adapters.verifiers": {"verifiers"},
    "forge_envs.adapters.verl": {"verl"},
    "forge_envs.audit.host": {"gem", "reasoning_gym", "textarena", "verifiers", "websockets"},
    "forge_envs.people.posting": {"httpx2"},
    "forge_envs.adapters.trl": {"datasets"},
    "forge_envs.adopted.openenv": {"websockets"},
    "forge_envs.adapters.openenv": {"openenv"},
    "forge_envs.serve": {"fastapi", "httpx2", "prometheus_client", "starlette", "uvicorn"},
    "forge_envs.sandbox": {"docker", "requests", "rich", "urllib3"},  # requests and urllib3 come with the SDK
    "forge_envs.make_swe": {"pyarrow", "pytest", "swebench", "yaml"},
    "forge_envs.worlds.search.embedders": {"model2vec"},
    "forge_envs.worlds.tooluse": {"networkx"},
    "forge_envs.worlds.toolfolder": {"networkx", "yaml"},
    "forge_envs.worlds.agentless": {"swebench"},
    "forge_envs.worlds.swe": {"pyarrow", "pytest", "_pytest", "swebench", "yaml"},
}
"""Libraries of extras, by module or folder, imported only when they are used."""

LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}
"""Exceptions to the limits below, by name: path and path::function."""


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


@functools.cache
def imports(path: Path, for_types: bool = False) -> set[str]:
    """Modules that a file imports, at the top and inside functions; and for types alone, if asked for."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if not for_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: say whole names"
            assert node.module
            found.update(
                whole if (whole := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            )
    return found


def broken(rule, paths=FILES):
    """What breaks a rule, by module; in one test for all of them, which are too many to be one each."""
    return {module(path): found for path in paths if (found := rule(path))}


OURS = [path for path in FILES if module(path).startswith("forge_envs")]


def test_the_two_packages_never_meet():
    def met(path):
        foreign = {other for other in PACKAGES if other != path.relative_to(ROOT).parts[0]}
        return {name for name in imports(path) if name.split(".")[0] in foreign}

    assert broken(met) == {}


def test_arrows_of_forge_envs_point_one_way():
    assert broken(wrong_arrows, OURS) == {}


def wrong_arrows(path):
    """What a module of forge_envs imports and may not."""
    own = module(path).split(".")[1:]
    part = own[0] if own else ""
    found = set()
    for name in imports(path):
        package, *target = name.split(".")
        inside = target[:1] == [part] and (part != "worlds" or target[:2] == own[:2])
        made_of = [*SHARED, *MADE_OF.get(".".join(own[1:2]), [])]
        if package != "forge_envs" or inside or (part == "worlds" and target[:2] in made_of):
            continue
        if not {".".join(target[:n]) for n in (1, 2)} & ENVS[part]:
            found.add(name)
    return found


def test_the_worlds_need_nothing_heavy():
    assert broken(heavy_imports, OURS) == {}


def heavy_imports(path):
    """Libraries that a module imports and that are neither light nor those of its extra."""
    allowed = {"gymnasium", "numpy", "pydantic", "typing_extensions", "forge_envs"}
    heavy = {name.split(".")[0] for name in imports(path)} - allowed
    extras = {
        library
        for where, found in LAZY.items()
        if f"{module(path)}.".startswith(f"{where}.")
        for library in found
    }
    return heavy - extras - sys.stdlib_module_names


def test_libraries_of_extras_are_imported_when_they_are_used():
    worlds = ("retail.env", "airline.env", "swe.env", "polyglot.env", "toolfolder.env", "search.env")
    needed = ", ".join(
        ["forge_envs.people.users", "forge_envs.cli", *(f"forge_envs.worlds.{world}" for world in worlds)]
    )
    extras = sorted(set().union(*LAZY.values()))
    code = f"import sys, {needed}; print([name for name in {extras} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (run.stdout.strip(), run.returncode) == ("[]", 0), run.stderr


def reachable(start: str, for_types: bool = False) -> set[str]:
    """Everything that a module of this house imports, and what that imports."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in imports(MODULES[todo.pop()], for_types) & MODULES.keys():
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen


def test_no_module_imports_itself_by_a_detour():
    # Imports inside functions count. In forge_envs those for types alone do too: who needs no more than the
    # type of what is above can say so in a Protocol.
    circular = {name for name in MODULES if name in reachable(name, for_types=name.startswith("forge_envs"))}
    assert circular == set()


@pytest.mark.parametrize("part", SPINE)
def test_arrows_of_forge_train_point_one_way(part):
    if f"forge_train.{part}" not in MODULES:
        pytest.skip("not there yet")
    later = {f"forge_train.{name}" for name in SPINE[SPINE.index(part) + 1 :]}
    assert not reachable(f"forge_train.{part}") & later


@pytest.mark.parametrize("desk", ["retail", "airline"])
def test_every_desk_has_the_same_rooms(desk):
    rooms = {path.stem for path in (ROOT / "forge_envs" / "worlds" / desk).glob("*.py")}
    rest = {"env", "tasks", "draft", "goals", "gold", "customer", "hearing", "tools", "database"}
    assert rooms == {"__init__", *rest}


def test_one_name_is_one_class():
    places = {}
    for path in FILES:
        if path.is_relative_to(ROOT / "forge_envs"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(module(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


CARRIED = {
    "worlds/agentless/disguise.py": set(),
    "worlds/swe/edit.py": set(),
    "worlds/swe/watch.py": {"pytest"},
    "make_swe/driver.py": {"pytest"},
    "make_swe/witness.py": set(),
    "sandbox/supervise.py": set(),
}
"""Files that run where Forge is not, and what else is there."""


@pytest.mark.parametrize("name", CARRIED)
def test_what_is_carried_into_a_box_stands_alone(name):
    needed = {one.partition(".")[0] for one in imports(ROOT / "forge_envs" / name)}
    assert needed - sys.stdlib_module_names == CARRIED[name]


def test_a_file_holds_one_idea_and_a_function_fits_a_screen():
    assert broken(too_long) == {}, "split it by concept"


def too_long(path):
    """The file and its functions that are too long, each with its lines."""
    name = str(path.relative_to(ROOT))
    text = path.read_text()
    found = {}
    if (lines := len(text.splitlines())) > LONG_FILES.get(name, 420):
        found[name] = lines
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > LONG_FUNCTIONS.get(f"{name}::{node.name}", 65):
                found[node.name] = length
    return found
