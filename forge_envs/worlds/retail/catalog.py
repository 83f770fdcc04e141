"""The words a shop is made of, read from catalog.toml: names, places, products and their options."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Product:
    """What a product may be like."""

    price: int
    """The usual one."""
    options: dict[str, tuple[str, ...]]
    """Option name -> its values."""


@dataclass(frozen=True)
class Catalog:
    """All words a shop is drawn from."""

    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    streets: tuple[str, ...]
    places: tuple[tuple[str, str, str], ...]
    """City, state and the first three digits of its zip codes."""
    products: dict[str, Product]


@functools.cache
def catalog() -> Catalog:
    """The words, read once."""
    text = resources.files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    palettes = {key: (option, tuple(values)) for key, (option, values) in data["palettes"].items()}
    return Catalog(
        tuple(data["first_names"]),
        tuple(data["last_names"]),
        tuple(data["streets"]),
        tuple((city, state, prefix) for city, state, prefix in data["places"]),
        {
            name: Product(price, dict(palettes[key] for key in keys.split()))
            for name, (price, keys) in data["products"].items()
        },
    )
