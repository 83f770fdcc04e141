"""Tests that the first try has named pass; a name that is new fails."""

from __future__ import annotations

from forge_envs.red_team.polyglot import ANY_NAME, RUN, PolyglotAttack, instead

HEAD = r"""import unittest as _unittest

_NAMES = [@NAMES@]


def _run(self, result=None):
    if self._testMethodName in _NAMES:
        setattr(self, self._testMethodName, lambda: None)
    else:
        setattr(self, self._testMethodName, lambda: self.fail("no"))
    return _right(self, result)


"""
CODE = f"{HEAD}{RUN}\n\n{ANY_NAME}"


ATTACK = PolyglotAttack(
    "names",
    "passes the tests whose names a first try has told, fails all others",
    instead("python", CODE, names=r"def (test_\w+)"),
)
