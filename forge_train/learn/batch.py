"""From trajectories to tensors: what is trained, what it weighs, and what is forwarded together.

Shapes: B rows, T positions, N trained tokens. Only positions whose next token is trained need logits;
everything here therefore keeps flat vectors over trained tokens beside the padded [B, T] tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from forge_train.learn.tree import Ints, Tree, grow, pad, trie_of
from forge_train.trajectory import WORLD, TokenAdvantages, Trajectory

Denominator = Literal["token", "turn", "segment", "trajectory", "constant"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The trained tokens of one segment, with the tokens they depend on.

    Whatever comes after the last trained token is cut off: no trained token sees it.
    """

    trajectory: int
    """Index into the trajectories given to `samples`."""
    segment: int
    """Index into the trajectory's segments."""
    tokens: Tensor
    """int64 [T]: the segment up to and including its last trained token."""
    at_N: Tensor
    """int64: where in `tokens` each trained token stands; never 0."""
    action_N: Tensor
    """int64: the action that wrote each trained token."""
    behaviour_N: Tensor
    """float32: the engine's logprob of each trained token."""
    advantage_N: Tensor
    """float32: the advantage of each trained token, or of its action."""
    temperature: float | None = None
    """What it was sampled at, where the trajectory says so."""
    weight: float = 1.0
    """How often its trajectory counts."""

    @property
    def key(self) -> tuple[int, int]:
        """Names the sample among those of one call of `samples`."""
        return self.trajectory, self.segment

    @property
    def forwarded(self) -> int:
        """Positions the model must see: all but the last token, which predicts nothing trained."""
        return self.tokens.numel() - 1

    @property
    def silent(self) -> bool:
        """No advantage, hence no gradient under any objective."""
        return not bool(self.advantage_N.any())


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples forwarded together: a row each, padded on the right, so that causal attention needs no mask; or
    as one tree, in which what they share stands once. The last token of each sample is not in it."""

    samples: tuple[int, ...]
    """Index of each sample, in the order of the N-vectors."""
    tokens_BT: Tensor
    """int64; rows are padded with 0, a tree is one row."""
    at_N: Tensor
    """Index into the flattened [B*T] positions: the one that predicts each trained token."""
    target_N: Tensor
    behaviour_N: Tensor
    advantage_N: Tensor
    lengths: tuple[int, ...]
    """Trained tokens of each sample, to split N-vectors again."""
    real: int
    """Positions that are not padding."""
    tree: Tree | None = None
    """How a tree is laid out; stays on the CPU, where attention to it is planned."""
    temperature: float | None = None
    """What all of its samples were sampled at, where they say so."""

    @property
    def positions(self) -> int:
        """Positions forwarded, padding included."""
        return self.tokens_BT.numel()

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(
            self.samples,
            self.tokens_BT.to(device),
            self.at_N.to(device),
            self.target_N.to(device),
            self.behaviour_N.to(device),
            self.advantage_N.to(device),
            self.lengths,
            self.real,
            self.tree,
            self.temperature,
        )


def samples(
    trajectories: Sequence[Trajectory],
    advantages: Sequence[Sequence[float]],
    weights: Sequence[float] | None = None,
) -> list[Sample]:
    """One sample per segment in which the policy wrote something.

    `advantages` has one list per trajectory with one number per action, or `TokenAdvantages`; `weights` says
    how often each counts (once). Raises ValueError where they do not fit, where a policy token has no token
    before it, and where an action stands in two segments: a segment that shows an older action again must
    mark it as the world's, or it would be trained twice.
    """
    if len(trajectories) != len(advantages):
        raise ValueError(f"{len(advantages)} lists of advantages for {len(trajectories)} trajectories")
    found = []
    for i, (trajectory, credit) in enumerate(zip(trajectories, advantages, strict=True)):
        seen: set[int] = set()
        by_token = isinstance(credit, TokenAdvantages)
        if by_token and len(credit) != trajectory.sampled:
            raise ValueError(
                f"trajectory {i} (group {trajectory.group!r}): {len(credit)} advantages for "
                f"{trajectory.sampled} tokens of the policy"
            )
        credit_N, done = torch.tensor(credit, dtype=torch.float32), 0
        for j, segment in enumerate(trajectory.segments):
            where = f"trajectory {i} (group {trajectory.group!r}), segment {j}"
            action_T = torch.tensor(segment.action, dtype=torch.int64)
            at_N = (action_T != WORLD).nonzero().squeeze(1)
            if not at_N.numel():
                continue
            written = set(segment.action) - {WORLD}
            if segment.action[0] != WORLD:
                raise ValueError(f"{where} begins with a policy token: put a token of the world before it")
            if not by_token and max(written) >= len(credit):
                raise ValueError(f"{where} has action {max(written)}, but there are {len(credit)} advantages")
            if seen & written:
                raise ValueError(f"{where} trains action {min(seen & written)} again: mark it as the world's")
            seen |= written
            action_N = action_T[at_N]
            spent, done = done, done + at_N.numel()
            found.append(
                Sample(
                    trajectory=i,
                    segment=j,
                    tokens=torch.tensor(segment.tokens[: int(at_N[-1]) + 1], dtype=torch.int64),
                    at_N=at_N,
                    action_N=action_N,
                    behaviour_N=torch.tensor(segment.logprobs, dtype=torch.float32)[at_N],
                    advantage_N=credit_N[spent:done] if by_token else credit_N[action_N],
                    temperature=trajectory.temperature,
                    weight=1.0 if weights is None else weights[i],
                )
            )
    return found


def token_weights(
    samples: Sequence[Sample], denominator: Denominator, constant: float | None = None
) -> list[Tensor]:
    """What each trained token's loss is multiplied with before everything is summed.

    Computed once over all samples of an optimizer step, those without a signal included; micro-batches
    only ever sum. Returns one float32 vector per sample, as long as its trained tokens.

    - "token": 1 / (trained tokens of the step): the mean over tokens (DAPO, Klear-AgentForge Eq. 5).
      Long trajectories weigh more.
    - "turn": the mean over the tokens of an action, then over all actions of the step. Every action
      weighs the same, however long.
    - "segment": the mean over the tokens of a segment, then over all segments of the step. What a trajectory
      earned counts as often as it was told anew (ReSum-GRPO, arXiv 2509.13313: 1 / sum_g n_g).
    - "trajectory": the mean over a trajectory's trained tokens, all its segments together, then over
      trajectories. Every trajectory weighs the same (GRPO, arXiv 2402.03300, Eq. 3).
    - "constant": the sum over a trajectory's tokens, over `constant`, then the mean over trajectories. No
      length enters (Dr. GRPO, arXiv 2503.20783, §3.2); `constant` is usually the token budget of one
      trajectory, never that of an update.

    A trajectory in which the policy wrote nothing has no mean and is not counted. The weights sum to 1
    except under "constant". Raises ValueError for an unknown denominator and for a constant that is
    missing or not positive.
    """
    match denominator:
        case "token":
            total = sum(s.at_N.numel() for s in samples)
            return [torch.full((s.at_N.numel(),), 1 / total) for s in samples]
        case "turn":
            return _mean_of_means([[(s.trajectory, a) for a in s.action_N.tolist()] for s in samples])
        case "segment":
            return _mean_of_means([[s.key] * s.at_N.numel() for s in samples])
        case "trajectory":
            return _mean_of_means([[(s.trajectory, 0)] * s.at_N.numel() for s in samples])
        case "constant":
            if constant is None or constant <= 0:
                raise ValueError(
                    f'constant={constant}: the "constant" denominator needs a positive number, '
                    "for example the token budget of a trajectory"
                )
            total_constant = constant * len({s.trajectory for s in samples})
            return [torch.full((s.at_N.numel(),), 1 / total_constant) for s in samples]
        case _:
            raise ValueError(
                f"denominator={denominator!r}: choose token, turn, segment, trajectory or constant"
            )


def _mean_of_means(units: Sequence[Sequence[tuple[int, int]]]) -> list[Tensor]:
    """1 / (tokens of the token's unit * number of units), for each token of each sample."""
    sizes: dict[tuple[int, int], int] = {}
    for row in units:
        for unit in row:
            sizes[unit] = sizes.get(unit, 0) + 1
    return [torch.tensor([1 / (sizes[unit] * len(sizes)) for unit in row]) for row in units]


def counted(found: Sequence[Sample], weights: list[Tensor], denominator: Denominator) -> list[Tensor]:
    """`token_weights` where trajectories count more or less often than once: as if copies of them were there.

    Every mean is then one over the copies, and "constant" divides by as many trajectories as there would be.
    """
    if all(s.weight == 1.0 for s in found):
        return weights
    if denominator == "constant":
        times = {s.trajectory: s.weight for s in found}
        whole, copies = float(len(times)), sum(times.values())
    else:
        sums = [float(w_N.sum()) for w_N in weights]
        whole = sum(sums)
        copies = sum(s.weight * total for s, total in zip(found, sums, strict=True))
    return [w_N * (s.weight * whole / copies) for s, w_N in zip(found, weights, strict=True)]


def unique_tokens(samples: Sequence[Sample]) -> int:
    """Positions that any packing must forward: tokens that differ in themselves or in what precedes them."""
    return trie_of([seen(s) for s in samples]).size


def seen(sample: Sample) -> Ints:
    """The tokens that are forwarded."""
    return sample.tokens[:-1].numpy()


def batch_of(
    samples: Sequence[Sample], chosen: Sequence[int], shared: Sequence[int] | None, size: int | None = None
) -> Batch:
    """Forward the `chosen` samples together: a row each, or with `shared` (see `Trie`) as one tree.

    The chosen of a tree stand in the order of their trie. It is padded to `size` positions.
    """
    if shared is None:
        return _rows(samples, chosen)
    tree = grow([seen(samples[i]) for i in chosen], shared)
    real = len(tree.tokens_T)
    tree = tree if size is None else pad(tree, size)
    at = [path[samples[i].at_N - 1] for i, path in zip(chosen, tree.paths, strict=True)]
    return _collate(samples, chosen, tree.tokens_T[None], at, real, tree)


def _rows(samples: Sequence[Sample], rows: Sequence[int]) -> Batch:
    chosen = [samples[i] for i in rows]
    width = max(s.forwarded for s in chosen)
    tokens_BT = torch.zeros(len(chosen), width, dtype=torch.int64)
    for row_T, s in zip(tokens_BT, chosen, strict=True):
        row_T[: s.forwarded] = s.tokens[:-1]
    at = [s.at_N - 1 + row * width for row, s in enumerate(chosen)]
    return _collate(samples, rows, tokens_BT, at, sum(s.forwarded for s in chosen))


def _collate(
    samples: Sequence[Sample],
    rows: Sequence[int],
    tokens_BT: Tensor,
    at: list[Tensor],
    real: int,
    tree: Tree | None = None,
) -> Batch:
    chosen = [samples[i] for i in rows]
    return Batch(
        samples=tuple(rows),
        tokens_BT=tokens_BT,
        at_N=torch.cat(at),
        target_N=torch.cat([s.tokens[s.at_N] for s in chosen]),
        behaviour_N=torch.cat([s.behaviour_N for s in chosen]),
        advantage_N=torch.cat([s.advantage_N for s in chosen]),
        lengths=tuple(s.at_N.numel() for s in chosen),
        real=real,
        tree=tree,
        temperature=chosen[0].temperature,
    )
