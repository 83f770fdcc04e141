"""Repositories with a bug as task folders: a patch goes to a fresh container that has the hidden tests."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from pathlib import Path

from forge_envs.adapters.harbor.folder import FolderDraft
from forge_envs.adapters.harbor.grade import REFUSED, SAVED
from forge_envs.adapters.harbor.recipes import TOOLS, based_on, on_debian
from forge_envs.adapters.harbor.stored import store_swe
from forge_envs.sandbox.inside import IMAGE_PATH
from forge_envs.worlds.swe import git
from forge_envs.worlds.swe.env import SweEnv, asked
from forge_envs.worlds.swe.judge import APPLYING
from forge_envs.worlds.swe.patch import TAKING
from forge_envs.worlds.swe.site import ENVIRONMENT, FIRST_DAY, STARTING, WORKDIR
from forge_envs.worlds.swe.task import SweTask

OWN = "/opt/forge/own"
"""Our folder in the image: a git directory that knows the tree that the agent starts from."""
LEAVES = "patch.diff"
CONDA = "/opt/miniconda3/envs/testbed/bin"
SPARE = 120.0
WORDS = """\
The repository is {workdir}. You work alone, in a Linux container without a network.

- Look around first, reproduce the problem, then change the source, and run the tests that are there.
- Make the change general: tests that you cannot see decide whether the issue is solved, and other behaviour
  must stay as it is. Changes to tests and to the settings of test runners do not count.
- Nothing needs to be submitted, committed or not: what the repository holds when you stop is judged.
"""
BAKE = """\
#!/bin/bash
# Makes the repository ready for an agent: it forgets what came after the base commit. Keeps, where an agent
# that is not root cannot write, the tree that it starts from and an archive of the folder.
set -euo pipefail
export {variables}
mkdir -p /opt/forge/start /opt/forge/tmp
chmod 1777 /opt/forge/tmp
cd {workdir}
tar -cf .forge-tools.tar -C /opt/forge/start .
chown --reference=. .forge-tools.tar
owner=$(stat -c '--reuid=%u --regid=%g' .)
setpriv $owner --clear-groups env HOME=/opt/forge/tmp TMPDIR=/opt/forge/tmp \\
  bash /opt/forge/start.sh > /opt/forge/said
mv "$(tail -n 3 /opt/forge/said | head -n 1)" {own}
chown -R root:root {own}
chmod -R go= {own}
tar -czpf {saved} -C {workdir} .
chmod 600 {saved}
cd /
rm -rf /opt/forge/start /opt/forge/tmp /opt/forge/said /opt/forge/*.sh
"""
TAKE = """\
set -u
out=/logs/artifacts code=0
mkdir -p "$out" && rm -rf "$out/{leaves}" "$out/{refused}"
script=$(cat <<'END_OF_TAKE'
{take}END_OF_TAKE
)
said=$(cd {workdir} 2>&1 && timeout -k 5 {taking:g} bash -c "$script" 2>&1) || code=$?
patch={own}/take/patch
if [ "$code" != 0 ]; then
  printf 'git made no patch, status %s: %s\\n' "$code" "${{said: -300}}" > "$out/{refused}"
elif [ "$(stat -c %s "$patch")" -gt {limit} ]; then
  echo 'the patch is longer than {limit} bytes' > "$out/{refused}"
else
  cp "$patch" "$out/.part" && mv "$out/.part" "$out/{leaves}"
fi
"""
SOLVE = """\
#!/bin/bash
# The patch that earns 1.
set -e
cd {workdir}
git apply --whitespace=nowarn "$(dirname "$0")/gold.patch"
"""
_COPY = re.compile(r"^(?:COPY|ADD) +((?:--\S+ +)*)(.+)$", re.MULTILINE)


def draft(env: SweEnv, task_id: str) -> FolderDraft:
    """The folder of one task. Raises TaskError, ValueError for an image that nobody else could have."""
    task = env.find(task_id)
    dockerfile, files = _image(env, task)
    user = "forge" if re.search(r"^USER forge$", dockerfile, re.MULTILINE) else None
    scrub = task.files is None
    files |= {f"repository/{path}": text.encode() for path, text in (task.files or {}).items()}
    files |= {"bake.sh": _bake().encode(), "start.sh": git.start(scrub=scrub).encode()}
    copied = "COPY repository /opt/forge/start/repository\n" if task.files is not None else ""
    dockerfile += (
        f"\nUSER root\n{copied}COPY bake.sh start.sh /opt/forge/\nRUN bash /opt/forge/bake.sh\n"
        + (f"USER {user}\n" if user else "")
        + f"WORKDIR {WORKDIR}\n"
    )
    limits = asdict(env.ground.limits)
    return FolderDraft(
        task=task.id,
        instruction=f"{asked(task)}\n\n{WORDS.format(workdir=WORKDIR)}",
        environment={"Dockerfile": dockerfile.encode(), **files},
        solution={
            "solve.sh": SOLVE.format(workdir=WORKDIR).encode(),
            "gold.patch": task.patch.encode(),
        },
        judge="swe",
        stored={
            "task": store_swe(task),
            "leaves": LEAVES,
            "user": user,
            "guard": env.guard,
            "timeout": env.eval_timeout,
            "limits": limits,
        },
        take=_take(env.patch_limit),
        user=user,
        agent_seconds=env.max_turns * env.command_timeout,
        verifier_seconds=env.eval_timeout + STARTING + 2 * APPLYING + SPARE,
        resources=limits,
        variables=ENVIRONMENT,
        keywords=("software-engineering", "python") if user else ("software-engineering",),
        differs=(
            "Nothing is submitted: the repository is judged as it is when the agent stops; in the world what "
            "is not submitted earns 0.",
            "No limit of turns, of a command's time or of the output that is shown, but the agent's timeout: "
            "all that the world's turns may take.",
            "The scaffold is the agent's own: no str_replace_edit and no edit_via_str_replace.",
            *(() if user else ("The image's user is root: who is judged could read and write what judges.",)),
        ),
    )


def _bake() -> str:
    variables = " ".join(f"{key}={shlex.quote(value)}" for key, value in {**ENVIRONMENT, **FIRST_DAY}.items())
    return BAKE.format(variables=variables, workdir=WORKDIR, own=OWN, saved=SAVED)


def _take(limit: int) -> str:
    take = git.take(OWN, f"$(cat {OWN}/tree)")
    return TAKE.format(
        take=take, leaves=LEAVES, refused=REFUSED, workdir=WORKDIR, taking=TAKING, own=OWN, limit=limit
    )


# -- images ----------------------------------------------------------------------------------------------


def _image(env: SweEnv, task: SweTask) -> tuple[str, dict[str, bytes]]:
    """The first part of the Dockerfile, which ends as root, and the files that it copies."""
    if task.files is not None:
        return on_debian(task.image)
    kind, _, place = env.tasks.source.partition(":")
    folder = Path(place).expanduser() / "tasks" / task.id
    if kind == "repo" and (folder / "Dockerfile").is_file():
        return _own_image(task, folder)
    if task.image.startswith("forge/"):
        raise ValueError(f"task {task.id!r}: its image {task.image!r} is on this machine only")
    path = f"ENV {IMAGE_PATH}=$PATH\nENV PATH={CONDA}:$PATH\n"
    return f"FROM {task.image}\nUSER root\n{path}", {}


def _own_image(task: SweTask, folder: Path) -> tuple[str, dict[str, bytes]]:
    """The Dockerfile of a task repository's folder, and no file but those that it copies."""
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    files: dict[str, bytes] = {}
    for options, words in _COPY.findall(text):
        if "--from" in options:
            continue
        for name in shlex.split(words)[:-1]:
            if not (folder / name).is_file():
                raise ValueError(
                    f"task {task.id!r}: its Dockerfile copies {name!r}, which is no file of {folder}; "
                    "a folder would take gold and tests along"
                )
            files[name] = (folder / name).read_bytes()
    dockerfile, more = based_on(text)
    return f"{dockerfile}\n{TOOLS}", {**files, **more}
