"""tinker-cookbook in the tiny world: its advantages and its data. The service's sum is written here.

Its loss "importance_sampling" is documented as -sum(exp(logprob - sampled) * advantage) over tokens.
"""

from __future__ import annotations

from importlib.metadata import version

import tinker
import torch
import world
from tinker_cookbook.completers import TokensWithLogprobs
from tinker_cookbook.rl.data_processing import assemble_training_data, compute_advantages
from tinker_cookbook.rl.types import Trajectory, TrajectoryGroup, Transition
from torch import Tensor
from world import GREEN, RED, Cell, Episode, Group, Library


def trajectory(e: Episode, logprobs: Tensor) -> Trajectory:
    """Each action with all that stands before it in its row."""
    steps = []
    for row in e.rows:
        for turn in sorted({turn for _, turn in row if turn >= 0}):
            at = [i for i, (_, who) in enumerate(row) if who == turn]
            said = [row[i][0] for i in at]
            steps.append(
                Transition(
                    ob=tinker.ModelInput.from_ints([token for token, _ in row[: at[0]]]),
                    ac=TokensWithLogprobs(
                        tokens=said, maybe_logprobs=[float(logprobs[row[i - 1][0], row[i][0]]) for i in at]
                    ),
                    reward=e.rewards[turn],
                    episode_done=False,
                )
            )
    return Trajectory(transitions=steps, final_ob=tinker.ModelInput.empty())


class Cookbook:
    units = ("sum",)
    rows = True

    def gradient(self, table: Tensor, groups: list[Group], unit: str, *, micro: int | None = None) -> Tensor:
        table = table.clone().requires_grad_()
        logprobs = table.log_softmax(-1)
        found = []
        for group in groups:
            # A rollout that failed is not in its group: `TrajectoryGroup.rollout_errors`.
            members = [trajectory(e, logprobs.detach()) for e in group if e.graded]
            nothing: list[dict[str, float | int]] = [{} for _ in members]
            found.append(TrajectoryGroup(members, [0.0] * len(members), nothing))
        data, _ = assemble_training_data(found, compute_advantages(found))
        for at in range(0, len(data), micro or len(data)):
            loss = torch.zeros(())
            for datum in data[at : at + (micro or len(data))]:
                given = {name: value.to_torch() for name, value in datum.loss_fn_inputs.items()}
                logprob = logprobs[torch.tensor(datum.model_input.to_ints()), given["target_tokens"]]
                loss = loss - ((logprob - given["logprobs"]).exp() * given["advantages"]).sum()
            loss.backward(retain_graph=True)
        assert table.grad is not None
        return table.grad


def one_member() -> Cell:
    e = world.episode("2 | 3 1", earns=[1.0])
    group = TrajectoryGroup([trajectory(e, world.table())], [0.0], [{}])
    found = compute_advantages([group])[0].tolist()
    return (GREEN if found == [0.0] else RED), f"advantages {found}"


OVERRIDES = {
    "padding changes nothing": (world.NOT_OFFERED, "sequences are not padded: a datum each"),
    "a turn's reward moves no later turn": (world.NOT_OFFERED, "one advantage a trajectory"),
}

if __name__ == "__main__":
    world.answer(
        Library(Cookbook(), version("tinker_cookbook"), {"a group of one": one_member}, overrides=OVERRIDES)
    )
