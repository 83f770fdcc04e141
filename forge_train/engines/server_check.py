"""Whether a server is the one a run needs: asked before weights go to it, since a wrong load ends it.

Its control endpoints, its room, its flags, its precision, and the model that it holds, layer by layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_train.engine import EngineFailed
from forge_train.engines.vllm_http import Client, ServerError
from forge_train.engines.weights import WeightTransfer

Sizes = Mapping[str, int]
"""What decides the shapes of a model's weights, by the name a person gives it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run needs of its servers."""

    max_context: int
    dtype: str = ""
    """Precision; empty when no weights are brought."""
    sizes: Sizes | None = None
    """Of the model whose weights are brought; None when they are not known."""
    sleeps: bool = False


async def refuse_wrong(
    client: Client, wanted: Wanted, transfer: WeightTransfer | None, *, quick: float, slow: float
) -> None:
    """Raise ValueError, with the flag, when a server was started in a way that cannot work.

    EngineFailed when it does not answer within `quick` seconds, or `slow` where it looks at its machine.
    """
    info: dict[str, Any] = {}
    modules = ""
    try:
        models = await client.models(quick)
        await client.version(quick)
        if transfer is not None or wanted.sleeps:
            info = await client.info(slow)
        if transfer is not None and wanted.sizes is not None:
            modules = await client.modules(slow)
    except ServerError as error:
        if error.status not in (403, 404):
            raise EngineFailed(f"{error}", retryable=True) from error
        raise ValueError(
            f"{client.url} was started without its control endpoints ({error}): use `forge-train serve`, "
            "or set VLLM_SERVER_DEV_MODE=1 and --enable-scale-out"
        ) from None
    longest = min((n for n in models.values() if n is not None), default=wanted.max_context)
    if longest < wanted.max_context:
        raise ValueError(
            f"{client.url} takes {longest} tokens and rollout.max_context is {wanted.max_context}: lower "
            f"that, or start the server with --max-model-len {wanted.max_context}"
        )
    if wanted.sizes is not None:
        _refuse_other_model(client.url, wanted.sizes, modules, info)
    if transfer is not None:
        _refuse_flags(client.url, wanted, transfer, info)
    settings = info.get("vllm_config", {})
    if wanted.sleeps and not (settings.get("model_config") or {}).get("enable_sleep_mode"):
        raise ValueError(
            f'{client.url} cannot sleep, which rollout.placement = "colocated" needs: start it with '
            '--enable-sleep-mode (vLLM has none on a CPU), or set rollout.placement = "separate"'
        )


def _refuse_flags(url: str, wanted: Wanted, transfer: WeightTransfer, info: Mapping[str, Any]) -> None:
    settings = info["vllm_config"]
    for section, flag in transfer.needs.items():
        if not settings.get(section):
            raise ValueError(
                f"{url} was started without {flag}, which vllm.transfer needs: start it with that "
                'or set vllm.transfer = "folder"'
            )
    dtype = str((settings.get("model_config") or {}).get("dtype", wanted.dtype)).removeprefix("torch.")
    if wanted.dtype and dtype != wanted.dtype:
        raise ValueError(
            f'{url} computes in {dtype} and vllm.dtype = "{wanted.dtype}": set it to what the server has, or '
            f"start the server with --dtype {wanted.dtype}"
        )
    transfer.refuse(url, info)


def _refuse_other_model(url: str, ours: Sizes, modules: str, info: Mapping[str, Any]) -> None:
    theirs = sizes_told(modules)
    shards = theirs.pop("shards", 1)
    differ = []
    for name, size in ours.items():
        found = theirs.get(name, size)
        if found != size and not (name in _SHARED_OUT and found == max(size // shards, 1)):
            differ.append(f"{name} {found} (ours: {size})")
    if differ:
        serves = (info.get("vllm_config", {}).get("model_config") or {}).get("model", "another one")
        raise ValueError(
            f"{url} serves another model ({serves}) than the one that learns: {', '.join(differ)}; start it "
            "with this run's model (forge-train serve MODEL), or set model.path to what it serves"
        )


_SHARED_OUT = ("query heads", "key heads", "width of the feed-forward")
"""What tensor parallelism divides: each worker tells its part."""


def sizes_of(model: Any) -> dict[str, int]:
    """The sizes of a Hugging Face model.

    >>> from transformers import Qwen3Config
    >>> class Model:
    ...     config = Qwen3Config(vocab_size=320, hidden_size=64, num_hidden_layers=2, head_dim=32)
    >>> sizes_of(Model)["layers"], sizes_of(Model)["hidden size"], sizes_of(Model)["head size"]
    (2, 64, 32)
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    hidden = getattr(config, "hidden_size", None)
    told = {
        "layers": getattr(config, "num_hidden_layers", None),
        "hidden size": hidden,
        "vocabulary": getattr(config, "vocab_size", None),
        "query heads": heads,
        "key heads": getattr(config, "num_key_value_heads", None) or heads,
        "head size": getattr(config, "head_dim", None) or (hidden // heads if hidden and heads else None),
        "width of the feed-forward": getattr(config, "intermediate_size", None),
    }
    found = {name: size for name, size in told.items() if isinstance(size, int)}
    parameters = [name for name, _ in model.named_parameters()] if hasattr(model, "named_parameters") else []
    if any("q_proj." in name for name in parameters):
        biased = (".q_proj.bias", ".q_proj.base_layer.bias")
        found["biases of queries"] = int(any(name.endswith(biased) for name in parameters))
        found["norms of queries"] = int(any(name.endswith(".q_norm.weight") for name in parameters))
    return found


def sizes_told(modules: str) -> dict[str, int]:
    """The same of what a server holds, from its tree of modules, as far as that says; and its `shards`.

    >>> sizes_told("(embed_tokens): VocabParallelEmbedding(embedding_dim=64, org_vocab_size=320)")
    {'hidden size': 64, 'vocabulary': 320}
    """
    patterns = {
        "hidden size": r"Embedding\([^\n)]*embedding_dim=(\d+)",
        "vocabulary": r"org_vocab_size=(\d+)",
        "head size": r"\bAttention\(head_size=(\d+)",
        "query heads": r"\bAttention\([^\n)]*num_heads=(\d+)",
        "key heads": r"\bAttention\([^\n)]*num_kv_heads=(\d+)",
        "shards": r"\btp_size=(\d+)",
    }
    if "experts" not in modules:  # where there are any, widths are several
        patterns["width of the feed-forward"] = r"(?s)\(down_proj\):.*?in_features=(\d+)"
    found = {name: int(m[1]) for name, pattern in patterns.items() if (m := re.search(pattern, modules))}
    blocks = re.search(r"\n( *)\(layers\): ModuleList\(\)\(\n((?:\1 .*\n)+)", modules)
    if blocks and "PPMissingLayer" not in modules:
        numbers = re.findall(rf"(?m)^{blocks[1]}  \((?:\d+-)?(\d+)\): ", blocks[2])
        found["layers"] = 1 + max(map(int, numbers))
    attention = re.search(r"QKVParallelLinear\([^\n)]*bias=(True|False)", modules)
    if attention:
        found["biases of queries"] = int(attention[1] == "True")
        found["norms of queries"] = int("(q_norm):" in modules)
    return found
