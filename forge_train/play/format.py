"""How a model is spoken to, beyond its template: settings that travel with its tokenizer.

They lie among what `save_pretrained` writes for the tokenizer, so that whoever loads a checkpoint (a judge, a
worker, the run itself when it goes on) renders to the letter what the run rendered.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

Kind = Literal["auto", "chatml", "template"]
Past = Literal["keep", "drop"]
_KEY = "forge_format"


@dataclass(frozen=True, slots=True)
class Format:
    """What a renderer is told of a model.

    >>> Format(ends=(7,)).moment().year >= 2026
    True
    """

    renderer: Kind = "auto"
    past: Past = "keep"
    """Whether thoughts of earlier turns stay before the policy's eyes."""
    ends: tuple[int, ...] = ()
    """Token ids that end a turn, besides the one that the template writes."""
    began: float | None = None
    """The time that templates which read the clock are told, in seconds since 1970."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of the template, `enable_thinking` for example."""
    budget: int = 0
    """Tokens an action may think; 0 for as many as it likes."""
    early_stop: str = ""
    """What is said for it when they are spent."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What the policy sees of its past: keys of [context] in its run's config that are not the defaults."""

    def moment(self) -> datetime:
        """What the clock of a template shows: it stands still."""
        return datetime.fromtimestamp(time.time() if self.began is None else self.began)


def format_of(tokenizer: Any) -> Format:
    """The settings a tokenizer carries, or the defaults."""
    kept = getattr(tokenizer, "init_kwargs", {}).get(_KEY)
    return Format(**{**kept, "ends": tuple(kept["ends"])}) if kept else Format()


def carries_format(tokenizer: Any) -> bool:
    """Whether a run has settled how this tokenizer's model is spoken to."""
    return _KEY in getattr(tokenizer, "init_kwargs", {})


def settle(tokenizer: Any, model: Any, format: Format) -> None:
    """Let `tokenizer` carry `format`, and every end of a turn that `model` knows.

    A template that reads no clock is told no time.
    """
    clocked = "strftime_now" in str(getattr(tokenizer, "chat_template", None) or "")
    began = format.began if clocked else None
    tokenizer.init_kwargs[_KEY] = asdict(replace(format, ends=ends_of(model, tokenizer), began=began))


def ends_of(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token id that ends a turn by the model's generation config, and the tokenizer's own end."""
    config = getattr(model, "generation_config", None)
    told = getattr(config, "eos_token_id", None)
    told = told if told is not None else getattr(getattr(model, "config", None), "eos_token_id", None)
    ids = [*told] if isinstance(told, list | tuple) else [told]
    found = [*ids, tokenizer.eos_token_id]
    return tuple(dict.fromkeys(int(id) for id in found if id is not None and 0 <= int(id) < len(tokenizer)))


def read_template(path: str) -> str:
    """The chat template in a file. Raises ValueError for a file that is none."""
    import jinja2
    from transformers.utils.chat_template_utils import _compile_jinja_template

    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f'model.chat_template = "{path}": cannot be read ({reason})') from None
    if not text.strip():
        raise ValueError(f'model.chat_template = "{path}": the file is empty')
    try:
        _compile_jinja_template(text)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f'model.chat_template = "{path}": line {error.lineno}: {error.message}') from None
    return text
