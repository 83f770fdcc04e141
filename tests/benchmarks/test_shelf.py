"""The toy behind the curves of docs/algorithms: what it computes itself is what the trainer computes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from shelf_pages import arrived, section
from shelf_run import Arm, Flat, Runs
from shelf_world import Tables, chance_by_sign, logprobs, play, signs_of

from forge_train.learn.batch import counted, samples, token_weights
from forge_train.play.curriculum import Draw


@pytest.mark.parametrize("denominator", ["token", "trajectory", "constant"])
def test_weights_are_those_of_the_trainer(denominator: str) -> None:
    runs = Runs(Arm(), (0.1,), 2)
    groups = runs._groups(logprobs(runs.first, np.ones(2)).numpy(), [2, 1])
    batch, wanted = [], []
    for row in groups:
        found = [t for group in row for t in group]
        credit = [[1.0] * len(t.rewards) for t in found]
        times = [float(1 + i % 2) for i in range(len(found))]
        batch.append((found, credit, times))
        told = samples([_heard(t) for t in found], credit, times)
        weights = token_weights(told, denominator, 3.0 if denominator == "constant" else None)  # type: ignore[arg-type]
        wanted += counted(told, weights, denominator)  # type: ignore[arg-type]
    torch.testing.assert_close(Flat.of(batch, 1).weights(denominator, 3.0), torch.cat(wanted))


def _heard(t):  # type: ignore[no-untyped-def]
    """With a token of the world first, which the trainer's samples need."""
    (segment,) = t.segments
    segment = type(segment)([0, *segment.tokens], [0.0, *segment.logprobs], [-1, *segment.action])
    return type(t)(t.group, [segment], t.rewards, t.turn_rewards, t.outcome)


def test_the_exact_chance_is_how_often_tasks_are_solved() -> None:
    tables = Tables((0.1,), 1, shared=False)
    with torch.no_grad():
        tables.rows[0][:, 0::2, -1] += 2.0  # often "hm"
    logits = tables.logits().detach()
    draws = [[Draw(i, "a", "2/1", 0) for i in range(400)]]
    groups = play(draws, logprobs(logits, np.ones(1)).numpy(), [np.random.default_rng(0)], 0.0)
    often = np.mean([t.solved for group in groups[0] for t in group.members])
    exact = chance_by_sign(logits)[0, signs_of("a", "2/1")].prod()
    assert abs(often - exact) < 4 * (exact * (1 - exact) / 3200) ** 0.5


def test_fresh_and_in_one_step_objectives_are_reinforce() -> None:
    """And late they are not: a toy in which nothing differs would show nothing."""

    def after(objective: str, lag: int) -> torch.Tensor:
        runs = Runs(Arm(algorithm={"objective": objective}, lag=lag), (0.5,), 1)
        runs.go(6)
        return runs.tables.logits().detach()

    torch.testing.assert_close(after("cispo", 0), after("nll", 0))
    assert (after("cispo", 4) - after("nll", 4)).abs().max() > 1e-3


def test_a_page_without_its_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- shelf a -->\nold\n<!-- /shelf a -->\n")
    section(tmp_path / "page.md", "a", ["new"])
    assert (tmp_path / "page.md").read_text() == "<!-- shelf a -->\nnew\n<!-- /shelf a -->\n"
    with pytest.raises(ValueError, match="put one"):
        section(tmp_path / "page.md", "b", ["new"])


def test_seeds_that_do_not_arrive_are_not_averaged_away() -> None:
    assert arrived([100, None, 100, 100, 100]) == "4 of 5 arrive"
