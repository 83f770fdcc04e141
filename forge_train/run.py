"""A config brought to life: model, worlds, engine and run folder, and the stages they go through.

    untrained --evaluate--> supervised --evaluate--> reinforced --evaluate--> report

Each stage continues from the newest whole checkpoint, so a run that was killed is simply started again.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import torch

from forge_train import interrupt
from forge_train.agents.build import Agents
from forge_train.config import CRITIC_ESTIMATORS, Config, OptimConfig, asks_reference
from forge_train.engine import Engine, Sampling
from forge_train.engines.devices import with_devices
from forge_train.engines.gpu_shares import local_ranks, visible_gpus
from forge_train.engines.local import LocalEngine
from forge_train.engines.placement import placement_of
from forge_train.evaluation.warming import warm, warmings
from forge_train.judging import judge
from forge_train.learn.critic import Critic
from forge_train.learn.distributed import Processes, join
from forge_train.learn.learner import Learner
from forge_train.learn.lockstep import dismiss, follow, lead
from forge_train.learn.mixture import mixture_of
from forge_train.learn.passes import passes_of
from forge_train.play.admission import admission_of
from forge_train.play.branching import forking_of, refuse_unbranched
from forge_train.play.curriculum import curriculum_of
from forge_train.play.episode import Player, TokenPlayer
from forge_train.play.local_runner import LocalRunner
from forge_train.play.ray_runner import hired
from forge_train.play.room import refuse_cramped_run, with_room
from forge_train.play.run_tasks import check_tasks, held_out
from forge_train.play.tally import Tally
from forge_train.play.waves import Waves
from forge_train.play.world_pool import World
from forge_train.policy import (
    Current,
    imitated,
    make_engine,
    make_policy,
    make_renderer,
    plain_model,
)
from forge_train.record import best, checkpoint
from forge_train.record.disown import disowned_on_error
from forge_train.record.evaluation_result import Evaluation
from forge_train.record.idle import why_idle
from forge_train.record.journal import Journal
from forge_train.record.profile import profiled
from forge_train.record.run_folder import RunFolder, group_records, read_lines
from forge_train.record.trackers.follow import followed
from forge_train.reference_keeper import ReferenceKeeper
from forge_train.rubric.build import close_judge, with_rubric
from forge_train.saving import Parts, load, save
from forge_train.show.live import Live
from forge_train.show.report import write_report
from forge_train.show.results import evaluations, seconds_before
from forge_train.show.watched import watched
from forge_train.supervision import UNDER_WAY, grounding_of, leave, library_of, supervise
from forge_train.trainer import Runner, Trainer


def train(config: Config) -> Path | None:
    """Run or continue all stages of `config`; returns the path of the report.

    Under torchrun rank 0 does; the others help it to learn and return None. Raises ValueError for what a user
    can mend: a config, a world, a folder, a checkpoint.
    """
    placed = with_devices(config, visible_gpus(torch.cuda.device_count()), learners=local_ranks())
    processes = join(device=config.model.device, idle=config.idle)
    if processes and not processes.leads:
        torch.set_num_threads(config.run.threads)
        follow(processes)
        return None
    with RunFolder.create(config) as folder, followed(config, folder):
        with disowned_on_error(folder):
            run = Run(placed, folder, processes)
        report = interrupt.run(run.all())
    if processes:
        dismiss(processes)
    return report


class Run:
    """One run, from its config and its folder."""

    def __init__(self, config: Config, folder: RunFolder, processes: Processes | None = None) -> None:
        torch.set_num_threads(config.run.threads)
        self.config = config
        self.folder = folder
        self.processes = processes
        self.worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in config.worlds}
        self.judged = {
            w.label: World(w.id, w.args | w.eval_args, w.label) if w.eval_args else self.worlds[w.label]
            for w in config.worlds
        }
        self.held_out = held_out(config, self.worlds, self.judged)
        check_tasks(config, folder, self.worlds, self.judged, self.held_out)
        refuse_unbranched(config, self.worlds)
        self.saved = checkpoint.latest(folder.checkpoints) or checkpoint.latest(folder.path / UNDER_WAY)
        self.model, self.tokenizer = make_policy(config, self.worlds, self.saved)
        self.config = config = with_room(config, self.model)
        self.renderer = make_renderer(config, self.model, self.tokenizer, self.worlds, began=folder.began)
        self.agents = Agents(config.agent) if config.agent.used else None
        self.critic: Critic | None = None
        self.reference: ReferenceKeeper | None = None
        self.stopped = False
        """Held-out tasks say that more training does not help: `eval.patience`."""
        self.current = Current()
        self.engine = make_engine(
            config,
            self.model,
            self.tokenizer,
            self.current,
            device=processes.device if processes else torch.device(config.model.device),
            spread=processes is not None and config.optim.shard,
            logs=folder.path / "servers",
        )

    async def all(self) -> Path:
        """Every stage that is still to do."""
        config = self.config
        try:
            await self.engine.start()
            if self.agents is not None:
                await self.agents.start()
            began = time.perf_counter()
            if self.agents is None:  # a program shows its policy what it likes
                with interrupt.at_once():
                    refuse_cramped_run(config, self.worlds, self.judged, self.renderer, self.model)
            if self.saved is None:
                await self.evaluate("as given" if config.model.path else "untrained", 0, 0.0)
            if checkpoint.latest(self.folder.checkpoints) is None:
                if config.sft.used:
                    await placement_of(config, self.engine).learn()
                    await supervise(self)
                    await placement_of(config, self.engine, self.current.learner).play()
                    await self.engine.weights_changed(0)
                    await self.evaluate("after SFT", 0, time.perf_counter() - began)
                learner = self.current.learner or self.learner(config.optim)
                await asyncio.to_thread(self.save, self.folder.checkpoints, 0, learner, fresh=True)
            leave(self.folder, config.sft)
            if config.run.steps:
                await self.reinforce()
        finally:
            if self.agents is not None:
                await self.agents.close()
            await self.engine.close()
            for world in (*self.worlds.values(), *self.judged.values()):
                world.close()
        return write_report(self.folder.path)

    async def reinforce(self) -> None:
        """Play, learn, and play again with what was learned."""
        config = self.config
        await placement_of(config, self.engine).learn()
        if config.algorithm.advantage in CRITIC_ESTIMATORS:  # before the learner shards or adapts the model
            self.critic = self.new_critic()
        learner = self.learner(config.optim)
        start = self.load(learner, self.folder.checkpoints)
        if asks_reference(config.algorithm):
            self.reference = ReferenceKeeper(config, self.folder.path, learner)
            self.reference.begin(start)
        self.folder.rewind(start)
        exact = config.rollout.latest == 0 and self.engine.reproducible and self.agents is None
        journal = Journal(self.folder, step=start, exact=exact, recall=config.curriculum.recalls)
        began, saving, done = time.perf_counter() - seconds_before(self.folder.path, start), 0.0, start
        async with hired(config, self.engine, self.tokenizer) as (engine, workers):
            tally, per_step = Tally(engine), config.rollout.groups * config.rollout.group_size
            trainer = self.trainer(learner, journal, start, engine=engine, runner=workers, tally=tally)
            try:
                await trainer.update_engine()
                await self._begin_judging(start, learner, began)
                await warm(self, start, trainer.curriculum)
                with Live(config.run.steps, done=start, title=str(self.folder.path)) as live:
                    for step in range(start, config.run.steps):
                        if self.stopped:
                            break
                        async with watched(live, trainer, tally, per_step):
                            with profiled(config.run, step, live.note):
                                metrics, groups, credit = await trainer.step(step)
                        if metrics.get("idle"):
                            live.note(why_idle(step, groups, trainer.compared(groups)))
                        metrics["seconds"]["checkpoint"] = saving  # the one after the step before
                        metrics["seconds"]["total"] += saving
                        keep = config.run.keep_groups
                        self.folder.rollouts(
                            step, group_records(groups[:keep], credit[:keep], self.tokenizer.decode)
                        )
                        self.folder.metrics(step, metrics)
                        live.step(metrics)
                        done = step + 1
                        saving = await self._after(done, trainer, journal, began)
            finally:
                await trainer.close()
                await close_judge(trainer.runner)
        judged = [(e["stage"], e["step"]) for e in evaluations(self.folder.path)]
        if ("after RL", done) not in judged:
            await self.evaluate("after RL", done, time.perf_counter() - began)
        await self._keep_best(learner, done)

    async def _after(self, done: int, trainer: Trainer, journal: Journal, began: float) -> float:
        """Save and evaluate where the config says so, when `done` steps are; returns the seconds of saving.

        Groups are played meanwhile. Nothing changes what a thread saves: the next update waits for it.
        """
        last, saving = done == self.config.run.steps, 0.0
        if self.reference is not None:
            await asyncio.to_thread(self.reference.after, done)
        if self.due(done) or last or self.config.distill.used:  # a round is long
            saving = await asyncio.to_thread(self.save, self.folder.checkpoints, done, trainer.learner)
            journal.saved(checkpoint.oldest(self.folder.checkpoints, self.config.run.keep_checkpoints))
        every = self.config.run.eval_every
        if every and done % every == 0 and not last:
            if trainer.engine.version != trainer.learner.version:  # it is not given those of repeated updates
                await trainer.update_engine()
            await self.evaluate(f"step {done}", done, time.perf_counter() - began)
            await self._keep_best(trainer.learner, done)
            await warm(self, done, trainer.curriculum)
            if self.config.rollout.deterministic:  # what it left in the cache came about as it happened to
                await trainer.update_engine()
        return saving

    async def _begin_judging(self, start: int, learner: Learner, began: float) -> None:
        """What a kill may have left undone after update `start`: its evaluation, and what that decides."""
        every = self.config.run.eval_every
        told = {e["step"] for e in evaluations(self.folder.path)}
        if every and start and start % every == 0 and start < self.config.run.steps and start not in told:
            await self.evaluate(f"step {start}", start, time.perf_counter() - began)
        await self._keep_best(learner, start)

    async def _keep_best(self, learner: Learner, done: int) -> None:
        """Keep the checkpoint that held-out tasks call best; see, at `done`, whether training still helps."""
        if not self.config.run.eval_every:
            return
        scored, folder = best.scores(evaluations(self.folder.path)), self.folder.checkpoints
        self.stopped = best.stops(scored, self.config.eval.patience)
        first = best.best_of(scored)
        if (self.stopped or first == done) and not checkpoint.stands(folder, done):
            await asyncio.to_thread(self.save, folder, done, learner)
        if first is not None:
            best.point_to(folder, first)

    async def evaluate(self, stage: str, step: int, seconds: float) -> dict[str, Evaluation]:
        """Judge the policy on held-out tasks of every world and write it down."""
        return await judge(self, stage, step, seconds)

    def trainer(
        self,
        learner: Learner,
        journal: Journal,
        start: int = 0,
        *,
        engine: Engine | None = None,
        runner: Runner | None = None,
        tally: Tally | None = None,
    ) -> Trainer:
        """The loop of `trainer.py` with what this run's config says, as it stood after `start` updates.

        Groups are played by `runner`, or else here and counted; `engine` is the run's or one around it.
        """
        config, rollout = self.config, self.config.rollout
        waves = Waves(rollout.group_size) if rollout.deterministic else None
        if waves and isinstance(self.engine, LocalEngine):
            self.engine.turn = waves.turn
        sampling = Sampling(temperature=rollout.temperature, max_tokens=config.rubric.max_action)
        judge = TokenPlayer(engine or self.engine, self.renderer, sampling)
        trainer = Trainer(
            runner=with_rubric(config, runner or self.here(tally, waves), judge),
            waves=waves,
            engine=engine or self.engine,
            learner=learner,
            algorithm=config.algorithm,
            curriculum=curriculum_of(config, self.worlds, journal.past(warmings(self.folder.path))),
            admission=admission_of(config, start, started=journal.started, waiting=journal.began),
            temperature=rollout.temperature,
            identity_tolerance=1e-3 if config.precise else 5e-2,
            patience=config.patience,
            min_members=rollout.min_members,
            refill=rollout.refill,
            max_bugs=config.run.max_bugs,
            journal=journal,
            bugs=max((line.get("bugs", 0) for line in self._before(start)), default=0),
            sampled=max((line.get("sampled_so_far", 0) for line in self._before(start)), default=0),
            critic=self.critic,
            lessons=imitated(config, self.worlds, self.renderer),
            passes=passes_of(config.distill),
            library=library_of(config, self.folder.path, self.worlds, self.renderer),
            placement=placement_of(config, self.engine, learner, self.critic),
            shaping=config.shaping,
            mixture=mixture_of(config, journal.recent()),
        )
        for index, group, useful in journal.finished():
            trainer.settle(index, group, useful=useful)
        return trainer

    def here(self, tally: Tally | None = None, waves: Waves | None = None) -> LocalRunner:
        """Plays groups in this process, and counts them."""
        rollout = self.config.rollout
        sampling = Sampling(temperature=rollout.temperature, max_tokens=rollout.max_action)
        return LocalRunner(
            self.worlds,
            self.player(sampling, tally),
            seed=self.config.run.seed,
            group_size=rollout.group_size,
            deadline=rollout.deadline_s,
            in_flight=rollout.in_flight,
            ended=tally.ended if tally else None,
            waves=waves,
            forking=forking_of(self.config),
            grounding=grounding_of(self.config),
        )

    def player(self, sampling: Sampling, engine: Engine | None = None) -> Player:
        """The policy by itself, or an agent program that asks it; by `engine`, or the run's own."""
        engine = engine or self.engine
        if self.agents is not None:
            return self.agents.player(engine, self.renderer, sampling)
        return TokenPlayer(engine, self.renderer, sampling, self.config.context)

    def learner(self, optim: OptimConfig) -> Learner:
        """One for this stage; with several processes each gets one."""
        device, dtype = self.config.model.device, self.config.model.dtype
        if self.processes:
            learner = lead(Learner, self.processes, self.model, optim, dtype=dtype)
        else:
            learner = Learner(self.model, optim, device=device, dtype=dtype)
        self.current.learner = learner
        return learner

    def new_critic(self) -> Critic:
        """One that knows nothing yet; with several processes each gets one."""
        settings, dtype = self.config.critic, self.config.model.dtype
        if not self.processes:
            return Critic(self.model, settings, self.config.optim, dtype=dtype)
        model = self.model
        if hasattr(model, "is_spread"):  # by supervised training
            assert self.current.learner is not None
            model = plain_model(model, self.current.learner.full_weights())
        return lead(Critic, self.processes, model, settings, self.config.optim, dtype=dtype)

    def save(self, folder: Path, step: int, learner: Learner, *, fresh: bool = False) -> float:
        """Write a checkpoint, `fresh` when its optimizer is not to go on; returns the seconds it took."""
        parts = Parts(self.model, self.tokenizer, learner, self.critic)
        return save(self.config, self.folder, folder, step, parts, fresh=fresh)

    def load(self, learner: Learner, folder: Path) -> int:
        """Continue `learner` from the newest checkpoint of a stage; returns the step to go on with."""
        return load(folder, Parts(self.model, self.tokenizer, learner, self.critic))

    def due(self, done: int) -> bool:
        """Whether a checkpoint is due after `done` updates of a stage."""
        return bool(every := self.config.run.checkpoint_every) and done % every == 0

    def _before(self, start: int) -> list[dict[str, Any]]:
        """Metrics of the steps before `start`."""
        return [line for line in read_lines(self.folder.path / "metrics.jsonl") if line["step"] < start]
