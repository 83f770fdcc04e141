"""The words a shop is sells, read from catalog.toml: products and their options."""

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

    products: dict[str, Product]


@functools.cache
def catalog() -> Catalog:
    """The words, read once."""
    text = resources.files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    palettes = {key: (option, tuple(values)) for key, (option, values) in data["palettes"].items()}
    return Catalog(
        {
            name: Product(price, dict(palettes[key] for key in keys.split()))
            for name, (price, keys) in data["products"].items()
        },
    )
