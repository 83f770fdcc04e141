"""What each file of tests costs: `make test ARGS=--dearest=40` prints the dearest.

Processor seconds are those of the test's process, of children that it waited for, and of what is forked from
a server that has torch (tests/train/children.py). Containers, and servers that outlive a test, are not among
them: where the wall shows much more than the processor, a test waits, for
these or for its turn.
"""

from __future__ import annotations

import os
import resource
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Cost:
    """What a file has cost so far."""

    tests: int = 0
    processor: float = 0.0
    wall: float = 0.0


COSTS: dict[str, Cost] = defaultdict(Cost)


def used() -> float:
    """Processor seconds of this process and of its children that have ended."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent) + _forked()


def _forked() -> float:
    """Those of the server that forks children, and of the children that have ended."""
    server = getattr(forkserver._forkserver, "_forkserver_pid", None)
    stat = Path(f"/proc/{server}/stat")
    if server is None or not stat.exists():
        return 0.0
    ticks = stat.read_text().rpartition(")")[2].split()[11:15]  # its own, user and system; its children's
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


class Meter:
    """What was used since it was last asked."""

    def __init__(self) -> None:
        self.before = used()

    def read(self) -> float:
        before, self.before = self.before, used()
        return self.before - before


METER = Meter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dearest", type=int, default=0, metavar="N", help="show the N dearest files of tests")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Each report of a phase takes along what the phase cost, out of a worker too."""
    report = yield
    report.processor = METER.read()
    return report


def pytest_runtest_logreport(report: Any) -> None:
    cost = COSTS[report.nodeid.partition("::")[0]]
    cost.tests += report.when == "call"
    cost.processor += getattr(report, "processor", 0.0)
    cost.wall += report.duration


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--dearest"):
        return
    terminalreporter.section("dearest files")
    rows = [*COSTS.items(), ("the sum", Cost(*(sum(column) for column in _columns())))]
    rows.sort(key=lambda row: -max(row[1].processor, row[1].wall))
    terminalreporter.write_line("processor s   wall s   tests")
    for name, cost in rows[: config.getoption("--dearest") + 1]:
        terminalreporter.write_line(f"{cost.processor:11.1f} {cost.wall:8.1f} {cost.tests:7}  {name}")


def _columns() -> tuple[list[float], ...]:
    costs = COSTS.values()
    return [c.tests for c in costs], [c.processor for c in costs], [c.wall for c in costs]
