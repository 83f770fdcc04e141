"""verl in the tiny world: its estimators and its loss, called as its trainer calls them."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import world
from torch import Tensor
from verl import DataProto
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig
from world import GREEN, RED, Cell, Group, Library

UNITS = {"token": "token-mean", "episode": "seq-mean-token-mean", "constant": "seq-mean-token-sum-norm"}


class Batch:
    """Responses padded on the right, [B, T]; the opening is left out, its last token is where they begin."""

    def __init__(self, groups: list[Group], pad: int = 0) -> None:
        # What a machine failed is not in the batch: the agent loop returns None for it (v1/utils.py).
        found = [(i, e) for i, group in enumerate(groups) for e in group if e.graded]
        rows = [e.rows[0] for _, e in found]
        begins = [next(i for i, (_, turn) in enumerate(row) if turn >= 0) for row in rows]
        width = max(len(row) - at for row, at in zip(rows, begins, strict=True)) + pad
        shape = (len(rows), width)
        self.uid = np.array([f"g{i}" for i, _ in found], dtype=object)
        self.before, self.said = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        self.mask, self.rewards = torch.zeros(shape), torch.zeros(shape)
        for b, (row, at, (_, e)) in enumerate(zip(rows, begins, found, strict=True)):
            for t, i in enumerate(range(at, len(row))):
                self.before[b, t], self.said[b, t] = row[i - 1][0], row[i][0]
                turn = row[i][1]
                self.mask[b, t] = float(turn >= 0)
                if turn >= 0 and (i + 1 == len(row) or row[i + 1][1] != turn):
                    self.rewards[b, t] = e.rewards[turn]


class Verl:
    """`estimator` and the "vanilla" loss, divided as the actor does: by the whole batch."""

    units = ("token", "episode", "constant")
    rows = False

    def __init__(self, estimator: str = "grpo", pad: int = 0) -> None:
        self.estimator, self.pad = estimator, pad

    def advantages(self, batch: Batch, table: Tensor) -> Tensor:
        estimate = core_algos.get_adv_estimator_fn(self.estimator)
        given = {"token_level_rewards": batch.rewards.clone(), "response_mask": batch.mask}
        if self.estimator == "gae":
            found = estimate(**given, values=torch.zeros_like(batch.rewards), gamma=1.0, lam=1.0)
        else:
            given["index"] = batch.uid
            if self.estimator.startswith("grpo"):
                given["norm_adv_by_std_in_grpo"] = False
            if "token_baseline" in self.estimator:
                logprobs = table.log_softmax(-1)
                given["old_log_probs"] = logprobs[batch.before, batch.said]
                given["sum_pi_squared"] = logprobs.exp().square().sum(-1)[batch.before]
            found = estimate(**given)
        return found[0].float()

    def gradient(self, table: Tensor, groups: list[Group], unit: str, *, micro: int | None = None) -> Tensor:
        table = table.clone().requires_grad_()
        batch = Batch(groups, self.pad)
        advantages = self.advantages(batch, table.detach())
        size = len(batch.uid)
        config = ActorConfig(strategy="fsdp", rollout_n=3, ppo_micro_batch_size_per_gpu=1)
        config.global_batch_info.update(
            dp_size=1,
            batch_num_tokens=int(batch.mask.sum()),
            global_batch_size=size,
            loss_scale_factor=world.CONSTANT,
        )
        for rows in torch.arange(size).split(micro or size):
            logprob = table.log_softmax(-1)[batch.before[rows], batch.said[rows]]
            loss, _ = core_algos.compute_policy_loss_vanilla(
                logprob.detach(),
                logprob,
                advantages[rows],
                batch.mask[rows],
                loss_agg_mode=UNITS[unit],
                config=config,
            )
            loss.backward()
        assert table.grad is not None
        return table.grad


ALONE = ("grpo", "grpo_vectorized", "rloo", "rloo_vectorized", "opo")
OUTCOME = ("grpo", "rloo", "opo", "tir_optimal_token_baseline")


def one_member() -> Cell:
    alone = [[world.episode("2 | 3 1", earns=[1.0])]]
    found = {name: float(Verl(name).advantages(Batch(alone), world.table())[0, 0]) for name in ALONE}
    agree = found["rloo"] == found["rloo_vectorized"] and found["grpo"] == found["grpo_vectorized"]
    return (GREEN if agree else RED), f"advantage of a return of 1: {found}"


def padding() -> Cell:
    cells = [
        world.same(
            Verl(pad=5).gradient(world.table(), world.groups(), unit),
            Verl().gradient(world.table(), world.groups(), unit),
            unit,
        )
        for unit in Verl.units
    ]
    return (RED if RED in dict(cells) else GREEN), "; ".join(seen for _, seen in cells)


def later_turns() -> Cell:
    name = "tir_optimal_token_baseline"
    found = []
    for first in (5.0, 0.0):
        earned = ((first, 1.0), (0.0, 0.2))
        batch = Batch([[world.episode("2 | 3 | 5 7 | 4 1", earns=pair) for pair in earned]])
        found.append(Verl(name).advantages(batch, world.table())[:, -1])
    alike = torch.allclose(*found, atol=1e-5) and bool(found[0].any())
    return (
        GREEN if alike else RED
    ), f"{name}, last tokens, whatever the first turn earned: {found[0].tolist()}"


def all_estimators() -> Cell:
    found = {}
    for name in OUTCOME:
        found[name] = world.direction(Verl(name).gradient(world.toy()[0], world.toy_groups(), "token"))
    seen = "cosine of expected and true gradient: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items())
    return (GREEN if found["grpo"] > 1 - world.CLOSE and min(found.values()) > 0.5 else RED), seen


def failed() -> Cell:
    """agg_loss says "exclude fully masked sequences"; the actor's call counts them."""
    loss, mask = torch.ones(2, 2), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    found = [
        float(core_algos.agg_loss(loss, mask, "seq-mean-token-mean", global_batch_size=n)) for n in (None, 2)
    ]
    state = GREEN if found[0] == found[1] else RED
    return (
        state,
        f"seq-mean of a row of ones beside a masked row: {found[0]} alone, {found[1]} as the actor calls",
    )


def rows_of_an_episode() -> Cell:
    """GRPO over several outputs of one episode: `compute_advantage_for_multi_trajectories`."""
    # By its file, for the package beside it asks for more; it needs TransferQueue all the same.
    path = Path(core_algos.__file__).parent / "v1" / "utils.py"
    spec = importlib.util.spec_from_file_location("verl_v1_utils", path)
    assert spec and spec.loader
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    rewards = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    data = DataProto.from_dict(
        tensors={"token_level_rewards": rewards, "response_mask": torch.ones(4, 1)},
        non_tensors={"uid": np.array(["u"] * 4, dtype=object)},
    )
    keys = ["u_0_0", "u_0_1", "u_0_2", "u_1_0"]
    done = utils.compute_advantage_for_multi_trajectories(
        data, keys, core_algos.AdvantageEstimator.GRPO, norm_adv_by_std_in_grpo=False
    )
    found = done.batch["advantages"][:, 0].tolist()
    good = found == [0.5, 0.5, 0.5, -0.5]
    return (GREEN if good else RED), f"GRPO, an episode of three rows (1) and one of one (0): {found}"


SHOWN = {
    "a group of one": (
        "import numpy as np, torch; from verl.trainer.ppo.core_algos import get_adv_estimator_fn as f\n"
        'x = dict(response_mask=torch.ones(1, 1), index=np.array(["g"]))\n'
        'print([f(n)(torch.ones(1, 1), **x)[0].item() for n in ("rloo", "rloo_vectorized")])'
    ),
    "a failed member changes nobody's gradient": (
        "import torch; from verl.trainer.ppo.core_algos import agg_loss\n"
        "x = torch.ones(2, 2), torch.tensor([[1., 1.], [0., 0.]])\n"
        'print([agg_loss(*x, "seq-mean-token-mean", global_batch_size=n).item() for n in (None, 2)])'
    ),
}

if __name__ == "__main__":
    own = {
        "a group of one": one_member,
        "padding changes nothing": padding,
        "a turn's reward moves no later turn": later_turns,
        "stop or continue": all_estimators,
        "a failed member changes nobody's gradient": failed,
        "several rows an episode": rows_of_an_episode,
    }
    world.answer(Library(Verl(), version("verl"), own, shown=SHOWN))
