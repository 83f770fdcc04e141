"""Servers whose output head would stay as it was: vLLM on a CPU, started from a model with tied embeddings.

vLLM 0.32 packs the head for its CPU kernels when it starts, and a reload does not reach the packed copy. What
`serve` and a run start servers from is a copy that is not tied (`save_policy`); somebody else's may be tied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def refuse_stale_head(url: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where a load of full weights would leave the old head.

    `settings` are what the server says it was started with. Where its model cannot be looked at from here,
    nothing is refused: the first look at its logprobs will tell.
    """
    model = settings.get("model_config") or {}
    device = (settings.get("device_config") or {}).get("device")
    told = (model.get("hf_overrides") or {}).get("tie_word_embeddings")
    if device != "cpu" or told is False or not _tied(str(model.get("model") or "")):
        return
    raise ValueError(
        f"{url} serves {model['model']} on a CPU with tied embeddings: new weights would not reach its "
        f"output head. Start it with forge-train serve {model['model']}, which unties a copy of it"
    )


def _tied(model: str) -> bool:
    """Whether the model of a folder, or one in the hub's cache, shares its head with the embeddings."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError):
        return False
    return bool(getattr(config.get_text_config(), "tie_word_embeddings", False))
