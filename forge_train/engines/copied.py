"""The in-process engine on a copy of the weights, for a learner whose own it cannot read.

Those are spread over processes, or hold adapters apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from forge_train.engine import Completion, Sampling
from forge_train.engines.local import LocalEngine
from forge_train.seeds import derive_seed


class CopiedEngine(LocalEngine):
    """A `LocalEngine` on `model`, a plain and whole one, that takes `weights()` over after every update.

    weights: buckets of the learner's weights by name (`Learner.weights`).
    """

    shares_weights = False

    def __init__(
        self,
        model: nn.Module,
        weights: Callable[[], Iterable[Mapping[str, Tensor]]],
        *,
        max_context: int,
        version: int = 0,
    ) -> None:
        super().__init__(model, max_context=max_context, version=version)
        self._own: dict[str, Tensor] = model.state_dict()
        self._weights = weights
        self._proved = False

    async def prove(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        again: Collection[str] = (),
    ) -> dict[str, list[Completion]]:
        """What it says, unless that was proof already; see `Engine`."""
        if self._proved and not again:
            return {}
        names = [f"proof {i} of version {self.version}" for i in range(len(prompts))]
        said = await asyncio.gather(
            *(
                self.complete(prompt, sampling, conversation=name, seed=derive_seed(seed, i))
                for i, (name, prompt) in enumerate(zip(names, prompts, strict=True))
            )
        )
        for name in names:
            self.forget(name)
        self._proved = True
        return {"the engine in process": said}

    async def weights_changed(self, version: int) -> None:
        """Copy the learner's weights; then as `LocalEngine`."""
        self._proved = False
        with torch.no_grad():
            for bucket in self._weights():
                self._take(bucket)
                del bucket  # no two are held at a time
        await super().weights_changed(version)

    def _take(self, bucket: Mapping[str, Tensor]) -> None:
        for name, value in bucket.items():
            self._own[name].copy_(value)
