"""What we run inside containers, in the words of any shell, for images that hold nothing but a system.

Each says a dot first: `forge_envs.sandbox.engine.MARK`.
"""

from __future__ import annotations

import errno

FIRST = (
    "n=$(({until}-$(date +%s))); env --ignore-signal=CHLD true 2>/dev/null && "
    "exec env --ignore-signal=CHLD sleep $n; exec sleep $n"
)
"""The container's first process sleeps until a second of the epoch, then the container is over and removes
itself. No signal from inside reaches it, and since it ignores its children's deaths the kernel buries them;
where `env` is too old for that they stay, and the box restarts when they fill its process table."""

RUN = (
    'printf .; exec 3>&1 >/dev/null 2>&1; cd -- "$1" 2>&3 || { [ "$2" ] && cd -- "$2"; } || exit 1; '
    'bash "${@:3}" >&3 2>&3 3>&-; code=$?; kill -9 -1; exit $code'
)
"""Runs a command, $3 and on, in folder $1 (or else $2) and kills what it left. `kill -1`
spares its caller and the container's first process, and the kernel does it in one go: nothing forks its way
out."""

SWEEP = "printf .; kill -9 -1"

READ = """
printf .
[ -d "$1" ] && exit 41
[ -e "$1" ] || exit 42
[ -f "$1" ] || exit 43
[ -r "$1" ] || exit 44
exec head -c "$2" -- "$1" 2>/dev/null
"""
"""Writes at most $2 bytes of file $1."""

WRITE = """
printf .
exec 2>/dev/null
why() {
  case $1 in
    *"Not a directory"* | *"File exists"*) exit 45 ;;
    *"No space"* | *"quota exceeded"*) exit 46 ;;
    *"too large"* | *"limit exceeded"*) exit 47 ;;
    *"name too long"*) exit 48 ;;
  esac
  exit 44
}
trap "" XFSZ
[ -d "$1" ] && exit 41
[ -e "$1" ] && [ ! -f "$1" ] && exit 43
said=$(mkdir -p -- "$(dirname -- "$1")" 2>&1) || why "$said"
said=$( { head -c "$2" > "$1"; } 2>&1) || why "$said"
[ -z "$3" ] || chmod +x -- "$1" || exit 44
"""
"""Makes file $1 out of the $2 bytes on standard input; executable if $3 says anything."""

ERRORS = {
    41: errno.EISDIR,
    42: errno.ENOENT,
    43: errno.EPERM,
    44: errno.EACCES,
    45: errno.ENOTDIR,
    46: errno.ENOSPC,
    47: errno.EFBIG,
    48: errno.ENAMETOOLONG,
}
"""What the exit status of READ and WRITE says."""
