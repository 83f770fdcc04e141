"""The command `edit_via_str_replace`, which replaces a text that occurs exactly once in a file.

The world copies this file as it stands into the box, outside the repository, and runs it there with whatever
Python 3 the image has: it imports the standard library alone and is written for 3.6. Exit status: 0 done,
2 not found, 3 found more than once, 1 anything else.

Ends of lines are no part of the search: an agent does not see them. What is not changed keeps its own; what
is new gets the file's.
"""

import os
import re
import shutil
import sys
import tempfile
from collections import Counter

USAGE = """usage: edit_via_str_replace FILE OLD NEW
Replaces OLD, which must occur exactly once in FILE, by NEW. With OLD empty, makes FILE, which must not exist.
Lines may end as they like in OLD and NEW: the file's ends of lines are matched and written.
Exit status: 0 done, 2 not found, 3 found more than once, 1 anything else."""
CONTEXT = 4
"""Lines shown before and after what was changed."""
ENDS = re.compile(b"\r\n|\n|\r")
LOOKED_AT = 20000
"""Lines of a file in which something like OLD is looked for."""
TOLD = 5
"""Places that are told of a text that occurs more than once."""


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
            print(name + " exists: OLD cannot be empty; give lines of it, and in NEW the same with more")
            return 1
        os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
        return save(path, new, 0, new)
    if plain(old) == plain(new):
        print("OLD and NEW differ in the ends of lines alone, which an edit keeps; change them with sed")
        return 1
    with open(path, "rb") as file:
        text = file.read()
    whole, wanted = plain(text), plain(old)
    at = whole.find(wanted)
    if at < 0 and wanted.endswith(b"\n") and len(wanted) > 1 and whole.endswith(wanted[:-1]):
        # OLD ends its last line, which is the file's and has no end: neither gets one
        wanted, new = wanted[:-1], re.sub(b"(\r\n|\n|\r)\\Z", b"", new)
        at = len(whole) - len(wanted)
    if at < 0:
        print("OLD does not occur in " + name + ", nothing was changed; it must match to the last blank")
        print(nearest(whole, wanted))
        return 2
    if whole.find(wanted, at + 1) >= 0:
        print("OLD occurs more than once in " + name + ", nothing was changed: in " + places(whole, wanted))
        print("Add lines around it until it is unique")
        return 3
    start, end = (position(text, whole, place) for place in (at, at + len(wanted)))
    written = ended(text, text[start:end], new)
    return save(path, text[:start] + written + text[end:], start, written)


# -- ends of lines ----------------------------------------------------------------------------------------


def plain(text: bytes) -> bytes:
    """The text with every end of a line written the same."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def position(text: bytes, whole: bytes, place: int) -> int:
    """Where a place of the plain text is in the text."""
    count = whole.count(b"\n", 0, place)
    if not count:
        return place
    for number, end in enumerate(ENDS.finditer(text), 1):
        if number == count:
            return end.end() + place - whole.rfind(b"\n", 0, place) - 1
    raise AssertionError("both have as many lines")


def ended(text: bytes, old: bytes, new: bytes) -> bytes:
    """`new` with the ends of lines of the file `text`, in which it takes the place of `old`.

    Lines at the beginning and at the end of `new` that are lines of `old` keep the ends these have.
    """
    ends = Counter(ENDS.findall(text))
    most = max(ends, key=lambda end: (ends[end], end == b"\n")) if ends else b"\n"
    before, after = lines_of(old), lines_of(new)
    if not ends:
        return new
    same = 0
    while same < min(len(before), len(after)) and before[same][0] == after[same][0]:
        same += 1
    last = 0
    while last < min(len(before), len(after)) - same and before[-1 - last][0] == after[-1 - last][0]:
        last += 1
    written = []  # type: list[bytes]
    for number, (line, end) in enumerate(after):
        rest = len(after) - number
        kept = before[number][1] if number < same else before[-rest][1] if rest <= last else b""
        alone = end == b"\r" and after[number + 1][0]  # within a line, such as one of a progress bar
        piece = line + (end and (kept or (end if alone else most)))
        if piece.startswith(b"\n") and written and written[-1].endswith(b"\r"):
            piece = b"\r" + piece[1:]  # or the two ends would become one
        written.append(piece)
    return b"".join(written)


def lines_of(text: bytes) -> "list[tuple[bytes, bytes]]":
    """The lines and their ends; the last has none."""
    parts = [*re.split(b"(\r\n|\n|\r)", text), b""]
    return list(zip(parts[::2], parts[1::2]))  # noqa: B905


# -- what the agent is told -----------------------------------------------------------------------------


def places(whole: bytes, wanted: bytes) -> str:
    """The lines where a text begins."""
    found = []  # type: list[str]
    at = whole.find(wanted)
    while at >= 0 and len(found) <= TOLD:
        found.append(str(whole.count(b"\n", 0, at) + 1))
        at = whole.find(wanted, at + 1)
    rest = " and more" if len(found) > TOLD else ""
    return "lines " + ", ".join(found[:TOLD]) + rest


def nearest(whole: bytes, wanted: bytes) -> str:
    """Lines like those of a text that does not occur: the same but for blanks, else of the same words."""
    lines, part = whole.split(b"\n")[:LOOKED_AT], wanted.strip(b"\n").split(b"\n")
    bare = [b"".join(line.split()) for line in lines]
    searched = [b"".join(line.split()) for line in part]
    for at in range(len(bare) - len(searched) + 1):
        if bare[at] == searched[0] and bare[at : at + len(searched)] == searched:
            return "These lines are the same but for blanks:\n" + shown(lines, at, at + len(part))
    missing = Counter(word for line in part for word in words(line))
    total, common, held, best, place = sum(missing.values()), 0, 0, 0.5, -1
    for at, line in enumerate(lines):
        # `missing` holds what OLD has more of than the last lines, as many as OLD has
        for word in words(line):
            common += missing[word] > 0
            missing[word] -= 1
            held += 1
        for word in words(lines[at - len(part)]) if at >= len(part) else ():
            missing[word] += 1
            common -= missing[word] > 0
            held -= 1
        if 2 * common > best * (total + held):
            best, place = 2.0 * common / (total + held), max(0, at - len(part) + 1)
    if place < 0:
        return "No lines are like it: look at the file again"
    return "These lines are like it:\n" + shown(lines, place, min(place + len(part), place + 40))


def words(line: bytes) -> "list[bytes]":
    """Words and marks of a line."""
    return re.findall(b"\\w+|[^\\w\\s]", line[:1000])


def shown(lines: "list[bytes]", first: int, last: int) -> str:
    """Lines with numbers; a tab at their beginning, which looks like blanks, is written as two signs."""
    told = []
    for number in range(first, min(last, len(lines))):
        line = lines[number].decode("utf-8", "replace")
        start = line[: len(line) - len(line.lstrip("\t "))]
        told.append("{:>6}  {}{}".format(number + 1, start.replace("\t", "\\t"), line[len(start) :]))
    return "\n".join(told)


# -- writing ----------------------------------------------------------------------------------------------


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
    first = plain(text[:at]).count(b"\n")
    last = first + plain(new).count(b"\n")
    lines = plain(text).split(b"\n")
    for number in range(max(0, first - CONTEXT), min(len(lines), last + CONTEXT + 1)):
        print("{:>6}  {}".format(number + 1, lines[number].decode("utf-8", "replace")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
