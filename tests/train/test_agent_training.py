"""Two optimizer steps on what an agent program did: the tokens sampled, and the numbers of our own player."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("openai")

from forge_train.agents.build import Agents
from forge_train.config import AgentConfig
from forge_train.engine import Sampling
from forge_train.engines.scripted import ScriptedEngine
from forge_train.play.episode import TokenPlayer, play
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.run import Run, train
from forge_train.show import transcript
from forge_train.trajectory import WORLD
from tests.train.test_run import small, steps
from tests.train.tokens import tokenizer

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "black_box_agent.py"
SAME = [
    "run.steps=2",
    'worlds.0.args={size = "tiny", level = 1, prompt = "compact", max_turns = 8, turn_weight = 1.0}',
    "sft.episodes=160",
    "sft.batch=4",
    "sft.lr=1e-2",
    "sft.warmup=5",
    "rollout.max_action=64",
    "rollout.group_size=4",
    "eval.tasks=1",
]
"""After so little supervised training some members of a group run out of tokens and some do not."""


class Recorder:
    """An engine that remembers what it sampled, and lets everything else through."""

    def __init__(self, engine):
        self.engine, self.sampled = engine, []

    def __getattr__(self, name):
        return getattr(self.engine, name)

    async def complete(self, tokens, sampling, **how):
        said = await self.engine.complete(tokens, sampling, **how)
        self.sampled.append((*said.tokens, *said.logprobs))
        return said


def test_the_example_of_the_page_plays_as_our_own_player(tmp_path):
    world = World("forge_envs:Forge/Retail-v0", {"size": "tiny"})
    (task,) = world.tasks("train", 1)
    renderer = ChatML(tokenizer())
    gold = [renderer.encode_action(action) for action in world.gold(task)]
    engine = ScriptedEngine(gold, max_context=16_384, logprob=-0.5)
    agents = Agents(AgentConfig(command=(sys.executable, str(EXAMPLE))))

    async def both():
        await agents.start()
        try:
            players = [
                make(engine, renderer, Sampling(max_tokens=2_048)) for make in (TokenPlayer, agents.player)
            ]
            return [await play(world, p, task, seed=1, group="g", deadline=120.0) for p in players]
        finally:
            await agents.close()

    own, box = asyncio.run(both())
    assert box.outcome == 1.0 and len(box.versions) == len(gold), box.info
    assert (box.segments, box.rewards, box.ending) == (own.segments, own.rewards, own.ending)
    assert [line["turn"] for line in transcript.lines(box.as_dict()) if line["own"]] == [
        *range(1, len(gold) + 1)
    ]


def trained(folder):
    """Tokens and logprobs of every action in the stored episodes of a run."""
    rows = []
    for path in sorted((folder / "rollouts").iterdir()):
        for record in read_lines(path):
            for segment in record["segments"]:
                actions = {}
                for token, logprob, action in zip(
                    segment["tokens"], segment["logprobs"], segment["action"], strict=True
                ):
                    if action != WORLD:
                        actions.setdefault(action, []).append((token, logprob))
                rows += [(*[t for t, _ in a], *[p for _, p in a]) for a in actions.values()]
    return rows


def test_two_steps_by_a_program_are_those_of_our_own_player(tmp_path):
    train(small(tmp_path / "own", *SAME))
    own = steps(tmp_path / "own")
    config = small(
        tmp_path / "box", *SAME, 'agent.function="tests.train.agent_programs:plain"', "run.keep_groups=9"
    )
    with RunFolder.create(config) as folder:
        run = Run(config, folder)
        recorder = run.engine = Recorder(run.engine)
        asyncio.run(run.all())
    for mine, theirs in zip(own, steps(tmp_path / "box"), strict=True):
        assert theirs["optimizer_steps"] == 1 and theirs["trained"] > 0 and theirs["grad_norm"] > 0
        for name in ("return", "loss", "grad_norm", "trained", "sampled_tokens", "endings", "turns"):
            assert theirs[name] == pytest.approx(mine[name], rel=1e-4), name
        assert theirs["logprob_gap_max"] < 1e-4
    rows = trained(tmp_path / "box")
    assert rows and set(rows) <= set(recorder.sampled)
    info = read_lines(next((tmp_path / "box" / "rollouts").iterdir()))[0]["info"]
    assert json.dumps(info["agent"]) and any(m.get("sampled") for m in info["conversation"])
