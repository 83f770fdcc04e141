"""The command `edit_via_str_replace`, which replaces a text that occurs exactly once in a file.

The world copies this file as it stands into the box, outside the repository, and runs it there with whatever
Python 3 the image has: it imports the standard library alone and is written for 3.6. Exit status: 0 done,
2 not found, 3 found more than once, 1 anything else.
"""

import os
import shutil
import sys
import tempfile

USAGE = """usage: edit_via_str_replace FILE OLD NEW
Replaces OLD, which must occur exactly once in FILE, by NEW. With OLD empty, makes FILE, which must not exist.
Exit status: 0 done, 2 not found, 3 found more than once, 1 anything else."""
CONTEXT = 4
"""Lines shown before and after what was changed."""


def main(arguments: "list[str]") -> int:
    """Do what the command line asks for, tell how it went, and return the exit status."""
    if len(arguments) != 3:
        print(USAGE)
        return 1
    try:
        return edit(*(os.fsencode(argument) for argument in arguments))
    except OSError as error:
        print("{}: {}".format(arguments[0], error.strerror or error))  # noqa: UP032
        return 1


def edit(path: bytes, old: bytes, new: bytes) -> int:
    """Replace `old` by `new` in the file at `path`; raises OSError."""
    name = os.fsdecode(path)
    if old == new:
        print("OLD and NEW are the same, nothing was changed")
        return 1
    if not old:
        if os.path.exists(path) and os.path.getsize(path):
            print(name + " exists: OLD cannot be empty")
            return 1
        os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
        return save(path, new, 0, new)
    with open(path, "rb") as file:
        text = file.read()
    found = text.count(old)
    if found == 0:
        print("OLD does not occur in " + name + ", nothing was changed; it must match to the last blank")
        return 2
    if found > 1 or text.find(old, text.find(old) + 1) >= 0:
        print(
            "OLD occurs more than once in "
            + name
            + ", nothing was changed; add lines around it until it is unique"
        )
        return 3
    at = text.find(old)
    return save(path, text[:at] + new + text[at + len(old) :], at, new)


def save(path: bytes, text: bytes, at: int, new: bytes) -> int:
    """Write the file in one go, with its mode, through links; show the lines around what is new."""
    path = os.path.realpath(path)
    handle, beside = tempfile.mkstemp(dir=os.path.dirname(path) or b".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        if os.path.exists(path):
            shutil.copymode(path, beside)
        else:
            os.chmod(beside, 0o644)
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise
    first = text.count(b"\n", 0, at)
    last = first + new.count(b"\n")
    lines = text.split(b"\n")
    for number in range(max(0, first - CONTEXT), min(len(lines), last + CONTEXT + 1)):
        print("{:>6}  {}".format(number + 1, lines[number].decode("utf-8", "replace")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
