"""The long texts and lists that BFCL's long-context category adds: read from the official package."""

from __future__ import annotations

import ast
import copy
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.syntax import parse

PACKAGE = "bfcl_eval"
FILE = Path("eval_checker/multi_turn_eval/func_source_code/long_context.py")
NAMES = (
    "WATCH_LIST_EXTENSION TRANSACTION_HISTORY_EXTENSION MA_5_EXTENSION MA_20_EXTENSION TECHNOLOGY_EXTENSION"
    " AUTOMOBILE_EXTENSION ORDER_DETAIL_EXTENSION FILE_CONTENT_EXTENSION POPULATE_FILE_EXTENSION"
    " CAR_STATUS_METADATA_EXTENSION LONG_WEATHER_EXTENSION PARKING_BRAKE_INSTRUCTION INTERMEDIARY_CITIES"
    " CREDIT_CARD_EXTENSION BOOKING_RECORD_EXTENSION FILES_TAIL_USED"
)
FIX = "install bfcl-eval (pip install --no-deps bfcl-eval), or name the folder of its files"


@dataclass(frozen=True)
class Fillers:
    """Filler data by name. `get` hands out copies: what one episode does to them no other sees."""

    values: Mapping[str, Any]
    file: str = ""
    """Where they were read. Copies in other processes read it again: it is large."""

    def get(self, name: str) -> Any:
        """A copy of the filler data of this name."""
        return copy.deepcopy(self.values[name])

    def __reduce__(self) -> tuple[Any, ...]:
        return (Fillers.read, (self.file,)) if self.file else (Fillers, (self.values,))

    def __deepcopy__(self, memo: dict[int, Any]) -> Fillers:
        return self  # never changed, and large

    @classmethod
    def installed(cls) -> Fillers:
        """From the installed package, which is read, never imported."""
        spec = importlib.util.find_spec(PACKAGE)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        if not folders:
            raise TaskError(f"the long-context entries need the official filler data: {FIX}")
        return cls.read(Path(folders[0]))

    @classmethod
    def read(cls, path: str | Path) -> Fillers:
        """From `long_context.py`, from the folder that holds it, or from the package's folder.

        The file is read as data: assignments of literals; nothing in it is run.
        """
        path = Path(path)
        places = [path, path / FILE.name, path / FILE, path / PACKAGE / FILE]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise TaskError(f"no {FILE.name} under {str(path)!r}: {FIX}")
        key = (str(file), file.stat().st_mtime_ns)
        if key not in _READ:
            _READ[key] = cls(_literals(file), str(file))
        return _READ[key]


_READ: dict[tuple[str, int], Fillers] = {}
"""Files that were read, with the time of their last change."""


def _literals(file: Path) -> dict[str, Any]:
    try:
        body = parse(file.read_text(encoding="utf-8")).body
        found = {
            target.id: ast.literal_eval(node.value)
            for node in body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
    except (OSError, SyntaxError, ValueError) as error:
        raise TaskError(f"{str(file)!r} does not hold literals alone: {error}") from error
    if missing := sorted(set(NAMES.split()) - set(found)):
        raise TaskError(f"{str(file)!r} lacks {', '.join(missing)}: it is of another version")
    return found
