"""Forge/Retail-v0 alone: what a needless write and a guess at all facts cost."""

from __future__ import annotations

from forge_envs.worlds.retail.env import RetailEnv
from forge_envs.worlds.retail.tasks import find_task
from tests.envs.desks import RETAIL, call, play


def test_a_write_nobody_asked_for_costs_outcome_and_progress() -> None:
    env = RetailEnv(size="tiny", prompt="compact")
    text = RETAIL.task_id("tiny", "train", 2, 0)
    actions = env.gold_actions(text)
    home = {"address1": "1 A", "address2": "", "city": "B", "state": "C", "country": "USA", "zip": "1"}
    extra = call("modify_user_address", user_id=find_task(text).customer_id, **home)
    log = play(env, text, [*actions[:-1], extra, actions[-1]])
    assert log[-1][4]["outcome"] == 0.0 and log[-1][4]["parts"]["rows"] == 0.0
    assert log[-2][4]["parts"]["progress"] < 0.0 < env.playing.progress < 1.0


def test_saying_all_values_at_once_earns_nothing() -> None:
    env = RetailEnv(size="tiny", prompt="compact", level=1)
    everything = "It is pending. It is processed. It is delivered. Reno, Tulsa, Omaha. credit card, paypal."
    played = 0
    for n in range(40):
        text = RETAIL.task_id("tiny", "train", 1, n)
        if find_task(text).goals[0].fact in ("status", "city", "payment"):
            env.reset(options={"task": text})
            ended = False
            while not ended:
                _, _, terminated, truncated, info = env.step(everything)
                ended = terminated or truncated
            assert info["outcome"] == 0.0
            played += 1
    assert played > 10
