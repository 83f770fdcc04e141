"""`forge-envs make-swe`: packages in, a swebench 5 task repository out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from forge_envs.make_swe import store
from forge_envs.make_swe.bugs import BugMaker
from forge_envs.make_swe.errors import MakeError
from forge_envs.make_swe.kinds import known_kinds
from forge_envs.make_swe.package import fetch
from forge_envs.make_swe.release import make_release
from forge_envs.make_swe.settings import Settings, open_lab
from forge_envs.sandbox.progress import Progress, progress


def make(
    specs: Sequence[str], pairs: Sequence[str], settings: Settings, show: Progress | None = None
) -> list[str]:
    """Make tasks of bugs in packages, and of the differences between releases; returns the ids of all.

    A pair is written NAME==OLD:NEW. Raises ValueError for settings that make no sense, SandboxError; and
    MakeError, after all others were tried, for packages that give no tasks.
    """
    kinds = known_kinds(settings.kinds)
    if settings.tasks < 1 or settings.repeats < 1 or settings.timeout <= 0:
        raise ValueError(
            f"tasks={settings.tasks}, repeats={settings.repeats}, timeout={settings.timeout}: none can be 0"
        )
    if not specs and not pairs:
        raise ValueError("make tasks of what? Give a SPEC such as inflection==0.5.1, or a --release-pair")
    store.require_swebench()
    jobs: list[Callable[[Progress], list[str]]] = [
        *(partial(_make_bugs, spec, kinds, settings) for spec in specs),
        *(partial(make_release, pair, settings) for pair in pairs),
    ]
    made: list[str] = []
    refused: list[MakeError] = []
    with progress(show) as shown:
        settings.out.mkdir(parents=True, exist_ok=True)
        store.write_config(settings.out, settings.split)
        for job in jobs:
            try:
                made += job(shown)
            except MakeError as error:  # the others may still give tasks
                refused.append(error)
                shown.step(f"left out: {error}")
            else:
                _compile(settings, shown)
    if len(refused) > 1:
        raise MakeError(f"{len(made)} tasks made; " + "\n".join(map(str, refused)))
    if refused:
        raise refused[0]
    return made


def _make_bugs(spec: str, kinds: Sequence[str], settings: Settings, show: Progress) -> list[str]:
    show.step(f"{spec}: fetching")
    package = replace(fetch(spec, settings.out / ".make" / "sdists"), extra=tuple(settings.needs))
    with open_lab(package, settings, show) as (box, base, state):
        maker = BugMaker(
            package,
            box,
            base,
            state,
            settings.out,
            settings.seed,
            kinds,
            settings.split,
            settings.severity,
            show,
        )
        return maker.make(settings.tasks)


def _compile(settings: Settings, show: Progress) -> None:
    if any((settings.out / "tasks").glob("*/task.yaml")):
        counts = store.compile_rows(settings.out)
        show.step(f"{settings.out}: " + ", ".join(f"{n} rows in {split}" for split, n in counts.items()))
