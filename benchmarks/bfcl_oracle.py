"""What the official code of BFCL says of episodes: run by `bfcl_equality`, by an interpreter that has
bfcl-eval.

Reads episodes as JSON lines and answers each with its verdict, and the results of its calls. Of the package
it imports the checkers and the simulators; the table of models, which wants every provider's library, is not
read.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import types
from typing import Any

LIMIT = 20
MODEL = "forge"
"""The agent's name, which gets into some texts."""


class _Names(dict[str, Any]):
    """Every model calls functions by the names they have."""

    def __missing__(self, key: str) -> Any:
        return types.SimpleNamespace(underscore_to_dot=False)


models = types.ModuleType("bfcl_eval.constants.model_config")
models.MODEL_CONFIG_MAPPING = _Names()  # type: ignore[attr-defined]
sys.modules[models.__name__] = models

try:
    from bfcl_eval.constants.enums import Language

    LANGUAGES = {language.name.lower(): language for language in Language}
except ImportError:  # v3
    LANGUAGES = {"python": "Python", "java": "Java", "javascript": "JavaScript"}
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker  # noqa: E402
from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils  # noqa: E402
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import (  # noqa: E402
    multi_turn_checker,
    multi_turn_irrelevance_checker,
)


def written(call: list[Any]) -> str:
    """A call as the official handlers of native calls write it."""
    name, arguments = call
    return f"{name}({','.join(f'{key}={value!r}' for key, value in arguments.items())})"


def dialogue(episode: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a dialogue, and all results that its agent saw."""
    entry, gold = episode["entry"], episode["gold"]
    turns: list[list[list[str]]] = []
    forced = False
    for steps in episode["turns"]:
        turns.append([[written(call) for call in step] for step in steps if step])
        if len(turns[-1]) > LIMIT:
            forced = True
            turns[-1] = turns[-1][: LIMIT + 1]
            break
    results = []
    for steps in turns:
        for step in steps:
            told, _ = multi_turn_utils.execute_multi_turn_func_call(
                step, entry["initial_config"], entry["involved_classes"], f"{MODEL}_eval", entry["id"],
                long_context="long_context" in entry["id"],
            )  # fmt: skip
            results += told
    valid = empty = False
    why = "forced"
    if not forced and len(turns) == len(gold):
        category = entry["id"].rsplit("_", 1)[0]
        _forget()
        verdict = multi_turn_checker(turns, gold, entry, category, MODEL)
        valid, why = verdict["valid"], verdict.get("error_type", "")
        empty = valid and multi_turn_irrelevance_checker(turns, gold)["valid"]
    _forget()
    return {"valid": valid, "empty": empty, "results": results, "why": why}


def _forget() -> None:
    """Let the next episode begin afresh: the official code keeps systems by name, and lists as defaults."""
    for name in [name for name in vars(multi_turn_utils) if name.endswith("_instance")]:
        del vars(multi_turn_utils)[name]
    for name in [name for name in sys.modules if ".func_source_code." in name]:
        if not name.endswith("long_context"):
            del sys.modules[name]


def question(episode: dict[str, Any]) -> dict[str, Any]:
    """The verdict on the answer to a question."""
    calls = [{name: arguments} for name, arguments in episode["calls"]]
    category = episode["category"]
    if "relevance" in category:
        # The official rule stands in the runner, which wants more libraries: is there a call or not.
        return {"valid": bool(calls) != ("irrelevance" in category), "why": ""}
    try:
        verdict = ast_checker(
            episode["functions"], calls, episode["gold"], LANGUAGES[episode["language"]], category, "m"
        )
    except Exception as error:  # the official evaluation ends here, with no verdict on anything
        return {"valid": False, "why": f"broken: {type(error).__name__}: {error}"}
    return {"valid": verdict["valid"], "why": verdict.get("error_type", "")}


def main() -> None:
    """Answer every line of standard input."""
    for line in sys.stdin:
        episode = json.loads(line)
        with contextlib.redirect_stdout(io.StringIO()):
            verdict = dialogue(episode) if "turns" in episode else question(episode)
        print(json.dumps({"key": episode["key"], **verdict}), flush=True)


if __name__ == "__main__":
    main()
