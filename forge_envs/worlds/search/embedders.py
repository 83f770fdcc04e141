"""Texts as vectors of their meaning, by a model on this machine or behind an OpenAI-compatible endpoint.

    model2vec:FOLDER                 static vectors of words: numpy alone, thousands of pages a second
    openai:MODEL@URL#key=value&…     POST URL/embeddings, as vLLM, TEI, llama.cpp and Ollama serve it

What an endpoint is asked for is `record`ed and `replay`ed like all that is asked of servers (`PostSpec`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from forge_envs.errors import NotInstalled, brief
from forge_envs.people.asking import PostSpec, RecordedPost

Vectors = npt.NDArray[np.float32]
_FORM = re.compile(r"(?P<model>.+?)@(?P<url>https?://[^\s#]+?)/*(?:#(?P<settings>.*))?")
_FORMS = "model2vec:FOLDER or openai:MODEL@URL, e.g. openai:bge-m3@http://127.0.0.1:8000/v1"


class Embedder(Protocol):
    """Makes vectors. Threads may share it."""

    @property
    def name(self) -> str:
        """Which vectors these are: those of another name are never compared with them."""
        ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """[texts, width], each row of length 1, or 0 where the text says nothing to the model.

        Raises MachineError where a machine failed.
        """
        ...


@functools.cache
def embedder_of(text: str) -> Embedder:
    """The model of a spec, one for all environments of this process.

    Raises ValueError with the value and the fix, and NotInstalled where a library is missing.
    """
    kind, _, rest = text.partition(":")
    if kind == "model2vec" and rest:
        return StaticEmbedder(Path(rest).expanduser())
    match = _FORM.fullmatch(rest) if kind == "openai" else None
    if match is None:
        raise ValueError(f"embedding={text!r}: write it as {_FORMS}")
    given = {"url": match["url"], "model": match["model"]}
    return EndpointEmbedder(EmbeddingSpec.of(f"embedding={text}", match["settings"] or "", **given), text)


class StaticEmbedder:
    """A model2vec folder: the mean of a text's word vectors, weighted (Model2Vec, github.com/MinishLab)."""

    def __init__(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise ValueError(
                f"embedding='model2vec:{folder}': no model.safetensors there; give a folder that model2vec's "
                "StaticModel.save_pretrained wrote, or a downloaded one such as potion-base-8M"
            )
        try:
            from model2vec import StaticModel
        except ImportError:
            raise NotInstalled(
                "embedding='model2vec:…' needs: pip install 'forge-envs[embeddings]'"
            ) from None
        self._model = StaticModel.from_pretrained(folder)
        parts = [file.read_bytes() for file in (weights, folder / "tokenizer.json")]
        self.name = f"model2vec:{hashlib.blake2b(b''.join(parts), digest_size=8).hexdigest()}"

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """See Embedder."""
        found = self._model.encode(list(texts), max_length=None, use_multiprocessing=False)
        return _of_length_one(np.asarray(found, dtype=np.float32).reshape(len(texts), -1))


@dataclass(frozen=True, slots=True)
class EmbeddingSpec(PostSpec):
    """Which model makes vectors, where, and what it wants before a text."""

    model: str = ""
    query: str = ""
    """Put before a query, e.g. `query: ` for E5."""
    page: str = ""
    """Put before a passage of a page, e.g. `passage: `."""


class EndpointEmbedder:
    """A model behind `POST URL/embeddings`. Raises ValueError as RecordedPost does."""

    def __init__(self, spec: EmbeddingSpec, text: str) -> None:
        self.spec, self._server = spec, RecordedPost(spec, text)
        self.name = f"openai:{spec.model}:{spec.page}"

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """See Embedder. Raises MachineError of stage "embeddings"."""
        before = self.spec.query if query else self.spec.page
        body = {"model": self.spec.model, "input": [before + text for text in texts]}
        return self._server.ask("embeddings", body, functools.partial(read_vectors, count=len(texts)))


def read_vectors(answer: str, *, count: int) -> Vectors:
    """The vectors of an answer, in the order of what was asked. Raises ValueError for one off the protocol.

    >>> read_vectors('{"data": [{"index": 0, "embedding": [3, 4]}]}', count=1)
    array([[0.6, 0.8]], dtype=float32)
    """
    try:
        told = json.loads(answer)["data"]
        rows = {int(one["index"]): one["embedding"] for one in told}
        found = np.array([rows[at] for at in range(count)], dtype=np.float32)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f'{{"data": [{{"index", "embedding"}}, …]}} was asked for ({what})') from None
    if found.ndim != 2 or not found.shape[1] or len(told) != count or not np.isfinite(found).all():
        raise ValueError(f"{count} vectors of one width and finite were asked for, not {brief(answer)}")
    return _of_length_one(found)


def _of_length_one(rows: Vectors) -> Vectors:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Vectors = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return found
