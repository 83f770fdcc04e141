"""OpenAPI 3.0 and 3.1: an operation is a tool, its parameters and the fields of its body are arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forge_envs.errors import brief
from forge_envs.worlds.toolfolder.dialects import LONGEST_NAME, Dialect
from forge_envs.worlds.toolfolder.listed import described
from forge_envs.worlds.toolfolder.naming import reads, safe_name
from forge_envs.worlds.toolfolder.references import References
from forge_envs.worlds.toolfolder.schema import BadSchema, Catalogue, Schema, ToolSchema
from forge_envs.worlds.toolfolder.texts import cleaned

METHODS = ("get", "put", "post", "delete", "patch")
_FORMS = ("application/json", "+json", "x-www-form-urlencoded", "form-data", "*/*", "text/plain")
"""Media types, the best first."""
_UNSAID = ("accept", "content-type", "authorization")
"""Headers that OpenAPI says are no parameters."""


def is_openapi(document: Any) -> bool:
    """Whether a document calls itself one, of whatever version."""
    return isinstance(document, dict) and ("openapi" in document or "swagger" in document)


def read_openapi(document: dict[str, Any], file: str, notes: Catalogue) -> Iterator[ToolSchema]:
    """The tools of a document; operations that cannot be taken are put down."""
    version = str(document.get("openapi") or document.get("swagger"))
    if not version.startswith(("3.0", "3.1")) or "swagger" in document:
        text = f"OpenAPI {version[:20]} is not read; convert the file to 3.0 or 3.1"
        notes.note("version", file, text, refused=True)
        return
    paths = document.get("paths")
    if not isinstance(paths, dict):
        notes.note("form", file, "it has no paths, so there is nothing to call", refused=True)
        return
    info = document.get("info")
    api = cleaned(info.get("title") if isinstance(info, dict) else None, file, notes, longest=60)
    yield from _Document(References(document), file, api, notes).tools(paths)


class _Document:
    def __init__(self, references: References, file: str, api: str, notes: Catalogue) -> None:
        self.references = references
        self.file = file
        self.api = api
        self.notes = notes
        self.dialect = Dialect(references, notes)

    def tools(self, paths: dict[str, Any]) -> Iterator[ToolSchema]:
        before = len(self.notes.remarks)
        none = True
        for path, item in paths.items():
            try:
                item, _ = self.references.follow(item)
            except BadSchema as error:
                self.notes.note(error.kind, f"{self.file}: {path[:100]}", str(error), refused=True)
                continue
            for method in METHODS:
                if isinstance(item, dict) and isinstance(item.get(method), dict):
                    where = f"{self.file}: {method.upper()} {path[:100]}"
                    try:
                        yield self._tool(path, method, item, where)
                        none = False
                    except BadSchema as error:
                        self.notes.note(error.kind, where, str(error), refused=True)
        if none and len(self.notes.remarks) == before:
            self.notes.note("form", self.file, "its paths have no operations", refused=True)

    def _tool(self, path: str, method: str, item: dict[str, Any], where: str) -> ToolSchema:
        operation = item[method]
        told = operation.get("operationId")
        made = f"{method}_{path}"
        name = safe_name(told) if isinstance(told, str) else ""
        if not name:
            name = safe_name(made)
            self.notes.note("name", where, f"it has no operationId: it is called {name}")
        elif name != told:
            self.notes.note("name", where, f"{brief(told)} is called {name} here")
        properties, required = self._arguments(operation, item, where)
        text = operation.get("description") or operation.get("summary")
        return ToolSchema(
            name=name,
            description=described(text, name, where, self.notes),
            parameters={"type": "object", "properties": properties, "required": required},
            returns=self._answer(operation, where),
            writes=method != "get" and not (method == "post" and reads(name)),
            source=where,
            api=self.api,
            method=method,
            path=path,
        )

    def _arguments(
        self, operation: dict[str, Any], item: dict[str, Any], where: str
    ) -> tuple[dict[str, Schema], list[str]]:
        """Path, query and needed headers, then the body: its fields if it is an object, else `body`."""
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for given in self._parameters(operation, item):
            name, place = given.get("name"), given.get("in")
            if place == "cookie" or (place == "header" and not _said(given)):
                continue
            if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
                raise BadSchema("name", f"a parameter cannot be called {brief(name)}")
            schema = given.get("schema")
            if schema is None and isinstance(given.get("content"), dict):
                schema = next(
                    (one.get("schema") for one in given["content"].values() if isinstance(one, dict)), None
                )
            if schema is None:
                self.notes.note("type", where, f"parameter {name} has no schema: taken as string")
                schema = {"type": "string"}
            found = self.dialect.whole(schema, where)
            text = cleaned(given.get("description"), where, self.notes, longest=400)
            properties[name] = {**found, "description": text} if text else found
            if given.get("required") is True or place == "path":
                required.append(name)
        for name, schema, needed in self._body(operation, where):
            if name in properties:
                self.notes.note(
                    "clash", where, f"body and path or query both have {name}: the body's is body_{name}"
                )
                name = f"body_{name}"
            properties[name] = schema
            required += [name] if needed else []
        return properties, required

    def _parameters(self, operation: dict[str, Any], item: dict[str, Any]) -> list[dict[str, Any]]:
        """Those of the operation over those of its path."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for given in (item.get("parameters"), operation.get("parameters")):
            for one in given if isinstance(given, list) else ():
                one, _ = self.references.follow(one)
                if not isinstance(one, dict):
                    raise BadSchema("type", f"a parameter is an object, not {brief(one)}")
                found[str(one.get("name")), str(one.get("in"))] = one
        return list(found.values())

    def _body(self, operation: dict[str, Any], where: str) -> Iterator[tuple[str, Schema, bool]]:
        body, _ = self.references.follow(operation.get("requestBody"))
        schema = _content(body)
        if schema is None:
            return
        found = self.dialect.whole(schema, where)
        needed = body.get("required") is True
        if found.get("type") == "object" and found.get("properties"):
            for name, one in found["properties"].items():
                yield name, one, name in found["required"]
        else:
            yield "body", found, needed

    def _answer(self, operation: dict[str, Any], where: str) -> Schema | None:
        """What a call that succeeds returns, None where nothing is declared."""
        answers = operation.get("responses")
        if not isinstance(answers, dict):
            return None
        good = sorted(code for code in map(str, answers) if code[:1] == "2") or ["default"]
        for code in good:
            try:
                answer, _ = self.references.follow(
                    answers.get(code, answers.get(int(code)) if code.isdecimal() else None)
                )
                schema = _content(answer)
                if schema is not None:
                    return self.dialect.whole(schema, where, "answered")
            except BadSchema as error:
                self.notes.note(error.kind, where, f"its answer is left open: {error}")
        return None


def _said(given: dict[str, Any]) -> bool:
    """Whether a header is for whoever calls to say."""
    return given.get("required") is True and str(given.get("name")).lower() not in _UNSAID


def _content(holder: Any) -> Any:
    """The schema of a body or an answer, in the best of its media types."""
    content = holder.get("content") if isinstance(holder, dict) else None
    if not isinstance(content, dict):
        return None
    for form in _FORMS:
        for name, one in content.items():
            if form in str(name) and isinstance(one, dict) and one.get("schema") is not None:
                return one["schema"]
    return None
