"""Aider's own code, from a checkout, as a judge of answers: what it makes of the files.

Aider's two coders are imported as they are. Of `base_coder.py`, `io.py` and `utils.py`, which draw in half of
PyPI, the methods that read and apply an answer are taken out of the source and run as they are; around them
stands no more than an answer and a folder. Files are written to a temporary folder, as Aider does.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
import tempfile
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METHODS = {
    "aider/coders/base_coder.py": (
        "abs_root_path allowed_to_edit apply_edits_dry_run apply_updates choose_fence get_abs_fnames_content "
        "get_inchat_relative_files get_multi_response_content_in_progress get_rel_fname prepare_to_edit "
        "wrap_fence all_fences"
    ),
    "aider/io.py": "read_text write_text",
    "aider/utils.py": "safe_abs_path touch_file is_image_file IMAGE_EXTENSIONS",
    "aider/reasoning_tags.py": "remove_reasoning_content REASONING_TAG",
}


@dataclass(frozen=True)
class Verdict:
    """What Aider made of an answer."""

    files: Mapping[str, str]
    """All files in the folder afterwards, as bytes read as UTF-8."""
    error: str | None
    """What Aider tells the model; None where the answer was accepted."""
    crashed: bool
    """Whether that is an accident of Aider's rather than its judgement."""
    slipped: bool
    """Whether lines were matched at a negative indentation: then Aider copies code as if it were blanks."""


class Aider:
    """Aider's coders "whole" and "diff", from the checkout in this folder."""

    def __init__(self, checkout: Path) -> None:
        self._slipped = False
        parts: dict[str, Any] = {}
        for path, names in METHODS.items():
            parts[path] = _take(checkout / path, names.split())
        package = _module("aider", __path__=[str(checkout / "aider")])
        package.utils = _module("aider.utils", **parts["aider/utils.py"])  # type: ignore[attr-defined]
        _module("aider.coders", __path__=[str(checkout / "aider/coders")])
        _module("aider.coders.base_coder", Coder=_coder(parts))
        whole = importlib.import_module("aider.coders.wholefile_coder")
        diff = importlib.import_module("aider.coders.editblock_coder")
        diff.find_similar_lines = lambda search, content, threshold=0.6: ""  # slow, and only for the message
        match = diff.match_but_for_leading_whitespace
        diff.match_but_for_leading_whitespace = lambda *lines: self._watch(match(*lines), *lines)
        self._coders = {"whole": whole.WholeFileCoder, "diff": diff.EditBlockCoder}

    def read(self, edit_format: str, files: Mapping[str, str], answer: str) -> Verdict:
        """What becomes of the files in the chat when the model gives this answer."""
        self._slipped = False
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(text.encode())
            coder = self._coders[edit_format]()
            coder.begin(root, files, answer)
            with open(os.devnull, "w") as nowhere:
                kept, sys.stderr = sys.stderr, nowhere
                try:
                    coder.apply_updates()
                finally:
                    sys.stderr = kept
            found = {
                str(file.relative_to(root)): file.read_bytes().decode("utf-8", "replace")
                for file in sorted(root.rglob("*"))
                if file.is_file()
            }
        error = coder.reflected_message
        return Verdict(found, error, error is not None and not coder.num_malformed_responses, self._slipped)

    def _watch(self, found: str | None, whole: list[str], part: list[str]) -> str | None:
        if found is not None and any(len(a) < len(b) for a, b in zip(whole, part, strict=True) if a.strip()):
            self._slipped = True
        return found


def _take(path: Path, names: list[str]) -> dict[str, Any]:
    """Functions, methods and constants of a file by name, compiled without the rest of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    found: list[ast.stmt] = []
    for node in (node for body in bodies for node in body):
        named = {node.name} if isinstance(node, ast.FunctionDef) else set()
        if isinstance(node, ast.Assign):
            named = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if named & set(names):
            found.append(node)
    known: dict[str, Any] = {
        "os": os,
        "re": importlib.import_module("re"),
        "Path": Path,
        "traceback": traceback,
        "ANY_GIT_ERROR": (),
        "urls": types.SimpleNamespace(edit_errors=""),
        "dump": lambda *values: None,
    }
    exec(compile(ast.Module(found, []), str(path), "exec"), known)
    missing = [name for name in names if name not in known]
    assert not missing, f"{path} has no {missing}: this is written for Aider of 2026"
    return known


def _module(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


class _Ordered(dict[str, None]):
    """Files in the chat in their order: Aider's set has another one in each process."""

    def add(self, path: str) -> None:
        self[path] = None


def _coder(parts: Mapping[str, Mapping[str, Any]]) -> type:
    base, io = parts["aider/coders/base_coder.py"], parts["aider/io.py"]
    utils, tags = parts["aider/utils.py"], parts["aider/reasoning_tags.py"]
    base["utils"] = types.SimpleNamespace(**{name: utils[name] for name in ("safe_abs_path", "touch_file")})
    io["is_image_file"] = utils["is_image_file"]

    class Io:
        dry_run, encoding, newline = False, "utf-8", None
        read_text, write_text = io["read_text"], io["write_text"]

        def tool_output(self, *words: Any, **how: Any) -> None:
            """Nobody listens."""

        tool_error = tool_warning = tool_output

        def confirm_ask(self, *words: Any, **how: Any) -> bool:
            return True

    class Coder:
        multi_response_content, dry_run, repo, verbose = "", False, None, False
        fences, fence = base["all_fences"], base["all_fences"][0]

        def begin(self, root: Path, files: Mapping[str, str], answer: str) -> None:
            self.root, self.io = str(root), Io()
            self.abs_root_path_cache: dict[str, str] = {}
            self.abs_fnames = _Ordered.fromkeys(str(root / path) for path in files)
            self.abs_read_only_fnames: list[str] = []
            self.shell_commands: list[str] = []
            self.num_malformed_responses, self.reflected_message = 0, None
            self.choose_fence()  # type: ignore[attr-defined]
            self.partial_response_content = tags["remove_reasoning_content"](answer, tags["REASONING_TAG"])

        def check_for_dirty_commit(self, path: str) -> None:
            """There is no repository."""

        check_added_files = dirty_commit = lambda self: None

        def abs_root_path(self, path: str) -> str:
            """Aider's, but what lies outside the folder is put into it: this runs on somebody's machine."""
            found = str(base["abs_root_path"](self, path))
            inside = found == self.root or found.startswith(self.root + os.sep)
            return found if inside else os.path.join(self.root, "outside", found.lstrip(os.sep))

    for name in METHODS["aider/coders/base_coder.py"].split():
        if name.startswith(("wrap_", "all_")) or name == "abs_root_path":
            continue
        setattr(Coder, name, base[name])
    return Coder
