"""A config brought to life: model, worlds, engine and run folder, and the stages they go through.

    untrained --evaluate--> supervised --evaluate--> reinforced --evaluate--> report

Each stage continues from the newest whole checkpoint, so a run that was killed is simply started again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge_train import checkpoint, sft, tiny
from forge_train.config import Config, LossConfig, load
from forge_train.curriculum import Curriculum
from forge_train.engine import Sampling
from forge_train.engines.local import LocalEngine
from forge_train.evaluate import Evaluation, evaluate
from forge_train.learner import Learner
from forge_train.live import Live, Progress
from forge_train.log import RunFolder, read_lines, rollout_record, standing
from forge_train.renderer import renderer_for
from forge_train.report import write_report
from forge_train.results import told
from forge_train.rollout import TokenPlayer, derive_seed
from forge_train.trainer import Trainer
from forge_train.world import World

TOKENIZER_EPISODES = 512
"""Gold episodes whose text a tiny model's tokenizer is trained on."""


def train(config: Config) -> Path:
    """Run or continue all stages of `config`; returns the path of the report.

    Raises ValueError for what a user can mend: a config, a world, a folder, a checkpoint.
    """
    with RunFolder.create(config) as folder:
        return asyncio.run(Run(config, folder).all())


class Run:
    """One run, from its config and its folder."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        torch.set_num_threads(config.run.threads)
        self.config = config
        self.folder = folder
        self.worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in config.worlds}
        self.saved = checkpoint.latest(folder.checkpoints) or checkpoint.latest(folder.path / "sft")
        self.model, self.tokenizer = self._policy()
        self.renderer = renderer_for(self.tokenizer, config.model.renderer)
        self.model.to(config.model.device)
        self.engine = LocalEngine(self.model, max_context=config.rollout.max_context)

    async def all(self) -> Path:
        """Every stage that is still to do."""
        began = time.perf_counter()
        try:
            if self.saved is None:
                await self.evaluate("untrained", 0, 0.0)
            if checkpoint.latest(self.folder.checkpoints) is None:
                if self.config.sft.episodes:
                    self.supervise()
                    await self.engine.weights_changed(0)
                    await self.evaluate("after SFT", 0, time.perf_counter() - began)
                self.save(self.folder.checkpoints, 0, None)
            if self.config.run.steps:
                await self.reinforce()
        finally:
            await self.engine.close()
            for world in self.worlds.values():
                world.close()
        return write_report(self.folder.path)

    # -- stages --------------------------------------------------------------------------------

    def supervise(self) -> None:
        """Imitate gold episodes of the train split."""
        config = self.config
        own = {"lr": config.sft.lr, "warmup": config.sft.warmup, "schedule": "constant", "decay_steps": None}
        learner = Learner(
            self.model,
            config.optim.model_copy(update=own),
            device=config.model.device,
            dtype=config.model.dtype,
        )
        start = self._load(learner, self.folder.path / "sft")
        episodes = [sft.trajectory_of(m, self.renderer) for m in self._gold(config.sft.episodes)]
        batches = list(sft.batches(episodes, config.sft, seed=config.run.seed))
        objective = LossConfig(objective="nll")
        with Progress("supervised", total=len(batches) - start) as progress:
            for step, batch in enumerate(batches):
                if step < start:
                    continue
                stats = learner.update(batch, [[1.0] * len(t.versions) for t in batch], objective)
                self.folder.event("sft", step=0, batch=step, loss=stats["loss"], lr=stats["lr"])
                progress.advance(loss=stats["loss"])
                if self._due(step + 1):
                    self.save(self.folder.path / "sft", step + 1, learner)

    async def reinforce(self) -> None:
        """Play, learn, and play again with what was learned."""
        config = self.config
        learner = Learner(self.model, config.optim, device=config.model.device, dtype=config.model.dtype)
        start = self._load(learner, self.folder.checkpoints)
        self.folder.rewind(start)
        await self.engine.weights_changed(start)
        trainer = self.trainer(learner, start)
        began = time.perf_counter() - self._spent(start)
        try:
            with Live(config.run.steps, done=start, title=str(self.folder.path)) as live:
                for step in range(start, config.run.steps):
                    metrics, groups, credit = await trainer.step(step)
                    self.folder.rollouts(step, self._stored(groups, credit))
                    self.folder.metrics(step, metrics)
                    live.step(metrics)
                    done = step + 1
                    if self._due(done) or done == config.run.steps:
                        self.save(self.folder.checkpoints, done, learner)
                    every = config.run.eval_every
                    if every and done % every == 0 and done < config.run.steps:
                        await self.evaluate(f"step {done}", done, time.perf_counter() - began)
        finally:
            await trainer.close()
        if not self._judged("after RL", config.run.steps):
            await self.evaluate("after RL", config.run.steps, time.perf_counter() - began)

    async def evaluate(self, stage: str, step: int, seconds: float) -> dict[str, Evaluation]:
        """Judge the policy on held-out tasks of every world and write it down."""
        config = self.config.eval
        sampling = Sampling(temperature=config.temperature, max_tokens=self.config.rollout.max_action)
        results = {}
        for name, world in self.worlds.items():
            tasks = world.tasks(config.split, config.tasks)
            with Progress(f"{stage}: {name}", total=len(tasks) * config.repeats) as progress:
                results[name] = await evaluate(
                    world,
                    TokenPlayer(self.engine, self.renderer, sampling),
                    tasks,
                    repeats=config.repeats,
                    seed=derive_seed(self.config.run.seed, "eval"),
                    in_flight=self.config.rollout.in_flight,
                    deadline=self.config.rollout.deadline_s,
                    ks=config.k,
                    progress=lambda _, shown=progress: shown.advance(),  # type: ignore[misc]
                )
            self.folder.event("evaluation", stage=stage, step=step, seconds=seconds, **told(results[name]))
        return results

    def trainer(self, learner: Learner, start: int) -> Trainer:
        """The loop of `trainer.py` with what this run's config says."""
        rollout = self.config.rollout
        sampling = Sampling(temperature=rollout.temperature, max_tokens=rollout.max_action)
        return Trainer(
            worlds=self.worlds,
            player=TokenPlayer(self.engine, self.renderer, sampling),
            engine=self.engine,
            learner=learner,
            algorithm=self.config.algorithm,
            curriculum=Curriculum(
                {w.label: self.worlds[w.label].tasks(w.split, w.tasks) for w in self.config.worlds},
                {w.label: w.weight for w in self.config.worlds},
                seed=self.config.run.seed,
            ),
            seed=self.config.run.seed,
            temperature=rollout.temperature,
            group_size=rollout.group_size,
            groups=rollout.groups,
            deadline=rollout.deadline_s,
            limit=asyncio.Semaphore(rollout.in_flight),
            identity_tolerance=1e-3 if self.config.model.dtype == "float32" else 5e-2,
            max_bugs=self.config.run.max_bugs,
            dispatched=start * rollout.groups,
        )

    # -- what stages share ---------------------------------------------------------------------

    def save(self, folder: Path, step: int, learner: Learner | None) -> None:
        """A checkpoint of model, tokenizer and, where one is learning, of the learner."""
        state: dict[str, Any] = {"step": step}
        if learner is not None:
            state["learner"] = {k: v for k, v in learner.state_dict().items() if k != "model"}
        keep = self.config.run.keep_checkpoints
        checkpoint.save(folder, step, model=self.model, tokenizer=self.tokenizer, state=state, keep=keep)
        self.folder.event("checkpoint", step=step if folder == self.folder.checkpoints else 0)

    def _load(self, learner: Learner, folder: Path) -> int:
        """Continue `learner` from the newest checkpoint of a stage; returns the step to go on with."""
        saved = checkpoint.latest(folder)
        if saved is None:
            return 0
        state = saved.state()
        if "learner" in state:
            learner.load_state_dict({**state["learner"], "model": self.model.state_dict()})
        return saved.step

    def _policy(self) -> tuple[Any, Any]:
        """Model and tokenizer: the checkpoint's, the one at `model.path`, or a tiny one from nothing."""
        config = self.config.model
        if self.saved is not None:
            return checkpoint.load_model(self.saved.path)
        if config.path:
            model = AutoModelForCausalLM.from_pretrained(config.path, dtype=torch.float32)
            return model, AutoTokenizer.from_pretrained(config.path)
        tokenizer = tiny.train_tokenizer(tiny.texts_of(self._gold(TOKENIZER_EPISODES)), config.tiny.vocab)
        seed = derive_seed(self.config.run.seed, "model")
        return tiny.tiny_model(tokenizer, config.tiny, seed=seed), tokenizer

    def _gold(self, count: int) -> list[sft.Messages]:
        """`count` gold episodes of the train splits, spread evenly over the worlds."""
        share, more = divmod(count, len(self.config.worlds))
        return [
            messages
            for i, world in enumerate(self.config.worlds)
            for messages in sft.gold_episodes(
                self.worlds[world.label], self.worlds[world.label].tasks(world.split, share + (i < more))
            )
        ]

    def _stored(self, groups: list[Any], credit: list[Any]) -> list[dict[str, Any]]:
        """The episodes a step keeps for the report: those of its first groups."""
        decode: Callable[[list[int]], str] = self.tokenizer.decode
        keep = self.config.run.keep_groups
        return [
            rollout_record(trajectory, advantages, decode)
            for group, rows in zip(groups[:keep], credit[:keep], strict=True)
            for trajectory, advantages in zip(group, rows, strict=True)
        ]

    def _due(self, done: int) -> bool:
        every = self.config.run.checkpoint_every
        return bool(every) and done % every == 0

    def _events(self) -> list[dict[str, Any]]:
        return standing(read_lines(self.folder.path / "events.jsonl"))

    def _judged(self, stage: str, step: int) -> bool:
        return any((e.get("stage"), e.get("step")) == (stage, step) for e in self._events())

    def _spent(self, start: int) -> float:
        """Seconds that the steps before `start` took, so that a resumed run's clock goes on."""
        lines = read_lines(self.folder.path / "metrics.jsonl")
        return math.fsum(line["seconds"]["total"] for line in lines if line["step"] < start)


async def evaluate_model(
    path: Path,
    *,
    world: str | None,
    world_args: dict[str, Any],
    split: str,
    tasks: int,
    repeats: int,
    temperature: float,
    seed: int,
    max_context: int,
    max_action: int,
    device: str,
) -> Evaluation:
    """Judge a model folder, a checkpoint or a run's newest checkpoint on a world's tasks.

    Without `world` it is the first one of the run that `path` belongs to. Raises ValueError.
    """
    model, tokenizer = checkpoint.load_model(path)
    args = dict(world_args)
    if world is None:
        trained = next((p for p in (path, *path.resolve().parents) if (p / "config.toml").is_file()), None)
        if trained is None:
            raise ValueError(f"{path} belongs to no run: name its world with --world module:Name-v0")
        first = load(trained / "config.toml").worlds[0]
        world, args = first.id, {**first.args, **world_args}
    place = World(world, args)
    engine = LocalEngine(model.to(device), max_context=max_context)
    player = TokenPlayer(
        engine, renderer_for(tokenizer), Sampling(temperature=temperature, max_tokens=max_action)
    )
    ids = place.tasks(split, tasks)
    try:
        with Progress(f"{place.name} {split}", total=len(ids) * repeats) as progress:
            return await evaluate(
                place,
                player,
                ids,
                repeats=repeats,
                seed=seed,
                in_flight=256,
                deadline=600.0,
                progress=lambda _: progress.advance(),
            )
    finally:
        await engine.close()
        place.close()
