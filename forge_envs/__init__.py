"""Multi-turn worlds for language agents: `gymnasium.make("forge_envs:Forge/Retail-v0")`."""

from __future__ import annotations

from forge_envs.env import AgentEnv, Episode, Task, opening
from forge_envs.errors import MachineError, TaskError, ToolError
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.registry import register, world_ids
from forge_envs.rewards import Criterion, Rubric, Score
from forge_envs.tools import tool

__all__ = [
    "AgentEnv",
    "Criterion",
    "Episode",
    "MachineError",
    "Message",
    "Observation",
    "Rubric",
    "Score",
    "Task",
    "TaskError",
    "ToolCall",
    "ToolError",
    "opening",
    "register",
    "tool",
    "world_ids",
]

register("Forge/Retail-v0", "forge_envs.worlds.retail.env:RetailEnv")
register("Forge/Airline-v0", "forge_envs.worlds.airline.env:AirlineEnv")
register("Forge/Telecom-v0", "forge_envs.worlds.telecom.env:TelecomEnv")
register("Forge/Tau1-v0", "forge_envs.worlds.tau.tau1:Tau1Env")
register("Forge/Tau2-v0", "forge_envs.worlds.tau.tau2:Tau2Env")
register("Forge/ToolUse-v0", "forge_envs.worlds.tooluse.env:ToolUseEnv")
register("Forge/BFCL-v0", "forge_envs.worlds.bfcl.env:BfclEnv")
register("Forge/SWE-v0", "forge_envs.worlds.swe.env:SweEnv", nondeterministic=True)
register("Forge/Agentless-v0", "forge_envs.worlds.agentless.env:AgentlessEnv", nondeterministic=True)
register("Forge/Polyglot-v0", "forge_envs.worlds.polyglot.env:PolyglotEnv", nondeterministic=True)
register("Forge/ToolFolder-v0", "forge_envs.worlds.toolfolder.env:ToolFolderEnv")
register("Forge/ToolSim-v0", "forge_envs.worlds.toolfolder.toolsim:ToolSimEnv")
register("Forge/Search-v0", "forge_envs.worlds.search.env:SearchEnv")
register("Forge/Report-v0", "forge_envs.worlds.report.env:ReportEnv")
register("Forge/NextTurn-v0", "forge_envs.wrappers:NextTurn")
for _id, _entry in {
    "Forge/Text-v0": "text:AdoptedText",
    "Forge/Gem-v0": "gem:AdoptedGem",
    "Forge/ReasoningGym-v0": "reasoning_gym:AdoptedReasoningGym",
    "Forge/TextArena-v0": "textarena:AdoptedTextArena",
    "Forge/OpenEnv-v0": "openenv:AdoptedOpenEnv",
}.items():
    register(_id, f"forge_envs.adopted.{_entry}", nondeterministic=True, listed=False)
register("Forge/Remote-v0", "forge_envs.serve.client:RemoteEnv", nondeterministic=True, listed=False)
