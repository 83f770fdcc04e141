"""`forge-envs audit`: run somebody else's environment and find what would corrupt training in it.

`forge_envs.testing` proves that our own worlds keep a contract they know of; an audit treats its target from
outside, in a process that can be killed, and says of each finding how it is seen again.
"""

from __future__ import annotations

from forge_envs.audit.bench import Budget
from forge_envs.audit.child import NotStarted
from forge_envs.audit.finding import Checked, Defect, Skipped
from forge_envs.audit.run import Audit, audit
from forge_envs.audit.target import Target, target_of

__all__ = ["Audit", "Budget", "Checked", "Defect", "NotStarted", "Skipped", "Target", "audit", "target_of"]
