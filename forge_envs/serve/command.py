"""`forge-envs serve`: its arguments, and the start."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from forge_envs.errors import NotInstalled
from forge_envs.registry import world_ids
from forge_envs.serve.limits import ServeLimits, check_exposure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    limits = ServeLimits()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8123, help="0 takes a free one (default 8123)")
    parser.add_argument(
        "--token",
        help="what clients must send; better the variable FORGE_TOKEN, which no list of processes shows",
    )
    parser.add_argument(
        "--worlds", nargs="+", metavar="ID", help="worlds to serve; by default all that work here"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NAME",
        help="a further argument that clients may give; may repeat",
    )
    for name, what in (
        ("max_sessions", "worlds held at once"),
        ("idle", "seconds without use after which a session ends"),
        ("step_timeout", "seconds that a call into a world may take"),
        ("max_bytes", "size of a message"),
        ("max_turns", "what a client may give as max_turns"),
        ("grace", "seconds that running steps have at shutdown"),
    ):
        default = getattr(limits, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            help=f"{what} (default {default:.12g})",
        )


def run(args: argparse.Namespace, given: Mapping[str, Any]) -> int:
    """Serve until a signal. Raises ValueError for what was said wrongly, and NotInstalled."""
    names = ("max_sessions", "idle", "step_timeout", "max_bytes", "max_turns", "grace")
    limits = ServeLimits(**{name: getattr(args, name) for name in names})
    token = args.token if args.token is not None else os.environ.get("FORGE_TOKEN") or None
    check_exposure(args.host, token)
    try:
        from forge_envs.serve import app, offer, server
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{error.name} is not installed: pip install 'forge-envs[serve]'") from None
    bound = server.listen(args.host, args.port)
    try:
        offered = offer.Offer(
            args.worlds or world_ids(), limits=limits, given=given, allow=args.allow, skip=not args.worlds
        )
        for id, why in offered.left_out.items():
            print(f"forge-envs: {id} is not served: {why}", file=sys.stderr)
        host, port = bound.getsockname()[:2]
        where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        print(f"forge-envs: {', '.join(offered.worlds)} at {where}", flush=True)
        return server.run(app.make_app(offered, limits, token), limits, bound)
    finally:
        bound.close()
