"""Draw one token per row, each with a seed of its own.

A draw is a function of (logits, sampling, seed, position): one uniform number from a counter-based hash,
put through the inverse of the cumulative distribution. What else is in the batch does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from forge_train.engine import Sampling

_MASK = (1 << 64) - 1


def uniforms(seeds: Sequence[int], positions: Sequence[int]) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each (seed, position).

    >>> a, b = uniforms([3, 3], [7, 8])
    >>> bool(a != b and a == uniforms([5, 3], [0, 7])[1])
    True
    """
    seed = np.array([s & _MASK for s in seeds], dtype=np.uint64)
    position = np.array(positions, dtype=np.uint64)
    mixed = _mix(_mix(seed) + position)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's step (Steele, Lea, Flood 2014, fig. 14): neighbouring numbers become unrelated ones."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def sample(
    logits: torch.Tensor, samplings: Sequence[Sampling], uniform: npt.NDArray[np.float64]
) -> tuple[list[int], list[float]]:
    """A token and its logprob for each row of `logits` [R, vocab].

    The logprob is that of the distribution drawn from: after temperature, top-k, top-p, in this order.
    A greedy row takes the likeliest token and reports its logprob at temperature 1; a row with NaN gets NaN.
    """
    logits = logits.float()
    if any(s.temperature not in (0.0, 1.0) for s in samplings):
        temperature = torch.tensor([s.temperature or 1.0 for s in samplings], device=logits.device)
        logits = logits / temperature[:, None]
    cut = [i for i, s in enumerate(samplings) if not s.greedy and (s.top_p < 1 or s.top_k > 0)]
    if cut:
        rows = torch.tensor(cut, device=logits.device)
        logits = logits.index_copy(0, rows, _truncate(logits[rows], [samplings[i] for i in cut]))
    logprobs = torch.log_softmax(logits, dim=-1)
    # In double precision: the tail of a vocabulary of 150,000 would be lost to rounding in single.
    cumulative = logprobs.exp().cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    target = torch.from_numpy(uniform).to(logits.device)[:, None] * total
    # Strictly below the total, so that the token found is one with a probability above 0.
    target = torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))
    # A row that is no number has no place in it: some token, whose logprob is NaN.
    token = torch.searchsorted(cumulative, target, right=True).clamp_(max=logits.shape[1] - 1)
    greedy = [s.greedy for s in samplings]
    if any(greedy):
        likeliest = logits.argmax(-1, keepdim=True)
        token = torch.where(torch.tensor(greedy, device=logits.device)[:, None], likeliest, token)
    chosen = logprobs.gather(1, token)
    return token[:, 0].tolist(), chosen[:, 0].tolist()


def confidences(logits: torch.Tensor, samplings: Sequence[Sampling]) -> list[float]:
    """The confidence of a token drawn from each row of `logits` [R, vocab]: see `Completion.confidence`.

    >>> logits = torch.tensor([[0.7, 0.2, 0.1]]).log()
    >>> [round(c, 6) for k in (2, 3) for c in confidences(logits, [Sampling(top_logprobs=k)])]
    [0.983056, 1.422899]
    """
    temperature = torch.tensor([s.temperature or 1.0 for s in samplings], device=logits.device)
    logprobs = torch.log_softmax(logits.float() / temperature[:, None], dim=-1)
    k = torch.tensor([min(s.top_logprobs, logits.shape[1]) for s in samplings], device=logits.device)
    likeliest = logprobs.topk(int(k.max()), dim=-1).values
    beyond = torch.arange(likeliest.shape[1], device=logits.device) >= k[:, None]
    sums = likeliest.double().masked_fill(beyond, 0.0).sum(-1)
    return (-sums / k).tolist()


def _truncate(logits: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """-inf outside the top-k, then outside the smallest set whose probability reaches top-p."""
    vocab = logits.shape[1]
    k = torch.tensor([s.top_k or vocab for s in samplings], device=logits.device)[:, None]
    p = torch.tensor([s.top_p for s in samplings], device=logits.device)[:, None]
    ordered, index = logits.sort(dim=-1, descending=True, stable=True)
    ordered = ordered.masked_fill(torch.arange(vocab, device=logits.device) >= k, float("-inf"))
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    ordered = ordered.masked_fill((before >= p) & (p < 1), float("-inf"))
    return torch.empty_like(logits).scatter_(1, index, ordered)
