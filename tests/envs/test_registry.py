import gc
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import forge_envs
from forge_envs import AgentEnv
from tests.envs.worlds import AWAY, NEEDED, SPARE

ROOT = Path(__file__).parents[2]


def python(code: str, *paths: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, with further folders to import from."""
    env = {
        **os.environ,
        **variables,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)


# -- the package -------------------------------------------------------------------------------------


def test_the_public_names_are_these():
    assert forge_envs.__all__ == [
        "AgentEnv",
        "Criterion",
        "Episode",
        "MachineError",
        "Message",
        "Observation",
        "Rubric",
        "Score",
        "Task",
        "TaskError",
        "ToolCall",
        "ToolError",
        "opening",
        "register",
        "tool",
        "world_ids",
    ]
    assert all(hasattr(forge_envs, name) for name in forge_envs.__all__)
    assert (ROOT / "forge_envs" / "py.typed").exists()


def test_import_is_quiet_and_touches_nothing():
    watch = """
        import json, sys
        touched = []
        def hook(event, args):
            if event.split(".")[0] in ("socket", "subprocess", "shutil", "urllib", "ftplib"):
                touched.append(event)
            elif event in ("os.mkdir", "os.rename", "os.remove", "os.system"):
                touched.append(f"{event} {args}")
            elif event == "open" and (set(args[1] or "r") & set("wax+") or "entry_points" in str(args[0])):
                touched.append(f"open {args}")
        sys.addaudithook(hook)
        import forge_envs
        heavy = ("torch", "transformers", "rich", "forge_train", "forge_envs.cli", "forge_envs.worlds.retail")
        print(json.dumps([touched, [name for name in heavy if name in sys.modules]]))
    """
    run = python(watch)
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "[[], []]\n")


def test_import_is_quick():
    # Time of this process alone: what else the machine does is not the package's fault.
    code = "import time; start = time.process_time(); import forge_envs; print(time.process_time() - start)"
    assert min(float(python(code).stdout) for _ in range(3)) < 0.5


# -- worlds of this package --------------------------------------------------------------------------


@pytest.mark.parametrize("world", forge_envs.world_ids())
def test_every_world_can_be_made_by_gymnasium(world):
    spec = gym.spec(world)
    assert isinstance(spec.entry_point, str), "a class would import the world with the package"
    assert (spec.disable_env_checker, spec.order_enforce, spec.max_episode_steps) == (True, True, None)
    for env_id in (world, f"forge_envs:{world}"):
        env = gym.make(env_id, **NEEDED.get(world, {}))
        assert isinstance(env.unwrapped, AgentEnv) and env.unwrapped.spec.id == world
        env.close()


@pytest.mark.parametrize("world", forge_envs.world_ids())
def test_a_count_of_tasks_that_is_none_is_refused(world):
    # [:-1] would give all but the last, range(-1) none: neither is what was asked for.
    env = gym.make(world, **NEEDED.get(world, {})).unwrapped
    for wrong in (-1, 1.5, "3"):
        with pytest.raises(ValueError, match=r"n=.*a whole number of tasks"):
            env.task_ids(n=wrong)
    assert len(env.task_ids(n=np.int64(0))) == 0
    env.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("world", forge_envs.world_ids())
def test_every_world_can_be_made_as_a_vector(world, mode):
    kwargs = SPARE.get(world, {})
    envs = gym.make_vec(world, num_envs=2, vectorization_mode=mode, **kwargs)
    try:
        envs.reset(seed=1)
        for _ in range(3):
            observations, rewards, *_ = envs.step(envs.action_space.sample())
            assert len(observations) == len(rewards) == 2
    finally:
        envs.close()


@pytest.mark.parametrize("world", forge_envs.world_ids())
def test_gymnasiums_own_limit_is_refused_with_the_way_out(world):
    with pytest.raises(ValueError, match=r"max_episode_steps=3.*max_turns=3"):
        gym.make(world, max_episode_steps=3, **SPARE.get(world, {}))
    with pytest.raises(ValueError, match=r"max_episode_steps=5.*max_turns=5"):
        gym.make_vec(world, 2, max_episode_steps=5, **SPARE.get(world, {}))


def test_an_asynchronous_vector_keeps_each_observation_and_clears_up():
    envs = gym.make_vec("Forge/Retail-v0", 2, vectorization_mode="async", size="tiny")
    alone = gym.make("Forge/Retail-v0", size="tiny")
    folder = Path(envs.unwrapped.observations.folder)
    try:
        observations, _ = envs.reset(seed=[4, 5])
        assert observations == (alone.reset(seed=4)[0], alone.reset(seed=5)[0])
        said = envs.step(("x" * 200_000, ""))[0]
        assert said[1] == alone.step("")[0] and observations[1] != said[1]
    finally:
        envs.close()
    del envs
    gc.collect()
    assert not folder.exists()


HEADINGS = (
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Information",
    "Arguments",
    "Version History",
)


@pytest.mark.parametrize("world", forge_envs.world_ids())
def test_every_world_is_described_under_gymnasiums_headings(world):
    text = inspect.getdoc(type(gym.make(world, **SPARE.get(world, {})).unwrapped)) or ""
    found = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert found == list(HEADINGS)
    for heading, body in zip(found, re.split(r"^## .*$", text, flags=re.MULTILINE)[1:], strict=True):
        assert body.strip(), heading
    assert "v0: " in text


def test_an_unknown_world_is_answered_with_the_nearest():
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `Retail`"):
        gym.make("forge_envs:Forge/Retial-v0")


# -- worlds of other packages ------------------------------------------------------------------------


def install(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """A distribution as an installer leaves it."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[forge_envs.worlds]\n{entry_points}\n")
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(textwrap.dedent(code))


MODULE = """
    import forge_envs
    from tests.envs.worlds import Counter

    class Till(Counter):
        "A till."

    forge_envs.register("Acme/Till-v0", "acme_till:Till")
"""
FUNCTION = """
    import forge_envs

    def add_worlds():
        forge_envs.register("Acme/Lazy-v0", "no_such_module:Lazy")
"""


def test_installed_packages_bring_their_worlds(tmp_path):
    install(
        tmp_path,
        "acme",
        "till = acme_till\nlazy = acme_lazy:add_worlds",
        acme_till=MODULE,
        acme_lazy=FUNCTION,
    )
    code = """
        import sys, forge_envs, gymnasium as gym
        assert "acme_till" not in sys.modules
        print(len(forge_envs.world_ids()) == len({*forge_envs.world_ids()}), forge_envs.world_ids()[-2:])
        print(gym.make("Acme/Till-v0").unwrapped, gym.make("acme_till:Acme/Till-v0").spec.disable_env_checker)
    """
    run = python(code, tmp_path)
    assert run.stderr == ""
    assert "True" in run.stdout and "'Acme/Till-v0'" in run.stdout and "'Acme/Lazy-v0'" in run.stdout
    assert run.stdout.splitlines()[1] == "<Till<Acme/Till-v0>> True"


def test_a_broken_package_is_named_and_the_others_still_come(tmp_path):
    install(tmp_path, "broken-at-import", "x = broken_at_import", broken_at_import="1 / 0")
    install(tmp_path, "broken-name", "y = nowhere_to_be_found:add")
    install(
        tmp_path,
        "broken-id",
        "z = broken_id",
        broken_id="import forge_envs\nforge_envs.register('a b', 'c:d')",
    )
    install(tmp_path, "zz-acme", "till = acme_till", acme_till=MODULE)
    run = python("import forge_envs; print(forge_envs.world_ids())", tmp_path)
    assert run.returncode == 0 and "'Acme/Till-v0'" in run.stdout and "a b" not in run.stdout
    for package, hint in (
        ("broken-at-import", "'x' (broken_at_import) raised ZeroDivisionError"),
        ("broken-name", "'y' (nowhere_to_be_found:add) raised ModuleNotFoundError"),
        ("broken-id", "'z' (broken_id) raised Error: Malformed"),
    ):
        assert f"worlds of package {package} are left out" in run.stderr and hint in run.stderr


def test_the_command_line_knows_the_worlds_of_other_packages(tmp_path):
    install(
        tmp_path,
        "acme",
        "till = acme_till\nlazy = acme_lazy:add_worlds",
        acme_till=MODULE,
        acme_lazy=FUNCTION,
    )
    code = "import sys; from forge_envs.cli import main; sys.exit(main({}))"
    listed = python(code.format(["list"]), tmp_path)
    assert "Acme/Till-v0\n    A till.\n" in listed.stdout
    assert "Acme/Lazy-v0\n    cannot be made: " in listed.stdout and "no_such_module" in listed.stdout
    assert python(code.format(["check", "Acme/Till-v0", "--tasks", "2"]), tmp_path).returncode == 0
    missed = python(code.format(["check", "Acme/Tll-v0"]), tmp_path)
    assert missed.returncode == 2 and "Known: Acme/Till-v0" in missed.stderr


FEW = f"""
import forge_envs.registry
for world in {sorted({*forge_envs.world_ids()} - {*AWAY, "Forge/Retail-v0"})}:
    forge_envs.registry._ids.remove(world)
"""
"""Leaves one world that is checked: that all of them pass is shown in test_testing.py."""
CHECK_ALL = ["check", "--all", "--tasks", "1"]


def test_check_all_goes_on_after_a_world_that_cannot_be_made(tmp_path):
    install(
        tmp_path,
        "acme",
        "lazy = acme_lazy:add_worlds\ntill = acme_till",
        acme_till=MODULE,
        acme_lazy=FUNCTION,
    )
    code = f"{FEW}import sys; from forge_envs.cli import main; sys.exit(main({CHECK_ALL}))"
    run = python(code, tmp_path, DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    assert run.returncode == 1
    for world in AWAY:
        why = "not checked: path=''" if world in NEEDED else "not checked: "
        assert f"{world}\n  {why}" in run.stdout
    for world in ("SWE", "Polyglot"):
        assert re.search(rf"Forge/{world}-v0\n  not checked: .*Docker daemon", run.stdout)
    assert "FAILED  made: " in run.stdout and "no_such_module" in run.stdout
    assert run.stdout.index("Acme/Lazy-v0") < run.stdout.index("Acme/Till-v0") < run.stdout.rindex("  ok  ")


HIDDEN = ("swebench", "docker", "requests", "urllib3")
HIDE = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HIDDEN}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, package=None: None if name in {HIDDEN} else find(name, package)
{FEW}
from forge_envs.cli import main
sys.exit(main({CHECK_ALL}))
"""


def test_check_all_says_what_is_not_checked_and_what_installs_it(tmp_path):
    run = python(HIDE, tmp_path, DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    assert run.returncode == 0, run.stdout + run.stderr
    for world, hint in {"SWE": "[swe]'", "Polyglot": "[docker]'"}.items():
        (told,) = re.findall(rf"Forge/{world}-v0\n  not checked: (.*)", run.stdout)
        assert hint in told and "pip install" in told
    assert "FAILED" not in run.stdout and f"forge-envs: {len(AWAY)} worlds were not checked" in run.stderr
