"""Harbor task folders: `export` writes them, `grade` is what runs in them, both of Forge's own judges.

Tried with Harbor 0.26.0, task schema 1.4: its lint, and `harbor run` with its oracle and its no-op agent.

## What it cannot carry

- A conversation: worlds where somebody answers between the agent's turns, and a second try after failed
  tests, are refused.
- Turn rewards: Harbor knows one reward a task. Named parts travel beside it in reward.json.
- The scaffold: the agent brings its own, without a call that submits and without limits of turns and
  commands; what is there when it stops is judged.
- A machine's failure is told by writing no reward file. Harbor's trial then has an error and no reward;
  whoever reads a missing reward as 0 does so on their own account.
- Where a consumer judges in the agent's own container, a repository is brought back to what it was before the
  agent's patch is applied; what else the agent did to that container, and what it left running, stays.
"""
