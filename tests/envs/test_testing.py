import gymnasium as gym
import pytest

from forge_envs import world_ids
from forge_envs.testing import WorldError, check_world, promises
from tests.envs.worlds import BROKEN, SPARE, Counter, PaysSilence, Shell

WORLDS = "tests.envs.worlds:Shop"


SHORT = {"Forge/SWE-v0": {"max_turns": 6}}
"""Where silence up to the limit would be long, and tell no more."""


@pytest.mark.parametrize("world", world_ids())
def test_every_registered_world_keeps_its_promises(world):
    """One task of each split where an episode is judged by programs that run: they take seconds each."""
    given = {**SPARE.get(world, {}), **SHORT.get(world, {})}
    check_world(world, tasks=1 if "sandbox" in given else 2 if world in SPARE else 5, **given)


@pytest.mark.parametrize(
    ("world", "kwargs"),
    [(Counter, {}), (Counter, {"max_turns": 4, "turn_weight": 0.1}), (Shell, {"grammar": "bash"})],
)
def test_a_good_world_passes(world, kwargs):
    report = check_world(f"{WORLDS}/{world.__name__}-v0", tasks=6, **kwargs)
    assert len(report.promises) == 21 and all(promise.kept for promise in report.promises)
    assert str(report).splitlines()[3] == "  ok      gold: 1.0 on 9 tasks, in at most 2 actions"


@pytest.mark.parametrize(("world", "promise"), BROKEN.items(), ids=lambda x: getattr(x, "__name__", x))
def test_a_world_that_breaks_a_promise_is_told_which(world, promise):
    found = {p.name: p for p in promises(f"{WORLDS}/{world.__name__}-v0", tasks=6)}
    assert not found[promise].kept, found[promise].note
    with pytest.raises(WorldError, match=f"{world.__name__}-v0: ") as caught:
        check_world(f"{WORLDS}/{world.__name__}-v0", tasks=6)
    assert f": {next(p.name for p in found.values() if not p.kept)}: " in str(caught.value)


@pytest.mark.parametrize("stage", ["look", "hear", "grade"])
def test_a_machine_that_fails_breaks_no_promise_about_the_form_of_a_turn(stage):
    found = {p.name: p for p in promises(f"{WORLDS}/Counter-v0", tasks=3, fails=stage)}
    for name in (
        "tasks",
        "any text",
        "same seed",
        "fresh reset",
        "opening",
        "no leaks",
        "rewards",
        "snapshots",
    ):
        assert found[name].kept, found[name].note
    assert found["gold"].kept == (stage == "look")


def test_tasks_that_silence_solves_can_be_exempt(monkeypatch):
    monkeypatch.setattr(PaysSilence, "silence_solves", [*Counter().task_ids()])
    found = {p.name: p for p in promises(f"{WORLDS}/PaysSilence-v0", tasks=3)}
    assert found["silence"].note == "0.0 on 6 tasks, 9 exempt"


def test_a_world_that_is_registered_as_nondeterministic_need_not_repeat_itself():
    report = check_world(f"{WORLDS}/Honest-v0", tasks=3)
    excused = [p.name for p in report.promises if p.note == "not asked: registered as nondeterministic"]
    assert excused == ["same seed", "fresh reset", "snapshots", "side by side"]


def test_a_bug_of_the_world_keeps_its_traceback():
    with pytest.raises(WorldError, match="KeyError") as caught:
        check_world(f"{WORLDS}/AssertsArguments-v0", tasks=3)
    assert isinstance(caught.value.__cause__, KeyError)


def test_bad_input_is_no_broken_promise():
    with pytest.raises(gym.error.NameNotFound, match="Counter"):
        check_world(f"{WORLDS}/Countr-v0")
    with pytest.raises(ValueError, match="max_turns=1"):
        check_world(f"{WORLDS}/Counter-v0", max_turns=1)
    with pytest.raises(ValueError, match="colour"):
        check_world(f"{WORLDS}/Counter-v0", colour="red")
    with pytest.raises(ValueError, match="tasks=0"):
        check_world(f"{WORLDS}/Counter-v0", tasks=0)
    with pytest.raises(WorldError, match="no AgentEnv"):
        check_world("CartPole-v1")
