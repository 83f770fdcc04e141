"""A few entries of our own in the file formats of BFCL."""

from __future__ import annotations

import atexit
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXT = {"type": "string", "description": "A name."}
DOCUMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "gorilla_file_system": {
        "mkdir": {"dir_name": TEXT},
        "mv": {"source": TEXT, "destination": TEXT},
        "touch": {"file_name": TEXT},
        "ls": {},
        "cat": {"file_name": TEXT},
        "rm": {"file_name": TEXT},
    },
    "math_api": {
        "add": {"a": {"type": "float", "description": "A."}, "b": {"type": "float", "description": "B."}}
    },
}
FILES = {"notes.txt": {"type": "file", "content": "Milk and bread."}}
CONFIG = {"GorillaFileSystem": {"root": {"desk": {"type": "directory", "contents": FILES}}}}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def talk(n: int, kind: str = "base", **changed: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dialogue over a desk of files, and its answer."""
    question = [
        said(f"I need a folder box{n} for my notes.txt, and the notes in it."),
        said("What is 2 + 3?"),
    ]
    truth = [[f"mkdir(dir_name='box{n}')", f"mv('notes.txt', 'box{n}')"], ["add(a=2, b=3)"]]
    id = f"multi_turn_{kind}_{n}"
    entry = {
        "id": id,
        "question": question,
        "initial_config": CONFIG,
        "path": ["GorillaFileSystem.mkdir"],
        "involved_classes": ["GorillaFileSystem", "MathAPI"],
    }
    if kind == "miss_func":
        question.insert(1, [])
        truth.insert(0, [])
        entry["missed_function"] = {"1": ["mkdir"]}
    return {**entry, **changed}, {"id": id, "ground_truth": truth}


def function(name: str, required: Sequence[str] = (), **properties: str) -> dict[str, Any]:
    """A document of a function whose arguments have these types."""
    described = {key: {"type": kind, "description": "."} for key, kind in properties.items()}
    for value in described.values():
        if value["type"] in ("array", "tuple", "ArrayList", "Array"):
            value["items"] = {"type": "string" if value["type"] in ("array", "tuple") else "String"}  # type: ignore[assignment]
    parameters = {"type": "dict", "properties": described, "required": list(required)}
    return {"name": name, "description": f"Does {name}.", "parameters": parameters}


def ask(
    id: str, *functions: dict[str, Any], answer: Any = None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A question, and its answer."""
    entry = {"id": id, "question": [said("Please do.")], "function": list(functions)}
    return entry, None if answer is None else {"id": id, "ground_truth": answer}


def write(folder: Path, version: str, category: str, made: Sequence[tuple[Any, Any]]) -> str:
    """The files of a category and the documents; the `path` that reads them."""
    answers, documents = folder / "possible_answer", folder / "multi_turn_func_doc"
    for place in (folder, answers, documents):
        place.mkdir(parents=True, exist_ok=True)
    name = f"BFCL_{version}_{category}.json"
    lines(folder / name, [entry for entry, _ in made])
    if made and made[0][1] is not None:
        lines(answers / name, [answer for _, answer in made])
    for system, functions in DOCUMENTS.items():
        rows = []
        for called, properties in functions.items():
            parameters = {"type": "dict", "properties": properties, "required": list(properties)}
            rows.append({"name": called, "description": f"Does {called}.", "parameters": parameters})
        lines(documents / f"{system}.json", rows)
    return str(folder)


def lines(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def small_bfcl() -> str:
    """The `path` of a few dialogues, which lie there until this process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return write(Path(folder.name), "v4", "multi_turn_base", [talk(n) for n in range(8)])
