"""What a new world may be called."""

from __future__ import annotations

import keyword
import re
import sys
import unicodedata
from importlib.util import find_spec

LONGEST = 40
TAKEN = frozenset(("build", "dist", "runs", "src", "test", "tests"))
"""Folders that stand beside the package in many a project."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def check_name(name: str) -> str:
    """The name, if a package can have it. Raises ValueError with one that would do.

    >>> check_name("corner_shop")
    'corner_shop'
    >>> check_name("CornerShop")
    Traceback (most recent call last):
    ValueError: name 'CornerShop': a package has lower-case letters, digits and underscores; say corner_shop
    """
    shown = repr(name if len(name) <= 2 * LONGEST else f"{name[: 2 * LONGEST]}…")
    if not _NAME.fullmatch(name):
        told = "a package has lower-case letters, digits and underscores"
        raise ValueError(f"name {shown}: {told}; say {_mended(name)}")
    if len(name) > LONGEST:
        raise ValueError(
            f"name {shown}: it has {len(name)} letters, of at most {LONGEST}; say {_mended(name)}"
        )
    if fault := _taken(name):
        raise ValueError(f"name {shown}: {fault}; say {_mended(name)}")
    return name


def title_of(name: str) -> str:
    """The name as classes and ids have it.

    >>> title_of("corner_shop_2")
    'CornerShop2'
    """
    return "".join(part.capitalize() for part in name.split("_"))


def _taken(name: str) -> str:
    """Why Python would not find a package of this name; "" if it would."""
    if keyword.iskeyword(name):
        return "it is a word of Python's own"
    if name in sys.stdlib_module_names:
        return f"a module of Python's own is called {name}"
    if name in TAKEN:
        return "other things are kept in folders of this name"
    spec = find_spec(name)
    if spec is not None and spec.origin is not None:  # a folder without code takes no name away
        return f"there is a module {name} already"
    return ""


def _mended(name: str) -> str:
    """A name like this one that is free."""
    ascii = unicodedata.normalize("NFKD", name[: 4 * LONGEST]).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", ascii)
    slug = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_").lstrip("0123456789_")
    slug = slug[: LONGEST - len("_world")].strip("_")
    free = _NAME.fullmatch(slug) and slug != name and not _taken(slug)
    return slug if free else f"{slug or 'my'}_world"
