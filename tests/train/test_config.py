"""What a person may write in a config, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from forge_train.config import (
    AlgorithmConfig,
    Config,
    EvalConfig,
    OptimConfig,
    RolloutConfig,
    TinyConfig,
    dump,
    fingerprint,
    flatten,
    load,
    results_of,
)
from forge_train.config.explain import ConfigError, fields

WORLD = 'worlds.0.id="forge_envs:Forge/Retail-v0"'


def problem(*overrides: str, world: str = WORLD) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, [world, *overrides])
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


# --- what is accepted ------------------------------------------------------------------------------


def test_overrides_without_a_file_make_a_config() -> None:
    config = load(None, [WORLD, "optim.lr=3e-4", "worlds.0.args.level=2", "run.seed=1", "run.name=first"])
    assert config.optim.lr == 3e-4
    assert config.worlds[0].args == {"level": 2}
    assert config.worlds[0].label == "Forge/Retail-v0"
    assert (config.run.seed, config.run.folder) == (1, Path("runs/first"))


def test_the_file_is_read_and_overrides_win_in_order(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[run]\nseed = 5\nsteps = 7\n[[worlds]]\nid = "a:B-v0"\nargs = {size = "tiny"}\n')
    config = load(path, ["run.seed=6", "run.seed=8", "worlds.1.id=a:C-v0", "worlds.0.args.deep.key=[1, 2]"])
    assert (config.run.seed, config.run.steps) == (8, 7)
    assert [world.id for world in config.worlds] == ["a:B-v0", "a:C-v0"]
    assert config.worlds[0].args == {"size": "tiny", "deep": {"key": [1, 2]}}


def test_values_are_toml_and_else_text() -> None:
    config = load(None, [WORLD, "worlds.0.args.a=true", "worlds.0.args.b=x y", 'worlds.0.args.c="7"'])
    assert config.worlds[0].args == {"a": True, "b": "x y", "c": "7"}
    # A line break cannot smuggle in a second key.
    smuggled = load(None, [WORLD, "worlds.0.args.a=1\nb = 2"])
    assert smuggled.worlds[0].args == {"a": "1\nb = 2"}


def test_every_key_is_explained() -> None:
    undocumented = [key for key, text in fields(Config) if len(text) < 10]
    assert not undocumented
    assert "worlds.0.args" in dict(fields(Config))


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load(None, [WORLD]).optim.lr = 1.0  # type: ignore[misc]


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optim.lrr=3", ["optim.lrr = 3", "no such key", "did you mean optim.lr?"]),
        ("lr=3", ["lr = 3", "did you mean optim.lr?"]),
        ("rollouts.groups=3", ["no such key", "did you mean [rollout]?"]),
        ("worlds.0.arg=3", ["did you mean worlds.0.args?"]),
        ("run.zzzzzz=3", ["no such key", "known here", "seed", "steps"]),
        ("run.steps=-1", ["run.steps = -1", "greater than or equal to 0", "Reinforcement steps"]),
        ("run.steps=true", ["run.steps = true", "whole number"]),
        ("run.steps=2.5", ["run.steps = 2.5", "whole number"]),
        ("optim.lr=3e-", ['optim.lr = "3e-"', "must be a number"]),
        ("optim.lr=inf", ["optim.lr", "finite"]),
        ("optim=3", ["optim = 3", "must be a table"]),
        ("worlds=3", ["worlds = 3", "must be a list"]),
        ("algorithm.denominator=tokn", ["'token', 'turn', 'segment', 'trajectory' or 'constant'"]),
        ("algorithm.denominator=constant", ["algorithm.denominator", "set constant"]),
        ("algorithm.constant=5.0", ["algorithm.constant = 5.0", 'denominator = "constant"']),
        ("rollout.group_size=1", ["rollout.group_size = 1", "grpo", "2 or more"]),
        ("algorithm.advantage=gea", ['algorithm.advantage = "gea"', "bilevel_gae", 'did you mean "gae"?']),
        ("algorithm.importance_range=[1.5, 2]", ["importance_range = [1.5, 2.0]", "low must lie in [0, 1]"]),
        ("algorithm.sequence_range=[0.5, 0.9]", ["sequence_range = [0.5, 0.9]", "high be 1 or more"]),
        ('critic.bootstrap=["failed"]', ["critic.bootstrap.0", "'max_turns', 'context', 'tokens'"]),
        ("rollout.temperature=0.0", ["rollout.temperature = 0.0", "greater than 0"]),
        ("eval.repeats=2", ["eval.k = [1, 2, 4]", "set k = [1, 2] or repeats = 4"]),
        ("eval.split=train", ['eval.split = "train"', "worlds.0 trains on it", '"test"']),
        ("model.tiny.heads=3", ["model.tiny.hidden = 128", "multiple of 2 x heads (6)"]),
        ("model.tiny.kv_heads=3", ["model.tiny.kv_heads = 3", "divisor of heads (4)"]),
        ("model.path=/nowhere/at/all", ['model.path = "/nowhere/at/all"', "no such folder"]),
        ("optim.betas=[0.9, 1.0]", ["optim.betas = [0.9, 1.0]", "[0, 1)"]),
        ("optim.schedule=cosine", ['optim.schedule = "cosine"', "set decay_steps"]),
        ("optim.decay_steps=0", ["optim.decay_steps = 0", "greater than 0"]),
        ("worlds.0.args.when=1979-05-27", ["worlds.0.args", "args.when is a date"]),
        ("run.name=a/b", ['run.name = "a/b"', "Names the run"]),
        ("run.seed", ['override "run.seed"', "section.key=value"]),
        ("worlds.5.id=x", ['"5" is no index of a list of 1']),
        ("run.seed.deep=1", ["run.seed", "whole number"]),
    ],
)
def test_refusals_name_key_value_and_fix(override: str, words: list[str]) -> None:
    said = problem(override)
    assert len(said.splitlines()) == 1
    for word in words:
        assert word in said


def test_an_action_must_leave_room_for_a_prompt() -> None:
    said = problem("rollout.max_context=2048", "rollout.max_action=2048")
    assert "max_action = 2048" in said and "below max_context (2048)" in said


def test_unknown_names_list_the_known_ones() -> None:
    said = problem("algorithm.advantage=grppo")
    assert "arpo, bilevel_gae, branch, dr_grpo, gae, gdpo" in said and 'did you mean "grpo"?' in said
    said = problem("algorithm.objective=clip")
    assert "clipped" in said and "nll" in said
    for name in ("grpo", "dr_grpo", "rloo", "gae", "turn_gae", "bilevel_gae"):
        assert load(None, [WORLD, f"algorithm.advantage={name}"]).algorithm.advantage == name


def test_a_critic_compares_nobody_and_refuses_what_contradicts_it() -> None:
    alone = ["algorithm.advantage=gae", "rollout.group_size=1"]
    assert load(None, [WORLD, *alone]).rollout.group_size == 1
    room = ['algorithm.masked=["context", "tokens"]', *alone]
    said = problem(*room)
    assert "algorithm.masked = ['context', 'tokens']" in said
    assert "lets context and tokens go on; drop one" in said
    assert load(None, [WORLD, *room, 'critic.bootstrap=["deadline"]']).critic.bootstrap == ("deadline",)
    assert "compares nobody with a group" in problem("algorithm.masked_in_baseline=true", *alone)
    assert "earned the same teaches as much" in problem(*alone, "rollout.refill=1")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["vllm.count=2", "vllm.port=9"], ["vllm.count = 2, vllm.port = 9: vllm.urls", "none is started"]),
        *(
            ([f"vllm.{key}"], ["drop vllm.urls, or leave it out"])
            for key in ("python=p", "host=h", "flags=['-x']", "gpus=['0']", "env={A = '1'}", "restarts=0")
        ),
        (["algorithm.objective=nll", "algorithm.clip_low=0.1"], ["clip_low = 0.1", "no ratio"]),
        (
            ["algorithm.objective=nll", "algorithm.importance_range=[0.5, 2]"],
            ["importance_range", "no ratio"],
        ),
        (["algorithm.objective=ppo", "algorithm.importance_cap=5.0"], ["importance_cap = 5.0", '"clipped"']),
        (["rollout.max_lag=1", "algorithm.importance_cap=0.0"], ["max_lag = 1", '"auto" is "ppo"']),
        (["optim.decay_steps=9"], ["optim.decay_steps = 9", 'use "linear" or "cosine"']),
        (
            ["critic.lr=0.5", "critic.clip=0.0"],
            ["critic.lr = 0.5, critic.clip = 0.0", '"grpo" asks no critic'],
        ),
        (["algorithm.turn_gamma=0.5"], ["turn_gamma = 0.5", "bilevel_gae, gae, turn_gae"]),
        (["algorithm.advantage=gae", "algorithm.turn_lambda=0.5"], ["turn_lambda = 0.5", "tokens for steps"]),
        (["algorithm.advantage=turn_gae", "algorithm.gamma=0.5"], ["gamma = 0.5", "turns for steps"]),
    ],
)
def test_a_key_that_nothing_reads_is_refused(overrides: list[str], words: list[str]) -> None:
    said = problem("vllm.urls=['http://one']", *overrides)
    assert len(said.splitlines()) == 1 and all(word in said for word in words)


@pytest.mark.parametrize(
    "overrides",
    [
        ["vllm.count=2", "vllm.gpus=['0', '1']"],
        ["vllm.urls=['http://one']", "vllm.count=1", "vllm.folder=f", "vllm.in_flight=9", "vllm.start_s=9.0"],
        ["algorithm.objective=nll", "algorithm.importance_level=sequence", "algorithm.importance_cap=9.0"],
        ["algorithm.objective=ppo", "algorithm.importance_range=[0.5, 2]", "algorithm.clip_low=0.1"],
        ["algorithm.importance_level=sequence", "rollout.max_lag=1", "algorithm.importance_cap=9.0"],
        ["algorithm.importance_cap=9.0"],
        ["algorithm.advantage=gae", "algorithm.gamma=0.9", "critic.lr=0.5", "algorithm.across=none"],
        ["algorithm.advantage=turn_gae", "algorithm.turn_gamma=0.9", "algorithm.gae_lambda=1.0"],
        ["algorithm.advantage=bilevel_gae", "algorithm.gamma=0.9", "algorithm.turn_gamma=0.9"],
    ],
)
def test_a_key_that_something_reads_is_not(overrides: list[str], tmp_path: Path) -> None:
    config = load(None, [WORLD, *overrides])
    (tmp_path / "config.toml").write_text(dump(config))
    assert load(tmp_path / "config.toml") == config, "with every default written out"


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[run]\nsed = 3\nsteps = -2\n[optim]\nlr = 'x'\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(caught.value.problems) == 4  # the three above, and no worlds
    assert all(line.startswith(f"{path}: ") for line in caught.value.problems)
    assert "run.seed" in str(caught.value) and "[[worlds]]" in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("[run\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: not valid TOML: .*line 1"):
        load(broken)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "has no config.json" in problem(f'model.path="{tmp_path}"')
    (tmp_path / "config.json").write_text("{}")
    assert load(None, [WORLD, f'model.path="{tmp_path}"']).model.path == str(tmp_path)
    assert load(None, [WORLD, "model.path=Qwen/Qwen3-8B"]).model.path == "Qwen/Qwen3-8B"


def test_one_world_twice_needs_names() -> None:
    twice = ["worlds.1.id=forge_envs:Forge/Retail-v0", "worlds.1.args.level=2"]
    assert "set worlds.1.name" in problem(*twice)
    config = load(None, [WORLD, *twice, "worlds.1.name=hard"])
    assert [world.label for world in config.worlds] == ["Forge/Retail-v0", "hard"]
    with pytest.raises(ConfigError, match="worlds"):
        load(None, ["worlds=[]"])


# --- round trip and fingerprint --------------------------------------------------------------------

names = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
leaves = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=12),
)
args = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
    ),
    max_size=4,
)
positive = st.floats(1e-12, 1e12)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    repeats = draw(st.integers(1, 9))
    constant = draw(st.none() | positive)
    worlds = [
        {
            "id": draw(names),
            "name": f"w{i}",
            "args": draw(args),
            "eval_args": draw(args),
            "weight": draw(positive),
        }
        for i in range(draw(st.integers(1, 3)))
    ]
    tree: dict[str, Any] = {
        "run": {"name": draw(names), "seed": draw(st.integers(0, 2**62)), "out": draw(st.none() | names)},
        "model": {"path": draw(st.sampled_from(["", "org/model"]))},
        "worlds": worlds,
        "rollout": {
            "temperature": draw(positive),
            "deadline_s": draw(positive),
        },
        "algorithm": {"denominator": "token" if constant is None else "constant", "constant": constant},
        "optim": {
            "lr": draw(positive),
            "betas": draw(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999))),
            "schedule": draw(st.sampled_from(["linear", "cosine"])),
            "decay_steps": draw(st.integers(1, 10**6)),
        },
        "sft": {"steps": draw(st.none() | st.integers(1, 99))},
        "eval": {
            "repeats": repeats,
            "k": draw(st.lists(st.integers(1, repeats), max_size=4)),
            "split": draw(names.filter(lambda name: name != "train")),
        },
    }
    return Config.model_validate(tree)


@given(configs())
def test_what_is_dumped_loads_back_equal(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    path = tmp_path_factory.mktemp("c") / "config.toml"
    path.write_text(dump(config), encoding="utf-8")
    again = load(path)
    assert again == config
    assert fingerprint(again) == fingerprint(config)
    assert dump(again) == dump(config)


FREE = [
    "sft.keep=false", "eval.transcripts=false",
    "run.name=other", "run.out=elsewhere", "run.threads=7", "run.steps=1000", "run.eval_every=3",
    "run.checkpoint_every=1", "run.keep_checkpoints=5", "run.keep_optimizer=5",
    "run.keep_groups=0", "run.max_bugs=9", "run.changed_tasks=true",
    "vllm.urls=['http://one']", "vllm.count=2", "vllm.python=python", "vllm.host=10.0.0.1", "vllm.port=9",
    "vllm.gpus=['0']", "vllm.folder=weights", "vllm.in_flight=3", "vllm.deadline_s=9.0", "vllm.attempt_s=9.0",
    "vllm.attempts=9", "vllm.health_s=9.0", "vllm.load_s=9.0", "vllm.start_s=9.0", "vllm.restarts=0",
    "vllm.checksums=true",
    "rollout.workers=ray", "rollout.worker_count=7", "rollout.placement=colocated", "model.kernels=liger",
    "vllm.flags=['--max-num-seqs', '8']", "vllm.env={A = '1'}", "vllm.transfer=nccl", "rollout.in_flight=64",
    "rollout.deadline_s=9.0", "model.device=mps", "optim.gradient_checkpointing=true", "optim.shard=false",
    "optim.replicate=2",
    "optim.micro_tokens=512", "optim.packing=padded", "run.trackers=['wandb', 'tensorboard']",
    "run.tracker_args={tensorboard = {flush_secs = 9}}", "run.profile.steps=[1]", "run.profile.folder=here",
    "optim.peak_tflops=9.0", "optim.head_mb=64", "optim.replicate=2", "eval.patience=3",
]  # fmt: skip


RUBRIC = ['rubric.criteria=[{text="It is polite"}]', "rubric.weight=0.5"]
JUDGE = "rubric.judge=openai:m@http://host/v1"
FREE_OF_RUBRICS = ["rubric.record=replies.jsonl", "rubric.deadline_s=9.0"]


@pytest.mark.parametrize("override", FREE_OF_RUBRICS)
def test_where_a_judges_replies_are_kept_changes_no_result(override: str) -> None:
    judged = [WORLD, *RUBRIC, JUDGE]
    changed = load(None, [*judged, override])
    assert changed != load(None, judged) and fingerprint(changed) == fingerprint(load(None, judged))


FREE_OF_AGENTS = ["agent.host=10.0.0.1", "agent.port=9", "agent.grace_s=1.0"]


@pytest.mark.parametrize("override", FREE_OF_AGENTS)
def test_where_an_agent_program_asks_changes_no_result(override: str) -> None:
    program = [WORLD, "agent.command=['true']"]
    changed = load(None, [*program, override])
    assert changed != load(None, program) and fingerprint(changed) == fingerprint(load(None, program))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["agent.command=['true']", "agent.function='m:f'"], "played by one of them"),
        (["agent.hand_in=true"], "no program plays; set agent.command"),
        (["agent.function='m:f'", "agent.env={A = '1'}"], "use agent.command"),
        (["agent.function='m.f'"], "agent.function"),
        (
            ["agent.command=['true']", "rollout.engine=vllm", "rollout.workers=ray"],
            "run where the trainer runs",
        ),
    ],
)
def test_what_an_agent_program_cannot_be_is_refused(said: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(None, [WORLD, *said])


@pytest.mark.parametrize("override", FREE)
def test_the_fingerprint_ignores_what_changes_no_result(override: str) -> None:
    servers = [WORLD, "rollout.engine=vllm", "run.trackers=['tensorboard']", "run.eval_every=9"]
    changed = load(None, [*servers, override])
    assert changed != load(None, servers) and fingerprint(changed) == fingerprint(load(None, servers))


def test_of_run_and_servers_a_new_key_must_be_decided_on() -> None:
    decide = {"run.seed", "vllm.dtype"}
    assert {f.split("=")[0] for f in FREE} | decide >= {
        k for k, _ in fields(Config) if k.startswith(("run.", "vllm."))
    }


@given(
    st.integers(1, 5), st.integers(2, 5), st.integers(0, 2), st.integers(0, 3), st.integers(5, 40)
)  # fmt: skip
def test_the_slowest_that_may_be_is_waited_for(
    groups: int, size: int, lag: int, refill: int, in_flight: int
) -> None:
    """Every group takes its deadline, and the one that is refilled is the last to begin, each time."""
    rollout = RolloutConfig(
        groups=groups, group_size=size, max_lag=lag, refill=refill, in_flight=in_flight, deadline_s=10.0
    )
    free = [0.0] * in_flight  # when each place is
    for group in range((1 + lag) * groups + refill):
        after = max(free) if group >= (1 + lag) * groups else 0.0
        for _ in range(size):
            free.remove(soonest := min(free))
            free.append(max(soonest, after) + rollout.deadline_s)
    assert max(free) <= rollout.patience


def test_helpers_outlast_an_evaluation_and_the_wait_for_groups_after_it() -> None:
    slow = load(None, [WORLD, "rollout.deadline_s=3600.0", "eval.tasks=512", "eval.repeats=1", "eval.k=[1]"])
    assert slow.idle > slow.rollout.patience + 3 * 3600
    assert load(None, [WORLD]).idle < slow.idle


def test_servers_count_for_nothing_where_there_are_none() -> None:
    assert fingerprint(load(None, [WORLD, "vllm.dtype=float32"])) == fingerprint(load(None, [WORLD]))
    assert "one server is named twice" in problem("vllm.urls=['http://a', 'http://a']")
    assert "name those of each server; there are 1" in problem("vllm.gpus=['0', '1']")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["rollout.engine=vllm", "rollout.max_lag=1"], ["max_lag = 1 has them play", "set max_lag = 0"]),
        ([], ['engine = "local"', 'set placement = "separate"']),
        (["rollout.engine=vllm", "vllm.transfer=nccl"], ["NCCL connects no two", 'vllm.transfer = "folder"']),
    ],
)
def test_one_memory_for_two_needs_servers_that_can_sleep_and_nobody_who_plays(
    overrides: list[str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, [WORLD, "rollout.placement=colocated", *overrides])
    assert all(word in str(error.value) for word in ["colocated", *words])
    assert load(None, [WORLD, "rollout.placement=colocated", "rollout.engine=vllm"]).rollout.max_lag == 0


def other(value: Any, key: str) -> Any:
    """A legal value that differs."""
    special = {"model.dtype": "bfloat16", "model.device": "cuda", "model.renderer": "chatml",
               "rollout.engine": "vllm", "algorithm.advantage": "rloo", "algorithm.objective": "nll",
               "algorithm.denominator": "turn", "optim.schedule": "linear", "optim.betas": (0.8, 0.9),
               "eval.k": (1, 2), "sft.steps": 3, "model.path": "org/model",
               "algorithm.importance_level": "sequence", "algorithm.importance_range": (0.5, 2.0),
               "algorithm.sequence_range": (0.99, 1.01), "critic.bootstrap": ("deadline",),
               "vllm.dtype": "float32", "vllm.transfer": "nccl", "vllm.flags": ("--x",),
               "vllm.env": {"A": "1"}, "agent.command": ("true",), "agent.function": "m:f",
               "agent.grammar": "m:g",
               "worlds.0.args": {"level": 3}, "worlds.0.eval_args": {"level": 3}}  # fmt: skip
    if key in special:
        return special[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2 + (value == 0)
    if isinstance(value, float):
        return value / 2 if value else 0.5
    if isinstance(value, dict):
        return {"A": "1"}
    return "other"


FREE_KEYS = {f.split("=")[0] for f in [*FREE, *FREE_OF_AGENTS, *FREE_OF_RUBRICS]}
CHANGES = [key for key, _ in fields(Config) if key not in FREE_KEYS]


@pytest.mark.parametrize("key", CHANGES)
def test_the_fingerprint_sees_every_other_key(key: str) -> None:
    said = [
        WORLD,
        "optim.schedule=cosine",
        "optim.decay_steps=50",
        "algorithm.denominator=constant",
        "algorithm.constant=9.0",
        *(RUBRIC if key.startswith("rubric.criteria") else []),
    ]
    base = load(None, [*said, *(["rollout.engine=vllm"] if key.startswith("vllm.") else [])])

    def changed(section: BaseModel, parts: list[str]) -> BaseModel:
        name, *rest = parts
        value = getattr(section, name)
        if rest and isinstance(value, tuple):
            new: Any = (changed(value[0], rest[1:]),)
        else:
            new = changed(value, rest) if rest else other(value, key)
        return section.model_copy(update={name: new})

    changed_config = changed(base, key.split("."))
    assert isinstance(changed_config, Config)
    assert fingerprint(changed_config) != fingerprint(base)
    assert results_of(changed_config).keys() >= {"run.seed"}


def test_the_shape_of_an_unused_model_counts_for_nothing() -> None:
    path = ["model.path=org/model", WORLD]
    assert fingerprint(load(None, [*path, "model.tiny.layers=9"])) == fingerprint(load(None, path))
    assert fingerprint(load(None, [WORLD, "model.tiny.layers=9"])) != fingerprint(load(None, [WORLD]))


def test_flatten_keeps_plain_lists_and_empty_tables() -> None:
    assert flatten({"a": {"b": [1]}, "c": {}, "d": [{"e": 1}, {"e": 2}]}) == {
        "a.b": [1], "c": {}, "d.0.e": 1, "d.1.e": 2,
    }  # fmt: skip


def test_sections_check_themselves_without_a_file() -> None:
    for bad in (
        lambda: RolloutConfig(max_context=10, max_action=10),
        lambda: EvalConfig(repeats=1),
        lambda: OptimConfig(lr=0.0),
        lambda: TinyConfig(vocab=10),
        lambda: AlgorithmConfig(denominator="constant"),
    ):
        with pytest.raises(ValidationError):
            bad()
    assert EvalConfig(repeats=1, k=(1,)).k == (1,)
