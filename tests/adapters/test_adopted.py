"""The environments of others, each by its own package: played, seeded, failing and side by side."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers
from forge_envs import MachineError
from forge_envs.adopted import Adopted

GUESS = {"env": "game:GuessTheNumber-v0-easy"}
HANOI = {"env": "TowerOfHanoi-v0"}
SUMS = {"dataset": "chain_sum"}
MOVES = ["A C", "A B", "C B", "A C", "B A", "B C", "A C"]
"""Three disks."""


def played(env: Any, seed: int, actions: list[str]) -> list[Any]:
    """All that an episode says, and its rewards."""
    told: list[Any] = [env.reset(seed=seed)]
    for action in actions:
        told.append(env.step(action))
        if told[-1][2] or told[-1][3]:
            break
    return told


def check(world: str, args: dict[str, Any], actions: list[str]) -> None:
    """What holds of each: equal seeds, equal episodes, also side by side; nobody's randomness moves."""
    outside, level = random.getstate(), logging.getLogger().level
    env: Adopted = gym.make(world, **args).unwrapped  # type: ignore[assignment]
    alone = [played(env, seed, actions) for seed in range(4)]
    assert len({str(told[0][0]) for told in alone}) > 1 or world == "Forge/TextArena-v0"
    for told in alone:
        assert env.observation_space.contains(told[0][0]) and "error" not in told[-1][4]
    for large in (2**40 + 3, 2**52):  # seeds of test splits
        assert played(env, large, actions) == played(env, large, actions)
    with ThreadPoolExecutor(4) as pool:
        envs = [gym.make(world, **args) for _ in range(4)]
        assert list(pool.map(lambda pair: played(*pair, actions), zip(envs, range(4), strict=True))) == alone
    assert (random.getstate(), logging.getLogger().level) == (outside, level)
    for one in (env, *envs):
        one.close()
        one.close()


def test_gem() -> None:
    pytest.importorskip("gem")
    check("Forge/Gem-v0", GUESS, [f"\\boxed{{{n}}}" for n in (5, 2, 8)])
    env = gym.make("Forge/Gem-v0", **GUESS)
    opening = env.reset(seed=1)[0][0]["content"]
    assert opening.startswith("You are playing Guess The Number.")
    assert opening.endswith("Enter your next guess.")
    best = {}
    for guess in range(1, 11):
        env.reset(seed=1)
        *_, info = env.step(f"\\boxed{{{guess}}}")
        best[guess] = info.get("outcome")
    assert list(best.values()).count(1.0) == 1
    for _ in range(20):
        env.reset(seed=1)
        env.unwrapped._env.step = None  # type: ignore[attr-defined]
        *_, info = env.step("\\boxed{1}")
        assert info["error"]["kind"] == "environment" and "outcome" not in info
    with pytest.raises(ValueError, match="NoSuch"):
        gym.make("Forge/Gem-v0", env="game:NoSuch-v0")
    with pytest.raises(ValueError, match="no_such_module"):
        gym.make("Forge/Gem-v0", module="no_such_module", **GUESS)


def test_gem_is_the_same_game_as_without_us() -> None:
    gem = pytest.importorskip("gem")
    ours, theirs = gym.make("Forge/Gem-v0", **GUESS), gem.make(GUESS["env"])
    for seed in range(5):
        state = random.getstate()
        opening, info = theirs.reset(seed=seed)
        assert ours.reset(seed=seed)[0][0]["content"] == f"{opening}\n{info['suffix']}"
        for guess in (5, 3, 9):
            action = f"\\boxed{{{guess}}}"
            said, reward, terminated, truncated, _ = theirs.step(action)
            answer = ours.step(action)
            assert answer[1:4] == (reward, terminated, truncated)
            assert not answer[0] or answer[0][0]["content"].startswith(said)
            if terminated or truncated:
                break
        random.setstate(state)


def test_reasoning_gym() -> None:
    pytest.importorskip("reasoning_gym")
    check("Forge/ReasoningGym-v0", SUMS, ["<answer>12</answer>"])
    env = gym.make("Forge/ReasoningGym-v0", **SUMS)
    env.reset(seed=5)
    answer = env.unwrapped._entry["answer"]  # type: ignore[attr-defined]
    for action, outcome, answered in (
        (f"It is <answer> {answer} </answer>", 1.0, 1.0),
        (f"<answer>0</answer> no: <answer>{answer}</answer>", 1.0, 1.0),
        (f"It may be {answer}", 0.0, 0.0),
        ("", 0.0, 0.0),
    ):
        opening, _ = env.reset(seed=5)
        assert "<answer>" in opening[0]["content"] and answer not in str(env.reset(seed=5)[1])
        observation, reward, terminated, _, info = env.step(action)
        assert (observation, reward, terminated) == ((), outcome, True), action
        assert (info["outcome"], info["parts"]) == (outcome, {"answered": answered})
    other = gym.make("Forge/ReasoningGym-v0", entries=1, **SUMS)
    assert other.reset(seed=5)[0] != env.reset(seed=5)[0]
    with pytest.raises(ValueError, match="no_such_set"):
        gym.make("Forge/ReasoningGym-v0", dataset="no_such_set")


def test_textarena() -> None:
    pytest.importorskip("textarena")
    check("Forge/TextArena-v0", HANOI, [f"[{move}]" for move in MOVES])
    env = gym.make("Forge/TextArena-v0", **HANOI)
    told = played(env, 0, [f"[{move}]" for move in MOVES])
    assert "[A C]" not in told[1][0][0]["content"] and "You moved disk 1" in told[1][0][0]["content"]
    assert [answer[1] for answer in told[1:]] == [0.0] * 6 + [1.0]
    assert told[-1][4]["outcome"] == 1.0 and told[-1][4]["parts"] == {"invalid_move": 0.0}
    told = played(env, 0, ["nonsense"] * 5)
    assert told[-1][2] and told[-1][4]["outcome"] == 0.0 and told[-1][4]["parts"] == {"invalid_move": 1.0}
    cut = gym.make("Forge/TextArena-v0", max_turns=2, **HANOI)
    *_, truncated, info = played(cut, 0, ["[A C]", "[A B]"])[-1]
    assert truncated and info["outcome"] == 0.0
    with pytest.raises(ValueError, match="number of players"):
        gym.make("Forge/TextArena-v0", env="TicTacToe-v0")
    with pytest.raises(ValueError, match="NoSuch"):
        gym.make("Forge/TextArena-v0", env="NoSuch-v0")


@contextlib.contextmanager
def served(most: int = 8) -> Iterator[str]:
    """A real OpenEnv server with a guessing game that has a crash and a sleep in it."""
    pytest.importorskip("openenv")
    uvicorn = pytest.importorskip("uvicorn")
    from tests.adapters.openenv_guess import application

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application(most), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def test_openenv() -> None:
    openenv_guess = pytest.importorskip("tests.adapters.openenv_guess")
    with served() as url:
        args = {"url": url}
        check("Forge/OpenEnv-v0", args, ["5", "2", "8"])
        env = gym.make("Forge/OpenEnv-v0", **args)
        assert env.reset(seed=1)[0][0]["content"] == "Guess 3, from 1 to 9."
        *_, terminated, truncated, info = env.step("3")
        assert terminated and not truncated and info["outcome"] == 1.0 and info["turn_reward"] == 1.0
        for action, kind in (("crash", "environment"), ("unscored", "reward")):
            env.reset(seed=1)
            *_, truncated, info = env.step(action)
            assert truncated and info["error"]["kind"] == kind and "outcome" not in info, info
        env.reset(seed=1)
        assert env.step("3")[1] == 1.0, "after a failure it begins anew"
        slow = gym.make("Forge/OpenEnv-v0", timeout=10.0, **args)
        slow.reset(seed=1)
        *_, truncated, info = slow.step("sleep")
        openenv_guess.AWAKE.set()
        assert truncated and info["error"]["kind"] == "timeout" and info["error"]["retryable"]
        slow.close()
        with pytest.raises(ValueError, match=r"field='': say which of"):
            gym.make("Forge/OpenEnv-v0", action={"guess": "1"}, **args)
    env.close()
    with pytest.raises(MachineError, match="refused") as failure:
        gym.make("Forge/OpenEnv-v0", **args)
    assert failure.value.retryable, "a server that is not there may come back"


def test_an_openenv_server_that_is_full_can_be_asked_again() -> None:
    with served(most=1) as url:
        one, two = (gym.make("Forge/OpenEnv-v0", url=url) for _ in range(2))
        one.reset(seed=1)
        with pytest.raises(MachineError) as failure:
            two.reset(seed=1)
        assert failure.value.retryable and failure.value.stage == "reset"
        one.close()
        for _ in range(100):
            with contextlib.suppress(MachineError):
                two.reset(seed=1)
                break
            time.sleep(0.05)
        assert two.step("3")[1] == 1.0
        two.close()
