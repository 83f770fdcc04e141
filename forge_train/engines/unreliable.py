"""Any engine with faults: for tests and rehearsals of what a run does when its engine breaks down."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from forge_train.engine import Completion, Engine, EngineFailed, Sampling
from forge_train.engines.wrapped import WrappedEngine
from forge_train.seeds import derive_seed


class UnreliableEngine(WrappedEngine):
    """Answers as `engine` does, except that some requests meet a fault.

    Each argument is the chance of one: `fails` raises EngineFailed, `hangs` never answers (the episode's
    deadline ends it), `late` answers after `delay` seconds. Which request meets which depends on `seed` and
    the request's own, not on what else is in flight, so a run that is repeated meets the same faults.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        fails: float = 0.0,
        hangs: float = 0.0,
        late: float = 0.0,
        delay: float = 1.0,
        seed: int = 0,
    ) -> None:
        if min(fails, hangs, late, delay) < 0 or fails + hangs + late > 1:
            raise ValueError(
                f"fails={fails}, hangs={hangs}, late={late}, delay={delay}: chances must be 0 or more and "
                "together at most 1, and so many seconds of delay 0 or more"
            )
        super().__init__(engine)
        self.delay = delay
        self.seed = seed
        self.faults: Counter[str] = Counter()
        """How often each fault was met."""
        self._chances = {"fails": fails, "hangs": hangs, "late": late}
        self._chances["none"] = 1.0 - sum(self._chances.values())

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`, or meet a fault."""
        draw = random.Random(derive_seed("fault", self.seed, seed))
        (fault,) = draw.choices(list(self._chances), list(self._chances.values()))
        if fault != "none":
            self.faults[fault] += 1
        if fault == "fails":
            raise EngineFailed(f"{conversation}: a fault that was asked for", retryable=True)
        if fault == "hangs":
            await asyncio.Event().wait()
        if fault == "late":
            await asyncio.sleep(self.delay)
        return await super().complete(tokens, sampling, conversation=conversation, seed=seed)
