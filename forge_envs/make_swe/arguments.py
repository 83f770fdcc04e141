"""The command line of `forge-envs make-swe`; light, so that other commands need not wait for it."""

from __future__ import annotations

import argparse

from forge_envs.typed import folder_to_fill, seconds, whole

PLAY = "play them with gym.make('forge_envs:Forge/SWE-v0', source='repo:{}')"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what `forge-envs make-swe` can be told."""
    parser.add_argument(
        "specs", nargs="*", metavar="SPEC", help="NAME==VERSION, an sdist, a checkout or folder"
    )
    parser.add_argument("--out", type=folder_to_fill, required=True, help="folder of the task repository")
    parser.add_argument(
        "--release-pair",
        action="append",
        default=[],
        metavar="NAME==OLD:NEW",
        dest="pairs",
        help="a task of the old release, judged by the new one's tests; may repeat",
    )
    parser.add_argument("--tasks", type=whole(1), default=20, help="tasks of each package (default 20)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of which bugs are tried (default 0)")
    parser.add_argument("--kinds", nargs="+", default=[], metavar="KIND", help="kinds of bugs (default all)")
    parser.add_argument(
        "--severity",
        default="0.1",
        metavar="[LEAST:]MOST",
        help="share of the tests that a bug may break (default 0.1: at most a tenth)",
    )
    parser.add_argument(
        "--needs",
        nargs="+",
        default=[],
        metavar="PACKAGE",
        help="packages that the tests need and nothing declares",
    )
    parser.add_argument("--split", default="test", help="the split they are written to (default test)")
    parser.add_argument(
        "--repeats", type=whole(1), default=3, help="runs that find unreliable tests (default 3)"
    )
    parser.add_argument("--timeout", type=seconds, default=60.0, help="seconds for the tests (default 60)")


def read_severity(text: str) -> tuple[float, float]:
    """Least and most of `[LEAST:]MOST`. Raises ValueError.

    >>> read_severity("0.1"), read_severity("0.02:0.3")
    ((0.0, 0.1), (0.02, 0.3))
    """
    least, _, most = text.rpartition(":")
    try:
        found = (float(least or 0), float(most))
    except ValueError:
        found = (1.0, 0.0)
    if not 0 <= found[0] <= found[1] <= 0.5 or not found[1]:
        raise ValueError(
            f"--severity {text!r}: write the largest share of the tests that a bug may break, above 0 and at "
            "most 0.5, or the least and the largest: 0.02:0.2"
        )
    return found


def run(args: argparse.Namespace) -> int:
    """Run `forge-envs make-swe`. Raises ValueError, ImportError and SandboxError for the caller to tell."""
    from forge_envs.make_swe.main import make
    from forge_envs.make_swe.settings import Settings

    settings = Settings(
        args.out,
        args.tasks,
        args.seed,
        args.kinds,
        args.split,
        args.repeats,
        args.timeout,
        read_severity(args.severity),
        args.needs,
    )
    made = make(args.specs, args.pairs, settings)
    print(f"{len(made)} tasks in {args.out}; {PLAY.format(args.out)}")
    return 0
