"""A causal language model and its tokenizer, from a folder or from the hub, or one line that says why not.

transformers answers a folder that lacks something with a page, and a hub that cannot be reached with a minute
of silence; here what is there is looked at before it is asked.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from transformers import AutoModelForCausalLM, AutoTokenizer

from forge_train.refusals import first_line

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""Of these a folder with a tokenizer has at least one."""
PATIENCE = 5.0
"""Seconds in which the hub must be reached."""


class NoModel(ValueError):
    """No model can be had from a place; the text says why and what to do."""


def load_pretrained(path: Path | str, *, dtype: Any = None) -> tuple[Any, Any]:
    """Model (on the CPU) and tokenizer of a folder, or of a hub name. Raises NoModel."""
    folder = Path(path).expanduser()
    local = folder.is_dir()
    source = folder if local else str(path)
    if local:
        refuse_incomplete(folder)
    else:
        local = not _reachable(str(path))
    options = {} if dtype is None else {"dtype": dtype}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            source, local_files_only=local, output_loading_info=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
    except Exception as error:
        # transformers raises many kinds for a broken model; all mean the same to a person.
        raise NoModel(
            f"{path}: no model could be loaded from it ({first_line(error)}); use a complete copy of it"
        ) from error
    if info["missing_keys"]:
        some = ", ".join(sorted(info["missing_keys"])[:3])
        raise NoModel(
            f"{path}: {len(info['missing_keys'])} weights are missing, e.g. {some}; they would be random, so "
            "use a complete copy of the model"
        )
    return model, tokenizer


def refuse_incomplete(folder: Path) -> None:
    """Raise NoModel for a folder without a config or a tokenizer, which only looks like a model."""
    if not (folder / "config.json").is_file():
        gguf = next(folder.glob("*.gguf"), None)
        why = "it has no config.json"
        if gguf is not None:
            why = f"{gguf.name} is GGUF, which is for running alone; take the model's folder of safetensors"
        raise NoModel(f"{folder}: holds no model ({why}); give the folder of a model or a checkpoint")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise NoModel(
            f"{folder}: a model without a tokenizer (no {TOKENIZERS[0]}); copy the tokenizer's files from "
            "where the model came from"
        )


def _reachable(name: str) -> bool:
    """Whether to ask the hub for `name`; False where a copy of it lies here and the hub is away.

    Raises NoModel when there is neither: better at once than after a minute of retries.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    hub = urlsplit(constants.ENDPOINT)
    try:
        cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        raise NoModel(
            f'model.path = "{name}": no such folder, and no name of the hub ("owner/name")'
        ) from None
    if constants.HF_HUB_OFFLINE:
        problem: object = "HF_HUB_OFFLINE is set"
    elif any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # whoever stands between knows the way
    else:
        try:
            port = hub.port or (443 if hub.scheme == "https" else 80)
            socket.create_connection((hub.hostname or "", port), PATIENCE).close()
            return True
        except OSError as error:
            problem = error.strerror or error
    if cached:
        return False
    raise NoModel(
        f'model.path = "{name}": no such folder, and {hub.hostname} cannot be reached ({problem}); fetch it '
        f"where there is a network (hf download {name} --local-dir DIR) and give that folder"
    )
