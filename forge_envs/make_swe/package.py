"""A package as files in memory, from an index, a source distribution, a git checkout or a folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from forge_envs.make_swe.errors import MakeError, NoTests, UnknownPackage
from forge_envs.make_swe.index import download
from forge_envs.make_swe.needs import needs
from forge_envs.make_swe.unfit import generated, unfit

LARGEST = 5_000_000
"""Bytes; a file that is larger is left out."""
WRITTEN = 1_704_067_200
"""When all files of an archive were written: 2024-01-01. Wheels cannot hold times before 1980 (flit asks)."""
GIT = 120.0
"""Seconds that one git command may take."""
TEST_FOLDERS = frozenset({"test", "tests"})
LEFT_OUT = frozenset(
    {".git", ".hg", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__", ".eggs", "dist"}
)
NO_SOURCE = frozenset(
    {"docs", "doc", "examples", "example", "benchmarks", "bench", "build", "tools", "scripts"}
)
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(==([A-Za-z0-9.!+_-]+))?")


@dataclass(frozen=True)
class Package:
    """A repository, before anything is done to it."""

    name: str
    version: str
    files: Mapping[str, bytes]
    programs: frozenset[str] = frozenset()
    """Files that can be executed."""
    extra: tuple[str, ...] = ()
    """What pip is asked for on top of what is declared."""

    @property
    def label(self) -> str:
        """Name and version for folders, images and task ids."""
        return re.sub(r"[^a-z0-9.]+", "-", f"{self.name}-{self.version}".lower()).strip("-.")

    @cached_property
    def digest(self) -> str:
        """A hash of everything in it, and of what is asked for on top."""
        return hashlib.sha256(self.archive + repr(self.extra).encode()).hexdigest()[:16]

    @cached_property
    def archive(self) -> bytes:
        """A `.tar.gz` that is the same for the same files."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path, data in sorted(self.files.items()):
                entry = tarfile.TarInfo(path)
                entry.mtime = WRITTEN
                entry.size, entry.mode = len(data), 0o755 if path in self.programs else 0o644
                tar.addfile(entry, io.BytesIO(data))
        return gzip.compress(raw.getvalue(), mtime=0)

    @property
    def sources(self) -> list[str]:
        """Python files where bugs can be planted."""
        return [
            path
            for path in sorted(self.files)
            if path.endswith(".py")
            and not is_test(path)
            and _is_source(path)
            and not generated(path, self.files[path])
        ]

    @property
    def tests(self) -> list[str]:
        """Files of tests and what is beside them. Raises NoTests."""
        found = [path for path in sorted(self.files) if is_test(path)]
        if not any(path.endswith(".py") and PurePosixPath(path).name != "__init__.py" for path in found):
            raise NoTests(
                f"{self.label}: there are no tests in it (no test_*.py, no folder tests/ with Python files). "
                "Some source distributions leave them out: give a git checkout of the package instead"
            )
        return found

    @property
    def targets(self) -> list[str]:
        """What to give to pytest: the topmost folders of tests, and test files outside of them."""
        found = set()
        for path in self.tests:
            pure = PurePosixPath(path)
            folders = [folder for folder in [*pure.parents][::-1] if folder.name in TEST_FOLDERS]
            if folders:
                found.add(str(folders[0]))
            elif pure.name != "conftest.py" and pure.suffix == ".py":
                found.add(path)
        return sorted(found)

    @cached_property
    def project(self) -> dict[str, Any]:
        """What pyproject.toml says, empty if there is none."""
        try:
            return tomllib.loads(self.files.get("pyproject.toml", b"").decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise MakeError(f"{self.label}: its pyproject.toml cannot be read: {error}") from error

    @property
    def installs(self) -> bool:
        """Whether pip can install it; else its folder is put on Python's path."""
        return "setup.py" in self.files or "build-system" in self.project or "project" in self.project

    @property
    def needs(self) -> list[str]:
        """What pip is asked for so that the package and its tests run, empty if they need nothing."""
        return [*needs(self.files, self.project, self.installs), *self.extra]


def is_test(path: str) -> bool:
    """Whether a file belongs to the tests, by its name and its folders.

    >>> [is_test(path) for path in ("tests/data/a.txt", "h11/_util.py", "test_schema.py")]
    [True, False, True]
    """
    pure = PurePosixPath(path)
    name = pure.name
    python = name.startswith("test_") or name.endswith(("_test.py", "_tests.py"))
    python = python or name in ("conftest.py", "tests.py", "test.py")
    return not TEST_FOLDERS.isdisjoint(pure.parts[:-1]) or (python and pure.suffix == ".py")


def _is_source(path: str) -> bool:
    pure = PurePosixPath(path)
    return pure.parts[0] not in NO_SOURCE and pure.name not in {
        "setup.py",
        "noxfile.py",
        "conf.py",
        "tasks.py",
    }


def _fit(package: Package, missing: frozenset[str] = frozenset()) -> Package:
    """The package. Raises MakeError where tasks cannot be made of it."""
    if reason := unfit(package.files, missing):
        raise MakeError(f"{package.label}: {reason}")
    return package


def fetch(spec: str, folder: Path) -> Package:
    """The package that a SPEC means; downloads are kept in `folder`. Raises MakeError."""
    path = Path(spec).expanduser()
    if path.is_dir():
        return _from_folder(path.resolve())
    if path.is_file():
        return from_sdist(path)
    match = REQUIREMENT.fullmatch(spec)
    if match is None:
        raise UnknownPackage(
            f"{spec!r} is no file or folder here and no package: write NAME==VERSION, the path of a source "
            "distribution (.tar.gz, .zip), or the path of a checkout"
        )
    return from_sdist(download(spec, match[1], match[3], folder))


def from_sdist(path: Path) -> Package:
    """The package in a source distribution. Raises MakeError."""
    entries = list(_entries(path))
    roots = {name.partition("/")[0] for name, _, _ in entries}
    if len(roots) != 1:
        raise MakeError(f"{path}: a source distribution holds one folder, this archive {len(roots)}")
    cut = len(roots.pop()) + 1
    files = {name[cut:]: data for name, data, _ in entries if len(name) > cut and len(data) <= LARGEST}
    head = HeaderParser().parsestr(files.get("PKG-INFO", b"").decode("utf-8", "replace"))
    stem = re.sub(r"\.(tar\.\w+|zip|tgz)$", "", path.name)
    name, _, version = stem.rpartition("-")
    programs = frozenset(name[cut:] for name, _, program in entries if program)
    return _fit(
        Package(head.get("Name") or name or stem, head.get("Version") or version or "0", files, programs)
    )


def _entries(path: Path) -> Iterator[tuple[str, bytes, bool]]:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from (
                    (i.filename, archive.read(i), False) for i in archive.infolist() if not i.is_dir()
                )
            return
        with tarfile.open(path) as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.isfile() else None
                if file is not None:
                    yield entry.name.removeprefix("./"), file.read(), bool(entry.mode & 0o100)
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise MakeError(f"{path} is no source distribution (.tar.gz or .zip): {error}") from error


def _from_folder(root: Path) -> Package:
    version, missing = "", frozenset[str]()
    if (root / ".git").exists():
        staged = [line.partition("\t") for line in _git(root, "ls-files", "-s", "-z").split("\0")]
        listed = [path for _, _, path in staged]
        missing = frozenset(path for facts, _, path in staged if facts.startswith("160000 "))
        version = f"0+g{_git(root, 'rev-parse', '--short=10', 'HEAD').strip()}"
    else:
        listed = [str(path.relative_to(root)) for path in root.rglob("*")]
    files, programs = _read_files(root, (path for path in listed if path))
    if not files:
        raise MakeError(f"{root} is empty; give a checkout of a Python package with its tests")
    package = Package(root.name, version or "0", files, programs)
    project = package.project.get("project") or package.project.get("tool", {}).get("poetry", {})
    named = _fit(package, missing) and Package(
        project.get("name") or root.name, version or project.get("version") or "0", files, programs
    )
    return (
        named
        if version or named.version != "0"
        else Package(named.name, f"0+{package.digest[:8]}", files, programs)
    )


def _read_files(root: Path, paths: Iterable[str]) -> tuple[dict[str, bytes], frozenset[str]]:
    files: dict[str, bytes] = {}
    programs = set()
    for path in paths:
        full = root / path
        if (
            LEFT_OUT.isdisjoint(PurePosixPath(path).parts)
            and full.is_file()
            and full.stat().st_size <= LARGEST
        ):
            files[path] = full.read_bytes()
            if full.stat().st_mode & 0o100:
                programs.add(path)
    return files, frozenset(programs)


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT)
    except FileNotFoundError as error:
        raise MakeError("git is not installed, and checkouts are read by it: apt-get install git") from error
    except subprocess.TimeoutExpired as error:
        raise MakeError(f"{root}: git {arguments[0]} needs more than {GIT:g} s; is the disk well?") from error
    if done.returncode != 0:
        raise MakeError(
            f"{root}: git {arguments[0]} failed: {done.stderr.strip()}; is it a checkout with a commit?"
        )
    return done.stdout
