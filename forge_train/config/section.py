"""What all sections of a config share."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module

from pydantic import AfterValidator, BaseModel, ConfigDict

from forge_train.config.explain import closest


def known(what: str, *registries: str, shipped: Collection[str] = ()) -> AfterValidator:
    """Accept the names of `module.REGISTRY`; modules are imported only when a name is checked.

    Those `shipped` are accepted without: a slip elsewhere in a file is told before torch is imported.
    """

    def check(name: str) -> str:
        if name in shipped:
            return name
        names: set[str] = set()
        for registry in registries:
            module, _, attribute = registry.rpartition(".")
            names |= set(getattr(import_module(f"forge_train.{module}"), attribute))
        if name not in names:
            guess = closest(name, names)
            hint = f'; did you mean "{guess}"?' if guess else ""
            raise ValueError(f"no such {what}; known: {', '.join(sorted(names))}{hint}")
        return name

    return AfterValidator(check)


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
