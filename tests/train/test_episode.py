import asyncio
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.engine import Sampling
from forge_train.play.episode import OutOfRoom, TokenPlayer, gather, play, play_group
from forge_train.play.gold_player import GoldPlayer
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.trajectory import WORLD, Trajectory
from tests.train import worlds
from tests.train.tokens import Script, tokenizer

ECHO, SLOW, FOREIGN = (f"tests.train.worlds:Test/{name}-v0" for name in ("Echo", "Slow", "Foreign"))
RENDERER = ChatML(tokenizer())


def says(text, **options):
    return Script(lambda tokens, seed: RENDERER.encode_action(text), **options)


def player(engine, **sampling):
    return TokenPlayer(engine, RENDERER, Sampling(**sampling))


def run(world, someone, task="train/7", *, seed=0, deadline=20.0):
    return asyncio.run(play(world, someone, task, seed=seed, group="g", deadline=deadline))


def consistent(trajectory: Trajectory) -> None:
    """What holds for every trajectory, however it ended."""
    actions = len(trajectory.rewards)
    assert len(trajectory.turn_rewards) == len(trajectory.versions) == actions
    written = [a for s in trajectory.segments for a in s.action if a != WORLD]
    assert sorted(set(written)) == list(range(actions)) and written == sorted(written)
    for segment in trajectory.segments:
        assert len(segment.tokens) == len(segment.logprobs) == len(segment.action)
        assert all(p == 0.0 for p, a in zip(segment.logprobs, segment.action, strict=True) if a == WORLD)
    assert Trajectory.from_dict(json.loads(json.dumps(trajectory.as_dict()))) == trajectory


@pytest.mark.parametrize("id", [ECHO, SLOW])
def test_an_episode_becomes_tokens_rewards_and_an_outcome(id):
    engine, world = says("7"), World(id, {"turns": 2})
    t = run(world, player(engine))
    consistent(t)
    assert (t.ending, t.outcome, t.trainable, t.versions) == ("terminated", 1.0, True, [0, 0])
    assert t.rewards == pytest.approx([0.05, 1.05]) and t.turn_rewards == [0.5, 0.5]
    assert t.info["parts"] == {"hit": 2.0, "length": 1.0}
    roles = [m["role"] for m in t.info["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user", "assistant", "tool", "user"]
    assert t.info["opening"] == 2 and t.info["world"] == world.name and t.info["task"] == "train/7"
    assert engine.open == set() and len(world._free) == 1
    world.close()


def test_the_tokens_are_those_of_the_whole_conversation_up_to_the_last_action():
    t = run(World(ECHO), player(says("7")))
    said = [m for m in t.info["messages"]][:-2]  # the world's last words have no reader
    whole = RENDERER.open(said)
    assert t.segments[0].tokens == whole[: len(t.segments[0].tokens)]
    assert RENDERER.text(t.segments[0].tokens[-2:]) == "7"


def test_the_turn_limit_is_graded():
    t = run(World(ECHO, {"turns": 5, "max_turns": 2}), player(says("7")))
    assert (t.ending, t.outcome, len(t.rewards), t.trainable) == ("max_turns", 0.0, 2, True)


def test_a_foreign_world_has_no_outcome_but_rewards_to_train_on():
    world = World(FOREIGN)
    first, again, other = (run(world, player(says("x")), task) for task in ("seed:1", "seed:1", "seed:2"))
    assert first.outcome is None and first.trainable and first.rewards == [0.5, 0.5]
    assert first.segments[0].tokens == again.segments[0].tokens != other.segments[0].tokens


def test_out_of_tokens_keeps_the_unfinished_action_and_leaves_the_world_ungraded():
    t = run(World(ECHO), player(says("7 and so on"), max_tokens=4))
    consistent(t)
    assert (t.ending, t.outcome, t.trainable, t.rewards) == ("tokens", None, False, [0.0])
    assert t.info["generate_seconds"] > 0, "the action that came to nothing was waited for too"
    assert t.segments[0].action[-4:] == [0] * 4


@pytest.mark.parametrize(("room", "actions"), [(-5, 0), (0, 0), (1, 1), (2, 1), (3, 1)])
def test_out_of_context_is_said_whether_it_comes_before_or_inside_an_action(room, actions):
    opening = run(World(ECHO), player(says("7"))).segments[0].action.index(0)
    engine = says("7", max_context=opening + room)  # two tokens are an action
    t = run(World(ECHO), player(engine))
    consistent(t)
    assert (t.ending, t.outcome, len(t.rewards)) == ("context", None, actions)
    assert t.segments[0].action.count(0) == min(max(room, 0), 2)
    assert engine.open == set()


def test_a_machine_failure_in_step_is_no_reward_of_zero():
    world = World(ECHO, {"fault": "machine", "at": 2})
    env = world.acquire()
    world.release(env)
    t = run(world, player(says("7")))
    consistent(t)
    assert (t.ending, t.outcome, t.trainable, len(t.rewards)) == ("failed", None, False, 2)
    assert t.info["error"] == {"kind": "sandbox", "stage": "step", "retryable": False}
    assert env.unwrapped.closed and world._free == []


@pytest.mark.parametrize("id", [ECHO, SLOW])
def test_a_machine_failure_in_reset_says_what_failed(id):
    world = World(id, {"fault": "reset"})
    t = run(world, player(says("7")))
    consistent(t)
    assert (t.ending, t.segments, t.versions) == ("failed", [], [])
    assert t.info["error"] == {
        "kind": "sandbox",
        "stage": "reset",
        "retryable": True,
        "message": "MachineDown: the sandbox did not start",
    }
    world.close()


@pytest.mark.parametrize(
    ("fault", "message"), [("bug", "KeyError"), ("shape", "tuple of {role, content: text}")]
)
@pytest.mark.parametrize("id", [ECHO, SLOW])
def test_a_bug_of_the_world_is_recorded_with_its_traceback(id, fault, message):
    t = run(World(id, {"fault": fault}), player(says("7")))
    consistent(t)
    error = t.info["error"]
    assert t.ending == "failed" and t.rewards == [0.0]
    assert (error["kind"], error["stage"], error["retryable"]) == ("bug", "step", False)
    assert message in error["message"]
    assert ("worlds.py" in error["traceback"]) == (fault == "bug")


def test_a_deadline_while_the_policy_thinks_gives_the_environment_back():
    world, engine = World(SLOW), says("7", latency=30)
    t = run(world, player(engine), deadline=0.05)
    consistent(t)
    assert (t.ending, t.outcome, t.versions) == ("deadline", None, [])
    assert len(world._free) == 1 and world.lost == 0 and engine.open == set()


def test_an_environment_stuck_at_the_deadline_is_replaced_and_counted():
    world, engine = World(SLOW, {"fault": "stuck", "at": 2}, threads=1), says("7")
    env = world.acquire()
    world.release(env)
    worlds.GATE.clear()
    t = run(world, player(engine), deadline=0.2)
    consistent(t)
    assert (t.ending, t.outcome, len(t.rewards)) == ("deadline", None, 2)
    assert t.info["world_seconds"] > t.info["generate_seconds"]
    assert world.lost == 1 and world._free == [] and engine.open == set()
    worlds.GATE.set()
    assert run(world, player(engine)).ending == "terminated"  # one thread, and it is not the stuck one
    world.close()
    assert env.unwrapped.closed


def test_cancelling_closes_everything_and_stays_a_cancellation():
    world, engine = World(ECHO), says("7", latency=30)

    async def cancel():
        task = asyncio.create_task(play(world, player(engine), "train/7", seed=0, group="g", deadline=60))
        while not engine.open:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert engine.open == set() and len(world._free) == 1


@pytest.mark.parametrize("error", [RuntimeError("the engine broke"), TimeoutError("its connection")])
def test_what_breaks_outside_the_world_is_raised_after_closing(error):
    def broken(tokens, seed):
        raise error

    world, engine = World(ECHO), Script(broken)
    with pytest.raises(type(error), match=str(error)):
        run(world, player(engine))
    assert engine.open == set() and len(world._free) == 1


def test_quick_worlds_let_each_other_play_even_when_no_player_ever_waits():
    world = World(ECHO)

    async def both():
        gold = GoldPlayer(RENDERER, lambda task: ["7"] * 3)
        await gather(play(world, gold, "train/7", seed=0, group=n, deadline=9) for n in "ab")

    asyncio.run(both())
    assert len(world._free) == 2  # one after the other would have shared one environment


@given(
    fault=st.sampled_from(["", "machine", "reset", "bug", "shape"]),
    at=st.integers(1, 4),
    turns=st.integers(1, 4),
    max_turns=st.integers(1, 4),
    max_tokens=st.integers(1, 6),
    room=st.integers(100, 600),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_ending_leaves_a_consistent_trajectory(fault, at, turns, max_turns, max_tokens, room, seed):
    world = World(ECHO, {"fault": fault, "at": at, "turns": turns, "max_turns": max_turns})

    def babble(tokens, seed):
        draw = random.Random(seed)
        return [draw.randrange(3, 250) for _ in range(draw.randrange(8))] + list(RENDERER.stop)

    engine = Script(babble, max_context=room)
    t = run(world, player(engine, max_tokens=max_tokens), seed=seed)
    consistent(t)
    assert (t.outcome is not None) == t.trainable
    assert engine.open == set()


def test_a_group_shares_its_opening_and_nothing_else():
    engine, world = says("7"), World(ECHO)
    limit = asyncio.Semaphore(3)
    members = asyncio.run(
        play_group(world, player(engine), "train/7", group="g", size=8, seed=5, deadline=9, limit=limit)
    )
    assert len(members) == 8 and {t.group for t in members} == {"g"}
    assert [t.info["seed"] for t in members] == [derive_seed(5, i) for i in range(8)]
    assert len(set(engine.seeds)) == len(engine.seeds) == 24  # an own seed for every action
    assert 1 <= len(world._free) <= 3  # no more environments than plays in flight


def test_a_world_whose_opening_depends_on_the_seed_cannot_form_groups():
    world = World(ECHO, {"fault": "opening"})
    with pytest.raises(ValueError, match=r"train/7.*different openings"):
        asyncio.run(play_group(world, player(says("7")), "train/7", group="g", size=2, seed=0, deadline=9))


def test_one_broken_member_cancels_its_group():
    calls = []

    def breaks_once(tokens, seed):
        calls.append(seed)
        if len(calls) == 2:
            raise RuntimeError("the engine broke")
        return RENDERER.encode_action("7")

    world, engine = World(ECHO), Script(breaks_once)
    with pytest.raises(RuntimeError, match="broke"):
        asyncio.run(play_group(world, player(engine), "train/7", group="g", size=4, seed=0, deadline=9))
    assert engine.open == set() and len(world._free) == 3  # the fourth began when one had ended


def test_gold_becomes_a_trajectory_to_imitate():
    world = World(ECHO)
    t = run(world, GoldPlayer(RENDERER, world.gold))
    consistent(t)
    assert t.outcome == 1.0 and t.versions == [0, 0, 0]
    assert [
        RENDERER.text([x]) for x, a in zip(t.segments[0].tokens, t.segments[0].action, strict=True) if a == 2
    ] == ["7", ""]
    with pytest.raises(ValueError, match="after its 1 gold actions"):
        run(world, GoldPlayer(RENDERER, lambda task: ["7"]))


def test_seeds_are_stable_distinct_and_fit_63_bits():
    assert derive_seed(0, "a") == 8898938347678966206
    assert derive_seed(1, 11) != derive_seed(11, 1) and derive_seed("1") != derive_seed(1)
    assert all(0 <= derive_seed(i) < 2**63 for i in range(1000))


def test_a_stop_token_the_renderer_does_not_know_is_refused():
    with pytest.raises(ValueError, match="leave it empty"):
        player(says("7"), stop=(9999,))
    assert OutOfRoom("context").ending == "context"
