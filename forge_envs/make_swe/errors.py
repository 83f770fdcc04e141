"""What can be wrong with a package, each with a name and the fix in its text."""

from forge_envs.errors import TaskError


class MakeError(TaskError):
    """A package that no tasks can be made from."""


class UnknownPackage(MakeError):
    """The index, or the disk, has no such source distribution."""


class NoTests(MakeError):
    """There are no tests in it."""


class TestsFail(MakeError):
    """Its tests fail before anything was changed."""

    __test__ = False  # no test class, whatever its name looks like


class NoBugs(MakeError):
    """No change was found that its tests notice in the right way."""
