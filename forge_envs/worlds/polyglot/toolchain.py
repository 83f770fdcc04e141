"""Whether a language can be played here; where it cannot, what to type."""

from __future__ import annotations

import os
import re
import shutil
import sys
from functools import cache

from forge_envs.errors import MachineError
from forge_envs.sandbox import SandboxError, provider
from forge_envs.worlds.polyglot.languages import LANGUAGES, Language


class ToolchainError(MachineError):
    """A language's tools are missing or too old; the text says what to type."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="toolchain", stage="sandbox", retryable=False)


def host_environment(sandbox: str) -> dict[str, str]:
    """Variables that tell a box of the host's own processes where the host's tools are."""
    if sandbox != "process":
        return {}
    rustup = os.environ.get("RUSTUP_HOME") or os.path.expanduser("~/.rustup")
    return {"FORGE_PYTHON": sys.executable, "RUSTUP_HOME": rustup}


@cache
def require(name: str, sandbox: str) -> None:
    """Return if the language's tools are there and new enough. Raises ToolchainError, MachineError."""
    language = LANGUAGES[name]
    if sandbox == "process":
        missing = [tool for tool in language.tools if shutil.which(tool) is None]
        if missing:
            raise _refusal(language, sandbox, f"{' and '.join(missing)} not found on PATH")
    try:
        box = provider(sandbox).open(language.image)
    except SandboxError as error:
        if error.kind != "no_image":
            raise
        raise _refusal(language, sandbox, f"there is no image {language.image}") from error
    try:
        ran = box.run(language.probe, timeout=60.0, env=host_environment(sandbox))
    finally:
        box.close()
    if ran.code != 0:
        raise _refusal(language, sandbox, f"`{language.probe}` fails: {ran.output.strip()[-300:]}")
    found = version_of(ran.output)
    if found < language.least:
        have, least = (".".join(map(str, version)) for version in (found, language.least))
        raise _refusal(language, sandbox, f"version {have} is too old, at least {least} is needed")


def version_of(text: str) -> tuple[int, ...]:
    """The first version in a text, () if there is none.

    >>> version_of("go1.21.13"), version_of("v20.20.2"), version_of("nothing")
    ((1, 21, 13), (20, 20, 2), ())
    """
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def _refusal(language: Language, sandbox: str, why: str) -> ToolchainError:
    fix = language.install if sandbox == "process" else f"forge-envs images polyglot-{language.name}"
    return ToolchainError(f"{language.title} cannot be played with sandbox={sandbox!r}: {why}. Fix: {fix}")
