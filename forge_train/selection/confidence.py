"""How sure a policy was of what it said: the measures of DeepConf (arXiv 2508.15260) over one play's tokens.

Only tokens that the policy wrote are given: Klear-AgentForge (arXiv 2511.05951, sec. 3.4.4) measured 52.0%
with these and 49.3% with what the world answered. A window or tail that is longer than the play is the
whole play.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Windows:
    """Lengths in tokens, and the share of windows that is the bottom."""

    window: int = 2048
    """Of the windows that slide over a play by one token."""
    tail: int = 2048
    """Last tokens that count for `tail`."""
    share: float = 0.1
    """Windows that count for `bottom`, the least sure ones; at least one."""

    def __post_init__(self) -> None:
        if self.window < 1 or self.tail < 1 or not 0 < self.share <= 1:
            raise ValueError(f"{self}: lengths are at least 1 token, and the share lies in (0, 1]")


def mean(confidence: Sequence[float], windows: Windows) -> float:
    """The mean over all tokens (Eq. 3): what Klear calls Agent Confidence Select.

    >>> mean([1.0, 2.0, 6.0], Windows())
    3.0
    """
    return float(np.mean(confidence))


def tail(confidence: Sequence[float], windows: Windows) -> float:
    """The mean over the last tokens (Eq. 6).

    >>> tail([1.0, 2.0, 6.0], Windows(tail=2))
    4.0
    """
    return float(np.mean(confidence[-windows.tail :]))


def bottom(confidence: Sequence[float], windows: Windows) -> float:
    """The mean over the least sure of the sliding windows (Eq. 4).

    >>> bottom([5.0, 1.0, 3.0, 9.0], Windows(window=2, share=0.67))
    2.5
    """
    means = sliding(confidence, windows.window)
    count = max(1, int(len(means) * windows.share))
    return float(np.sort(means)[:count].mean())


def lowest(confidence: Sequence[float], windows: Windows) -> float:
    """The least sure sliding window (Eq. 5).

    >>> lowest([5.0, 1.0, 3.0, 9.0], Windows(window=2))
    2.0
    """
    return float(sliding(confidence, windows.window).min())


def sliding(confidence: Sequence[float], window: int) -> npt.NDArray[np.float64]:
    """The mean of each window, which slides by one token."""
    values = np.asarray(confidence, dtype=np.float64)
    width = min(window, len(values))
    summed = np.concatenate([[0.0], values.cumsum()])
    means: npt.NDArray[np.float64] = (summed[width:] - summed[:-width]) / width
    return means


MEASURES: dict[str, Callable[[Sequence[float], Windows], float]] = {
    "mean": mean,
    "tail": tail,
    "bottom": bottom,
    "lowest": lowest,
}
