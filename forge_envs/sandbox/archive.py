"""A folder of a box as bytes, through the four verbs: commands are stateless, so the folder is the state."""

from __future__ import annotations

from shlex import quote

from forge_envs.sandbox.base import Sandbox, SandboxError


def pack(box: Sandbox, folder: str = ".", *, limit: int = 256_000_000, timeout: float = 120.0) -> bytes:
    """All of `folder` (seen from the box's workdir) as a compressed tar: modes, links and times included.

    What the box's user cannot read is left out. Raises ValueError past `limit` compressed bytes,
    FileNotFoundError, and SandboxError.
    """
    made = box.run(
        f"[ -d {quote(folder)} ] || exit 44; f=$(mktemp) && "
        f'tar --sparse --ignore-failed-read --warning=none -C {quote(folder)} -czf "$f" . && echo "$f"',
        timeout=timeout,
    )
    if made.code == 44:
        raise FileNotFoundError(f"there is no folder {folder!r} to pack")
    name = made.output.strip().rpartition("\n")[2]
    if made.code != 0 or not name.startswith("/"):
        raise _failed("packed", folder, made.output)
    try:
        return box.read(name, limit=limit)
    finally:
        box.run(f"rm -f {quote(name)}")


def unpack(box: Sandbox, data: bytes, folder: str = ".", *, timeout: float = 120.0) -> None:
    """Make `folder` hold what `pack` saw, and nothing else. Raises SandboxError."""
    place = quote(folder)
    made = box.run(
        f"mkdir -p {place} && chmod -R u+rwX {place} && find {place} -mindepth 1 -delete && mktemp",
        timeout=timeout,
    )
    name = made.output.strip().rpartition("\n")[2]
    if made.code == 0:
        box.write(name, data)
        made = box.run(f"tar --warning=none -C {place} -xpzf {quote(name)}", timeout=timeout)
        box.run(f"rm -f {quote(name)}")
    if made.code != 0:
        raise _failed("unpacked", folder, made.output)


def _failed(what: str, folder: str, said: str) -> SandboxError:
    return SandboxError(
        f"{folder!r} was not {what}: {said.strip()[-300:] or 'tar said nothing'}",
        kind="archive",
        retryable=False,
    )
