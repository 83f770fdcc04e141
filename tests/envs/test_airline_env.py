"""Forge/Airline-v0 alone: what a needless write and a guess at all facts cost."""

from __future__ import annotations

from forge_envs.worlds.airline.env import AirlineEnv
from forge_envs.worlds.airline.tasks import find_task
from tests.envs.desks import AIRLINE, call, play


def test_a_write_nobody_asked_for_costs_outcome_and_progress() -> None:
    env = AirlineEnv(size="tiny", prompt="compact")
    text = AIRLINE.task_id("tiny", "train", 2, 0)
    actions = env.gold_actions(text)
    extra = call("send_certificate", user_id=find_task(text).customer_id, amount=50)
    log = play(env, text, [*actions[:-1], extra, actions[-1]])
    assert log[-1][4]["outcome"] == 0.0 and log[-1][4]["parts"]["rows"] == 0.0
    assert log[-2][4]["parts"]["progress"] < 0.0 < env.playing.progress < 1.0


def test_naming_all_values_at_once_earns_nothing() -> None:
    env = AirlineEnv(size="small", prompt="compact", level=1)
    everything = (
        "It is economy. It is business. It is landed. It is delayed. "
        "2024-05-20. 2024-05-21. FG100. FG101. $1.00. $2.00."
    )
    for n in range(30):
        env.reset(options={"task": AIRLINE.task_id("small", "train", 1, n)})
        ended = False
        while not ended:
            _, _, terminated, truncated, info = env.step(everything)
            ended = terminated or truncated
        assert info["outcome"] == 0.0
