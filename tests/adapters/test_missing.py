"""Doors whose library is not there, or is of a time that nobody tried."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from forge_envs.adapters.rllib import register_creator
from forge_envs.errors import NotInstalled


def imported(module: str) -> Callable[[], Any]:
    return lambda: importlib.reload(importlib.import_module(f"forge_envs.adapters.{module}"))


DOORS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "tinker_cookbook": (imported("tinker"), "tinker-cookbook", "0.5"),
    "verl": (imported("verl"), "verl", "0.9"),
    "skyrl_gym": (imported("skyrl"), "skyrl-gym", "0.4"),
    "gem": (imported("gem"), "gem-llm", "0.1"),
    "art": (imported("art"), "openpipe-art", "0.5"),
    "inspect_ai": (imported("inspect_ai"), "inspect-ai", "0.3"),
    "mcp": (imported("mcp_server"), "mcp", "2" if importlib.util.find_spec("mcp_types") else r"1\.30"),
    "verifiers": (imported("verifiers"), "verifiers", "0.4"),
    "nemo_gym": (imported("nemo"), "nemo-gym", "0.7"),
    "ray": (register_creator, "ray", "2.60"),
}


@pytest.mark.parametrize("library", DOORS)
def test_a_missing_library_is_told_with_the_command(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use, distribution, _ = DOORS[library]

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(
        NotInstalled, match=rf"{distribution} is not installed: pip install '.*{distribution}"
    ):
        use()


@pytest.mark.parametrize("library", DOORS)
def test_a_library_of_another_time_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    use, distribution, tested = DOORS[library]
    use()  # libraries ask for versions too, when they are imported
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "99.7.1")
    with pytest.warns(UserWarning, match=rf"{distribution} 99\.7\.1: .* tried with {tested}"):
        use()
