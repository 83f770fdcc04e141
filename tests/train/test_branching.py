"""Episodes that begin inside of others: the same tokens and the same world up to there, and only there."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import random
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from forge_train.config import AlgorithmConfig, BranchingConfig, ConfigError, load
from forge_train.engine import Sampling
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.batch import samples, unique_tokens
from forge_train.play.branching import Forking, play_branched, refuse_unbranched
from forge_train.play.episode import TokenPlayer
from forge_train.play.gold_player import GoldPlayer
from forge_train.play.moments import NotExact
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.checkpoint import latest
from forge_train.record.step_metrics import branches, summary
from forge_train.run import train
from forge_train.seeds import derive_seed
from forge_train.trajectory import WORLD, Trajectory, branch_of
from tests.train.test_branch_credit import GO, LONGEST, TRUTH, slope
from tests.train.test_episode import consistent
from tests.train.tokens import Script, tokenizer
from tests.train.worlds import Language

TOKENIZER = tokenizer()
RENDERER = ChatML(TOKENIZER)


class Stairs(Language):
    """Say "go" to stay for another turn, of at most `longest`; each turn earns 1, and shows a number."""

    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012

    def __init__(self, longest: int = LONGEST) -> None:
        self.longest = longest

    def task_ids(self, split: str, n: int) -> list[str]:
        return [f"{split}/{i}" for i in range(n)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.state: dict[str, Any] = {"turn": 0}
        return ({"role": "user", "content": "Go on?"},), {}

    def step(self, action: str) -> Any:
        self.state["turn"] += 1
        done = action != "go" or self.state["turn"] == self.longest
        info = {"outcome": 1.0} if done else {}
        shown = {"role": "user", "content": f"{self.number()}."}
        return (shown,), 1.0, done, False, info

    def number(self) -> int:
        return int(self.np_random.integers(1000))

    def snapshot(self) -> bytes:
        return pickle.dumps((self.state, self.np_random.bit_generator.state))

    def restore(self, snapshot: bytes) -> None:
        self.state, self.np_random.bit_generator.state = pickle.loads(snapshot)


class Forgetful(Stairs):
    """The same, and nobody can take it back."""

    snapshot = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        if name in ("snapshot", "restore"):
            raise AttributeError(name)
        return super().__getattribute__(name)


class Moody(Forgetful):
    """What it shows depends on nothing that could be repeated."""

    moods = random.Random()

    def number(self) -> int:
        return self.moods.randrange(10**9)


class Locked(Stairs):
    """It holds what does not pickle."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        opening = super().reset(seed=seed, options=options)
        self.state["lock"] = threading.Lock()
        return opening


class Boxed(Stairs):
    """It says itself that not all of it comes back."""

    metadata = {**Stairs.metadata, "snapshot_leaves_out": "its processes"}  # noqa: RUF012


for _class in (Stairs, Forgetful, Moody, Locked, Boxed):
    if f"Test/{_class.__name__}-v0" not in gym.registry:
        gym.register(f"Test/{_class.__name__}-v0", entry_point=_class)


def turn_of(tokens: list[int]) -> int:
    """Which turn an engine is asked for."""
    return TOKENIZER.decode(tokens).count("<|im_start|>assistant") - 1


def id_of(world: type) -> str:
    return f"tests.train.test_branching:Test/{world.__name__}-v0"


def policy(tokens: list[int], seed: int) -> list[int]:
    """Goes on with probability GO."""
    return RENDERER.encode_action("go" if random.Random(seed).random() < GO else "no")


def always(tokens: list[int], seed: int) -> list[int]:
    return RENDERER.encode_action("go")


def played(
    world: World,
    say: Any = policy,
    *,
    advantage: str = "branch",
    size: int = 2,
    seed: int = 0,
    engine: Script | None = None,
    **keys: Any,
) -> list[Trajectory]:
    player = TokenPlayer(engine or Script(say), RENDERER, Sampling(max_tokens=8))
    forking = Forking(advantage, BranchingConfig(**keys))
    group = asyncio.run(
        play_branched(
            world, player, "train/1", forking=forking, group="g", size=size, seed=seed, deadline=20.0
        )
    )
    for t in group:
        consistent(t)
    return group


def began(group: list[Trajectory]) -> list[tuple[int, int]]:
    """Origin and turn of each branch."""
    places = [branch_of(t, i) for i, t in enumerate(group)]
    return [(place.of, place.turn) for place in places if not place.root]


def test_a_branch_holds_what_its_origin_heard_and_said_as_heard():
    engine = Script(always)
    group = played(World(id_of(Stairs)), size=2, continuations=2, engine=engine)
    assert began(group) == [(of, turn) for of in (0, 1) for turn in (1, 2, 3) for _ in range(2)]
    for i, t in enumerate(group[2:], 2):
        place = branch_of(t, i)
        (mine,), (origin,) = t.segments, group[place.of].segments
        first = mine.action.index(0)
        assert origin.action.index(place.turn) == first
        assert mine.tokens[:first] == origin.tokens[:first]
        assert set(mine.action[:first]) == {WORLD} and not any(mine.logprobs[:first])
        assert t.rewards == [1.0] * (LONGEST - place.turn) and place.earned == place.turn
        assert (
            t.info["messages"][: t.info["opening"]] == group[place.of].info["messages"][: t.info["opening"]]
        )
    assert len(engine.seeds) == sum(len(t.rewards) for t in group)  # nobody says again what was said
    assert len(set(engine.seeds)) == len(engine.seeds) and not engine.open


def test_the_world_goes_on_from_where_it_was():
    """Chance included: who does the same is shown the same."""
    group = played(World(id_of(Stairs)), always, size=2, continuations=1)
    for i, t in enumerate(group[2:], 2):
        assert t.info["messages"] == group[branch_of(t, i).of].info["messages"]
    assert group[0].info["messages"] != group[1].info["messages"]


def test_every_action_of_a_group_is_trained_once_and_what_is_shared_is_forwarded_once():
    group = played(World(id_of(Stairs)), always, size=2, continuations=3)
    rows = ESTIMATORS["branch"](group, AlgorithmConfig(advantage="branch"))
    found = samples(group, rows)
    trained = [(*s.tokens[: int(n) + 1].tolist(),) for s in found for n in s.at_N]
    assert len(trained) == sum(t.sampled for t in group)
    whole = sum(len(t.segments[0].tokens) for t in group)
    assert unique_tokens(found) < 0.5 * whole


def test_a_policy_that_plays_it_has_the_gradient_of_the_page():
    """Everything together: hundreds of groups, their branches restored, compared and added up."""
    world = World(id_of(Stairs))
    config = AlgorithmConfig(advantage="branch", turn_gamma=1.0)
    found = []
    for seed in range(600):
        group = played(world, seed=seed, continuations=1)
        rows = ESTIMATORS["branch"](group, config)
        total = 0.0
        for t, row in zip(group[:2], rows, strict=False):
            said = [m["content"] == "go" for m in t.info["messages"] if m["role"] == "assistant"]
            total += sum(a * slope(went) for a, went in zip(row, said, strict=True)) / 2
        found.append(total)
    mean = sum(found) / len(found)
    error = math.sqrt(sum((f - mean) ** 2 for f in found)) / len(found)
    assert error < 0.05 and abs(mean - TRUTH) < 4 * error


# -- which turns ---------------------------------------------------------------------------------------


def test_turns_are_chosen_as_the_config_says():
    world = World(id_of(Stairs))
    assert began(played(world, always, at="random", chance=1.0, continuations=1)) == [
        (of, turn) for of in (0, 1) for turn in (1, 2, 3)
    ]
    assert began(played(world, always, at="random", chance=0.0)) == []
    bounded = played(world, always, continuations=2, episodes=5)
    assert len(began(bounded)) == 4 and not any(branch_of(t, 0).peer for t in bounded)
    assert len(began(played(world, always, continuations=1, tokens=5))) in (1, 2)  # 2 tokens an action
    assert all(branch_of(t, i).peer for i, t in enumerate(played(world, always)) if i > 1)


class Wavering(Script):
    """Least sure of its third action."""

    async def complete(self, tokens, sampling, *, conversation, seed):
        said = await super().complete(tokens, sampling, conversation=conversation, seed=seed)
        logprobs = [-3.0 if turn_of(tokens) == 2 else -0.1] * len(said.tokens)
        return type(said)(said.tokens, logprobs, said.finish, said.version)


def test_entropy_chooses_the_turns_at_which_the_policy_was_least_sure():
    world = World(id_of(Stairs))
    group = played(world, engine=Wavering(always), at="entropy", points=1, continuations=2)
    assert began(group) == [(0, 2), (0, 2), (1, 2), (1, 2)]


def test_the_best_of_a_group_branch_where_it_earned_unequally():
    """Two turns against four; with the same ways to play for all there is no best."""
    world = World(id_of(Stairs))
    seed = next(s for s in range(50) if len({sum(t.rewards) for t in played(world, seed=s)[:2]}) == 2)
    group = played(world, seed=seed, at="best", continuations=1)
    best = max((0, 1), key=lambda i: sum(group[i].rewards))
    assert began(group) == [(best, turn) for turn in range(1, len(group[best].rewards))]
    assert not any(branch_of(t, i).peer for i, t in enumerate(group))
    assert began(played(world, always, at="best")) == []


def test_arpo_fills_its_group_with_branches_where_entropy_rose_or_from_the_beginning():
    world, keys = World(id_of(Stairs)), {"advantage": "arpo", "continuations": 1, "episodes": 4}
    risen = played(world, engine=Wavering(always), chance=0.0, rise=10.0, rise_unit=1.0, **keys)
    assert began(risen) == [(0, 2), (1, 2)] and len(risen) == 2 + 4  # two more began anew
    assert [branch_of(t, i).tree for i, t in enumerate(risen)] == [0, 1, 0, 1, 4, 5]
    assert len({t.info["seed"] for t in risen}) == 6
    full = played(world, always, chance=1.0, **keys)
    assert began(full) == [(0, 1), (1, 1), (0, 2), (1, 2)]


def test_tree_grpo_grows_its_trees_in_rounds():
    world, grown = World(id_of(Stairs)), 0
    for seed in range(4):
        group = played(world, always, advantage="tree_grpo", size=3, points=2, rounds=2, seed=seed)
        assert len(group) == 3 * (2 * 2 + 1)
        places = [branch_of(t, i) for i, t in enumerate(group)]
        assert [p.tree for p in places] == [0, 1, 2, *[t for t in (0, 1, 2) for _ in range(2)] * 2]
        grown += sum(not p.root and not places[p.of].root for p in places)
        assert len({t.info["seed"] for t in group}) == len(group)
        for place, t in zip(places, group, strict=True):
            assert place.earned + sum(t.rewards) == LONGEST
    assert grown  # some in the second round on what the first one grew


def test_a_group_is_the_same_whenever_it_is_played():
    world = World(id_of(Stairs))
    one, other = (played(world, at="random", seed=3, continuations=2) for _ in range(2))
    for t in (*one, *other):
        for name in ("seconds", "generate_seconds", "world_seconds"):
            t.info.pop(name)
    assert one == other


# -- worlds that cannot be snapshot ----------------------------------------------------------------------


def test_a_world_is_played_again_where_that_is_exact():
    group = played(World(id_of(Forgetful)), always, continuations=1, replay=True)
    for i, t in enumerate(group[2:], 2):
        assert t.info["messages"] == group[branch_of(t, i).of].info["messages"]
    assert group[0].info["messages"] != group[1].info["messages"]


def test_a_world_that_says_something_else_the_second_time_ends_the_run():
    with pytest.raises(NotExact, match=r"it said .* where it had said .*; set branching.replay = false"):
        played(World(id_of(Moody)), always, replay=True)


def run_of(world: type, **keys: str) -> tuple[Any, dict[str, World]]:
    config = load(None, [f'worlds=[{{id = "{id_of(world)}", name = "w"}}]', "algorithm.advantage=branch",
                         *(f"branching.{k}={v}" for k, v in keys.items())])  # fmt: skip
    return config, {"w": World(id_of(world))}


def test_worlds_that_cannot_be_taken_back_are_refused_with_the_reason():
    refuse_unbranched(*run_of(Stairs))
    with pytest.raises(
        ValueError, match=r"it has no snapshot\(\) and restore\(bytes\)\). Set branching.repl"
    ):
        refuse_unbranched(*run_of(Forgetful))
    refuse_unbranched(*run_of(Forgetful, replay="true"))
    with pytest.raises(ValueError, match="TypeError: cannot pickle"):
        refuse_unbranched(*run_of(Locked))
    with pytest.raises(ValueError, match="its snapshot leaves out its processes"):
        refuse_unbranched(*run_of(Boxed))


def test_a_player_that_cannot_go_back_is_refused():
    player = GoldPlayer(RENDERER, lambda task: ["go"])
    forking = Forking("branch", BranchingConfig())
    with pytest.raises(ValueError, match="GoldPlayer cannot be taken back to an earlier turn"):
        asyncio.run(
            play_branched(
                World(id_of(Stairs)), player, "t/1", forking=forking, group="g", size=1, seed=0, deadline=9.0
            )
        )


@pytest.mark.parametrize(
    ("keys", "fix"),
    [
        (
            ["algorithm.branch_form=values", "branching.at=entropy"],
            'use branch_form = "siblings", or at = "ev',
        ),
        (["algorithm.branch_form=values", "branching.at=best"], "turns would be chosen by what followed"),
        (["algorithm.branch_form=values", "branching.episodes=3"], "with branching.episodes = 3"),
        (["algorithm.advantage=arpo"], "branching.episodes = 0 .* set it, e.g. to group_size"),
        (["agent.command=['x']"], "agent program cannot be taken back"),
        (
            ["algorithm.advantage=rloo", "branching.replay=true"],
            "use one of arpo, branch, tree_grpo, or leave",
        ),
        (["branching.chance=0.3"], 'branching.chance = 0.3: .* with branching.at = "every" does not read it'),
        (["algorithm.shared_prefix=mean"], 'use "arpo" or "tree_grpo", or leave it out'),
        (
            ["algorithm.advantage=arpo", "branching.episodes=8", "algorithm.branch_train=first"],
            'use "branch"',
        ),
    ],
)
def test_settings_that_would_mislead_are_refused(keys, fix):
    with pytest.raises(ConfigError, match=fix.replace("(", "\\(").replace("[", "\\[")):
        load(None, ['worlds=[{id = "a:b-v0"}]', "algorithm.advantage=branch", *keys])


# -- a run ---------------------------------------------------------------------------------------------

SETTINGS = [
    "run.threads=1", "run.checkpoint_every=1",
    "model.tiny.hidden=16", "model.tiny.layers=1", "model.tiny.heads=2", "model.tiny.kv_heads=1",
    "model.tiny.vocab=300", "sft.episodes=0", "eval.tasks=2", "eval.repeats=1", "eval.k=[1]",
    "rollout.groups=2", "rollout.group_size=2", "rollout.max_action=200", "rollout.max_context=500",
    "algorithm.advantage=branch", "algorithm.masked=[]", "optim.lr=0.01",
]  # fmt: skip


class Chatter(Stairs):
    """A turn earns what was said in it, whatever that is; a policy that knows nothing plays all of them."""

    def step(self, action: str) -> Any:
        messages, _, _, _, _ = super().step("go")
        done = self.state["turn"] == self.longest
        return messages, float(len(action) % 2), done, False, {"outcome": 1.0} if done else {}


if "Test/Chatter-v0" not in gym.registry:
    gym.register("Test/Chatter-v0", entry_point=Chatter)


class Dallying(Chatter):
    """It answers when it likes."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def step(self, action: str) -> Any:
        time.sleep(Moody.moods.choice((0, 0, 0.001, 0.01)))
        return super().step(action)


if "Test/Dallying-v0" not in gym.registry:
    gym.register("Test/Dallying-v0", entry_point=Dallying)


@pytest.mark.parametrize(
    ("world", "more", "again"),
    [
        (Dallying, ["branching.continuations=2", "rollout.deterministic=true", "rollout.max_lag=1"], [2]),
        (Chatter, ["algorithm.advantage=tree_grpo", "branching.rounds=2"], [1, 2]),
    ],
    ids=["in waves", "in rounds, and cut short"],
)
def test_a_run_that_branches_ends_in_the_same_weights_every_time(
    tmp_path: Path, world: type, more: list[str], again: list[int]
):
    ends = []
    for i, steps in enumerate(([2], again)):
        for n in steps:
            own = [f'worlds=[{{id = "{id_of(world)}", tasks = 8}}]', f"run.out={tmp_path / str(i)}"]
            train(load(None, [*SETTINGS, *own, *more, f"run.steps={n}"]))
        saved = latest(tmp_path / str(i) / "checkpoints")
        assert saved is not None and saved.step == 2
        ends.append((saved.path / "model.safetensors").read_bytes())
    assert ends[0] == ends[1]
    lines = [json.loads(line) for line in (tmp_path / "0" / "metrics.jsonl").open()]
    assert any("branching" in line for line in lines)
    for line in lines:
        assert line["episodes"] == 4
        cost = line.get("branching", {"episodes": 1, "sampled_tokens": 1, "signal": 1, "advantage": 1})
        assert cost["episodes"] > 0 < cost["sampled_tokens"] < line["sampled_tokens"]
        assert 0 < cost["signal"] <= 1 and cost["advantage"] > 0


def test_what_branches_cost_is_told_and_success_is_that_of_whole_episodes():
    group = played(World(id_of(Stairs)), always, continuations=2)
    for t in group[2:]:
        t.outcome = 0.0
    told = summary([group])
    assert told["success"] == 1.0 and told["episodes"] == 2 and told["turns"] == LONGEST
    assert told["sampled_tokens"] == sum(t.sampled for t in group)
    rows = [[1.0] * len(t.rewards) for t in group]
    rows[0] = [0.0] * LONGEST
    found = branches([group], [rows])["branching"]
    assert found["episodes"] == 12 and found["sampled_tokens"] == sum(t.sampled for t in group[2:])
    assert found["signal"] == found["advantage"] == pytest.approx(1 - LONGEST / sum(map(len, rows)))
    assert branches([group[:2]], [rows[:2]]) == {}


def test_retail_is_taken_back_to_every_turn():
    world = World("forge_envs:Forge/Retail-v0", {"size": "tiny", "level": 1, "prompt": "compact"})
    (task,) = world.tasks("train", 1)
    gold = world.gold(task)

    def say(tokens: list[int], seed: int) -> list[int]:
        return RENDERER.encode_action(gold[turn_of(tokens)])

    player = TokenPlayer(Script(say, max_context=20_000), RENDERER, Sampling(max_tokens=400))
    forking = Forking("branch", BranchingConfig(continuations=1))
    group = asyncio.run(
        play_branched(
            world, player, task, forking=forking, group="g", size=2, seed=derive_seed(1), deadline=20.0
        )
    )
    assert len(group) == 2 + 2 * (len(gold) - 1)
    assert all(t.outcome == 1.0 for t in group)
