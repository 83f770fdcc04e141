"""mini-swe-agent, as it comes from PyPI, trained on Forge/SWE-v0: its tokens are ours, its patches judged.

Skipped where it is not installed; FORGE_MINI may name its `mini` in an environment of its own.
"""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

from forge_train.config import load
from forge_train.engine import Completion
from forge_train.engines.scripted import ScriptedEngine
from forge_train.play.chat_messages import call_block
from forge_train.play.episode import TokenPlayer, play
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.run import Run
from forge_train.trajectory import WORLD
from tests.docker.conftest import mine

MINI = os.environ.get("FORGE_MINI") or shutil.which("mini", path=os.path.dirname(sys.executable))
pytestmark = pytest.mark.skipif(MINI is None, reason="mini-swe-agent is not installed")
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "mini_swe_agent"

SMALL = [
    "run.threads=1",
    "model.tiny.hidden=32",
    "model.tiny.layers=1",
    "model.tiny.vocab=512",
    "worlds.0.tasks=1",
    "rollout.group_size=2",
    "rollout.max_action=2048",
    "eval.tasks=1",
    "eval.repeats=1",
    "eval.k=[1]",
    "run.keep_groups=9",
    f'agent.env.PYTHONPATH="{EXAMPLE}"',
    f'agent.command.0="{MINI}"',
]


def config(folder, *more):
    return load(EXAMPLE / "train.toml", [*SMALL, f'run.out="{folder}"', *more])


class Told:
    """An engine that says what it is told, every token with the logprob that the model gives it.

    In each task every second conversation solves it, the others hand in nothing but a file.
    """

    def __init__(self, run, say):
        self.engine, self.run, self.say = run.engine, run, say
        self.turns, self.solves, self.sampled = {}, {}, []

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def forget(self, conversation):
        self.turns.pop(conversation, None)
        self.engine.forget(conversation)

    async def complete(self, tokens, sampling, *, conversation, seed):
        turn = self.turns.get(conversation, 0)
        self.turns[conversation] = turn + 1
        solves = self.solves.setdefault(conversation, len(self.solves) % 2 == 0)
        said = self.run.renderer.encode_action(self.say(solves, turn))
        with torch.inference_mode():
            logits = self.run.model(torch.tensor([[*tokens, *said]])).logits[0, len(tokens) - 1 : -1]
        logprobs = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0].tolist()
        self.sampled.append((said, logprobs))
        return Completion(said, logprobs, "stop", self.engine.version)


def actions(segment):
    rows = {}
    for token, logprob, action in zip(segment["tokens"], segment["logprobs"], segment["action"], strict=True):
        if action != WORLD:
            rows.setdefault(action, ([], []))
            rows[action][0].append(token)
            rows[action][1].append(logprob)
    return list(rows.values())


def test_two_optimizer_steps_with_its_own_prompts_and_tools(tmp_path, swe_image, docker, engine):
    """mini.yaml as it comes: native tool calls of its one tool, bash."""
    with RunFolder.create(config(tmp_path / "run")) as folder:
        run = Run(config(tmp_path / "run"), folder)
        (world,) = run.worlds.values()
        (task,) = world.tasks("train", 1)
        apply = re.search(r"```bash\n(.*)\n```", world.gold(task)[0], re.DOTALL)[1]

        def say(solves, turn):
            commands = [
                "ls",
                apply if solves else "touch notes.py",
                "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",
            ]
            return f"Step {turn}.\n{call_block('bash', {'command': commands[turn]})}"

        told = run.engine = Told(run, say)
        asyncio.run(run.all())
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    print(
        [
            {k: line[k] for k in ("endings", "return", "loss", "grad_norm", "logprob_gap_max")}
            for line in lines
        ]
    )
    records = [r for path in sorted((tmp_path / "run" / "rollouts").iterdir()) for r in read_lines(path)]
    for line in lines:
        assert line["optimizer_steps"] == 1 and line["endings"] == {"terminated": 2} and line["return"] == 0.5
        assert line["grad_norm"] > 0 and line["logprob_gap_max"] < 1e-4
    assert [line["step"] for line in lines] == [0, 1] and len(records) == 4
    for record in records:
        (segment,) = record["segments"]
        rows = actions(segment)
        assert len(rows) == 3 and all(row in told.sampled for row in rows), "trained is what was sampled"
        assert record["info"]["agent"]["requests"] == 3
    docker.close()
    assert not mine(engine), "containers are left"


@pytest.mark.parametrize("solves", [True, False])
def test_in_our_words_its_episode_is_that_of_our_own_player(tmp_path, swe_image, docker, solves):
    """ours.yaml: the same task, the same words of the policy, the same trajectory, token for token."""
    told = ["-c", "mini.yaml", "-c", str(EXAMPLE / "ours.yaml")]
    base = config(tmp_path / "run")
    words = [*base.agent.command, *told]
    with RunFolder.create(base) as folder:
        run = Run(config(tmp_path / "run", f"agent.command={words!r}"), folder)
    (world,) = run.worlds.values()
    (task,) = world.tasks("train", 1)
    apply, submit = world.gold(task)
    look, note = ("THOUGHT: I look.\n\n```bash\nls; false\n```", "```bash\necho > notes.py\n```")
    script = [look, apply if solves else note, submit]
    says = ScriptedEngine(map(run.renderer.encode_action, script), logprob=-0.5, max_context=16384)
    sampling = TokenPlayer(says, run.renderer, run.here().player.sampling).sampling

    async def both():
        await run.agents.start()
        try:
            how = {"seed": 5, "group": "g", "deadline": 300.0}
            ours = await play(world, TokenPlayer(says, run.renderer, sampling), task, **how)
            return ours, await play(world, run.agents.player(says, run.renderer, sampling), task, **how)
        finally:
            await run.agents.close()
            world.close()

    own, box = asyncio.run(both())
    assert box.ending == "terminated" and box.outcome == float(solves), box.info
    assert box.segments == own.segments and len(box.segments) == 1
    for name in ("rewards", "turn_rewards", "outcome", "ending", "versions", "spans", "group"):
        assert getattr(box, name) == getattr(own, name), name
    assert box.info["messages"][-2:] == own.info["messages"][-2:] and box.info["parts"] == own.info["parts"]
