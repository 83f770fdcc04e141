"""Files of tool schemas for the tests: a shop as OpenAPI, a tracker as an MCP server, a desk as functions."""

from __future__ import annotations

import atexit
import json
import tempfile
from pathlib import Path
from typing import Any

PET = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {
        "id": {"type": "integer", "format": "int64"},
        "name": {"type": "string"},
        "species": {"type": "string", "enum": ["cat", "dog", "parrot"]},
        "price": {"type": "number", "minimum": 0},
        "status": {"type": "string", "enum": ["available", "reserved", "sold"]},
    },
}
NEW_PET = {
    "type": "object",
    "required": ["name", "species"],
    "properties": {key: PET["properties"][key] for key in ("name", "species", "price")},  # type: ignore[index]
}
PET_ID = {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": "ok", "content": {"application/json": {"schema": schema}}}}


def openapi(paths: dict[str, Any], schemas: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    found = {"openapi": "3.0.3", "info": {"title": "Pet Shop", "version": "1"}, "paths": paths}
    return {**found, "components": {"schemas": schemas or {}}, **more}


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def shop() -> dict[str, Any]:
    one = answer(ref("Pet"))
    many = answer({"type": "array", "items": ref("Pet")})
    paths = {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "description": "All pets, or those of a species.",
                "parameters": [{"name": "species", "in": "query", "schema": {"type": "string"}}],
                "responses": many,
            },
            "post": {
                "operationId": "addPet",
                "description": "Take in a pet.",
                "requestBody": body(ref("NewPet")),
                "responses": one,
            },
        },
        "/pets/{petId}": {
            "parameters": [PET_ID],
            "get": {"operationId": "getPet", "description": "Read a pet.", "responses": one},
            "patch": {
                "operationId": "updatePet",
                "description": "Change a pet.",
                "requestBody": body({"type": "object", "properties": NEW_PET["properties"]}),
                "responses": one,
            },
            "delete": {
                "operationId": "deletePet",
                "description": "Take a pet out of the shop.",
                "responses": {"204": {"description": "gone"}},
            },
        },
        "/pets/{petId}/reserve": {
            "post": {
                "operationId": "reservePet",
                "description": "Keep a pet for somebody.",
                "parameters": [PET_ID],
                "responses": one,
            }
        },
    }
    return openapi(paths, {"Pet": PET, "NewPet": NEW_PET})


def argument(kind: str, about: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": about, **more}


def tracker() -> dict[str, Any]:
    """What an MCP server answers to tools/list."""
    issue = {
        "type": "object",
        "properties": {
            "number": {"type": "integer"},
            "title": {"type": "string"},
            "assignee": {"type": "string"},
            "labels": {"type": "array", "items": {"type": "string"}},
            "state": {"type": "string", "enum": ["open", "closed"]},
        },
        "required": ["number", "title"],
    }
    number = argument("integer", "The issue's number")

    def tool(name: str, about: str, needed: list[str], read: bool, **properties: Any) -> dict[str, Any]:
        return {
            "name": name,
            "description": about,
            "inputSchema": {"type": "object", "properties": properties, "required": needed},
            "outputSchema": issue if not name.startswith("list") else {"type": "array", "items": issue},
            "annotations": {"readOnlyHint": read},
        }

    title, who = argument("string", "The title"), argument("string", "Who works on it")
    tools = [
        tool("list_issues", "All issues.", [], True),
        tool("get_issue", "Read an issue.", ["issue_number"], True, issue_number=number),
        tool("create_issue", "Write an issue.", ["title"], False, title=title, assignee=who),
        tool(
            "update_issue",
            "Change one.",
            ["issue_number"],
            False,
            issue_number=number,
            title=title,
            assignee=who,
        ),
        tool("close_issue", "Close an issue.", ["issue_number"], False, issue_number=number),
    ]
    return {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}


def desk() -> list[dict[str, Any]]:
    """OpenAI functions, nested and flat."""

    def function(name: str, about: str, needed: list[str], **properties: Any) -> dict[str, Any]:
        parameters = {"type": "object", "properties": properties, "required": needed}
        return {"name": name, "description": about, "parameters": parameters}

    room, guest = argument("string", "The room's id"), argument("string", "Name of the guest")
    booking = argument("string", "The booking's id")
    flat = [
        function(
            "search_rooms", "Find rooms.", [], beds=argument("integer", "How many beds", minimum=1, maximum=4)
        ),
        function("get_room", "Read a room.", ["room_id"], room_id=room),
        function(
            "set_room",
            "Change it.",
            ["room_id"],
            room_id=room,
            beds=argument("integer", "Beds", minimum=1, maximum=4),
        ),
        function("list_bookings", "All bookings.", []),
        function("get_booking", "Read a booking.", ["booking_id"], booking_id=booking),
        function("create_booking", "Book a room.", ["room_id", "guest_name"], room_id=room, guest_name=guest),
        function("cancel_booking", "Cancel a booking.", ["booking_id"], booking_id=booking),
    ]
    return [
        {"type": "function", "function": one} if i % 2 else {"type": "function", **one}
        for i, one in enumerate(flat)
    ]


def write(folder: Path, **files: Any) -> str:
    """Files of these names (`shop_json` is shop.json), text as it is and all else as JSON; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return str(folder)


def small_folder() -> str:
    """A folder with three domains, which lies there until this process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return write(Path(folder.name), shop_json=shop(), tracker_json=tracker(), desk_json=desk())
