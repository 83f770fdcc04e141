"""An audit as a table for a person, as JSON, and in OpenEnv's own report form."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterable
from typing import Any

from forge_envs.audit.finding import Checked
from forge_envs.audit.run import Audit

WIDE = 110
OPENENV = {"clean": "pass", "skipped": "skip", "fact": "fail", "suspicion": "fail"}
"""Our words for a result in OpenEnv's; a suspicion says so in its evidence."""
LEVELS = {"static": 1, "runtime": 2, "semantic": 3}


def line(result: Checked) -> str:
    """One row of the table, and under it the evidence."""
    head = f"{result.status:<10} {result.check:<30} "
    if result.finding is None:
        text = head + (result.asks if result.skipped is None else result.skipped)
        return textwrap.shorten(text, WIDE * 2) if result.skipped else text
    found = result.finding
    block = textwrap.indent(f"{found.seen}\n{textwrap.indent(found.again, '    ')}", " " * 11)
    return f"{head}{found.claim}\n{block}"


def summary(results: Iterable[Checked]) -> str:
    """The last line of the table."""
    counts = {status: 0 for status in ("fact", "suspicion", "clean", "skipped")}
    for result in results:
        counts[result.status] += 1
    found = f"{counts['fact']} facts, {counts['suspicion']} suspicions"
    return f"{found}; {counts['clean']} checks clean, {counts['skipped']} not made"


def as_json(audit: Audit) -> dict[str, Any]:
    """Everything, for a program."""
    return {"target": audit.target, "results": [result.as_dict() for result in audit.results]}


def as_openenv(audit: Audit, signature: str = "openenv.yaml") -> dict[str, Any]:
    """The audit as OpenEnv's report, version 1 of its form; checks it has no id for are `forge.*`.

    It carries no manifest and no digest of sources, since an audit sees a running target and no package.
    """
    failed = [result for result in audit.results if result.finding is not None]
    facts = any(result.status == "fact" for result in failed)
    return {
        "report_schema_version": "1",
        "target": audit.target,
        "source_digest": hashlib.sha256(audit.target.encode()).hexdigest(),
        "signature": signature,
        "manifest": None,
        "policy_version": "forge-audit-1",
        "lane": "local",
        "levels_run": sorted({LEVELS.get(r.check.partition(".")[0], 2) for r in audit.results}),
        "results": [_graded(result) for result in audit.results],
        "verdict": "fail" if facts else "warn" if failed else "pass",
    }


def _graded(result: Checked) -> dict[str, Any]:
    evidence: list[str] = [] if result.skipped is None else [result.skipped]
    if result.finding is not None:
        found = result.finding
        evidence = [f"{found.certainty}: {found.claim}", found.seen, found.again]
    return {
        "check_id": result.check,
        "status": OPENENV[result.status],
        "measured": {},
        "evidence": evidence,
        "remediation": None,
        "duration_s": result.seconds,
    }
