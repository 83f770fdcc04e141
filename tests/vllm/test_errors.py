"""Errors come out of another process as they went in: workers in Ray raise them here."""

from __future__ import annotations

import pickle
import pkgutil
from importlib import import_module

import pytest

import forge_train
from forge_train.config.explain import ConfigError
from forge_train.engine import EngineFailed
from forge_train.engines.vllm_http import ServerError
from forge_train.play.episode import AgentFailed
from forge_train.play.world_pool import WorldFailed

MADE: dict[type[Exception], Exception] = {
    EngineFailed: EngineFailed("no answer", retryable=False),
    ServerError: ServerError("http://a:1", "full", status=503, retry_after=2.0),
    ConfigError: ConfigError(["a = 1: no", "b = 2: no"]),
    AgentFailed: AgentFailed("it crashed", kind="agent"),
    WorldFailed: WorldFailed({"kind": "bug", "stage": "step", "message": "oh"}),
}
"""Those that are not made of one text."""


def kinds() -> list[type[Exception]]:
    """Every kind of error that the package defines."""
    names = [module.name for module in pkgutil.walk_packages(forge_train.__path__, "forge_train.")]
    found = [(name, thing) for name in names for thing in vars(import_module(name)).values()]
    return [
        x for name, x in found if isinstance(x, type) and issubclass(x, Exception) and x.__module__ == name
    ]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_an_error_travels(kind: type[Exception]) -> None:
    error = MADE.get(kind) or kind("what went wrong")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error) and vars(again) == vars(error)


def test_they_say_what_they_said() -> None:
    assert [str(error) for error in MADE.values()] == [
        "no answer",
        "http://a:1: full",
        "a = 1: no\nb = 2: no",
        "it crashed",
        "bug in step: oh",
    ]
