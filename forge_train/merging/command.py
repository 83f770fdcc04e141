"""`forge-train merge`: what a person types to make one model of several."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make it known."""
    one = commands.add_parser(
        "merge",
        help="one model out of several that were trained from the same one",
        epilog="The same command goes on where it stopped. docs/algorithms/merge.md tells of the methods.",
    )
    one.add_argument("experts", type=Path, nargs="+", help="runs, checkpoints or model folders")
    one.add_argument("--base", type=Path, help="what they were trained from; only linear does without")
    one.add_argument("--out", type=Path, required=True, help="new folder for the merged model")
    one.add_argument(
        "--method",
        default="sce",
        help="sce (default), sce_paper, linear, task_arithmetic, ties, dare_linear, dare_ties",
    )
    one.add_argument("--weights", type=float, nargs="+", metavar="W", help="one an expert; by default 1 each")
    one.add_argument("--density", type=float, help="share of a weight's entries that count")
    one.add_argument("--scale", type=float, default=1.0, help="the merged change times this (lambda)")
    one.add_argument(
        "--renormalize",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="sce: divide by the weights of the experts that kept an entry, as mergekit does",
    )
    one.add_argument(
        "--consensus",
        choices=["minority", "unanimous", "none"],
        default="minority",
        help="sce_paper: what the mask C keeps",
    )
    one.add_argument("--floor", type=float, default=0.0, help="sce: 1e-6 weighs as mergekit does")
    one.add_argument("--seed", type=int, default=0, help="dare: of the entries that are dropped")
    one.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="by default as theirs")
    one.add_argument("--shard-gb", type=float, default=5.0, help="most gigabytes of a file")
    one.add_argument("--json", action="store_true", help="print what was made as JSON")
    one.set_defaults(command=merge)


def merge(args: argparse.Namespace) -> int:
    """Merge checkpoints and tell how far they lay apart."""
    import torch

    from forge_train.merging.merge import merge as merged
    from forge_train.merging.methods import Recipe

    if args.shard_gb <= 0:
        raise ValueError(f"--shard-gb {args.shard_gb}: it must be more than 0")
    recipe = Recipe(
        method=args.method,
        weights=tuple(args.weights or [1.0] * len(args.experts)),
        density=args.density,
        scale=args.scale,
        renormalize=args.renormalize,
        consensus=args.consensus,
        floor=args.floor,
        seed=args.seed,
    )
    told = merged(
        args.experts,
        args.out,
        recipe,
        base=args.base,
        dtype=getattr(torch, args.dtype) if args.dtype else None,
        shard_bytes=int(args.shard_gb * 1e9),
    )
    if args.json:
        print(json.dumps(told, indent=1))
        return 0
    for expert, length in told.get("changes", {}).items():
        print(f"{expert}: changed by {length:.4g}")
    if "changes" in told:
        changed, opposed = told["merged_change"], told["opposed"]
        print(f"merged: changed by {changed:.4g}; experts oppose each other in {opposed:.1%} of entries")
    print(args.out)
    return 0
