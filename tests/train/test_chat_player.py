"""A player behind a chat endpoint: native calls there and back, tokens counted, endpoints that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from forge_envs.grammars import HERMES
from forge_envs.worlds.retail.env import RetailEnv
from forge_train import cli
from forge_train.engine import Sampling
from forge_train.evaluation.evaluate import evaluate
from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
from forge_train.play.episode import play
from forge_train.play.world_pool import World
from tests.endpoint import Endpoint

ECHO, RETAIL, NEXT = (
    "tests.train.worlds:Test/Echo-v0",
    "forge_envs:Forge/Retail-v0",
    "forge_envs:Forge/NextTurn-v0",
)
ARGS = {"size": "full", "level": 3}


def run(answer, *, world=None, task="train/7", seed=0, sampling=None, **settings):
    """One episode against an endpoint that answers so; the trajectory, and what was asked."""

    async def once(endpoint):
        settings.setdefault("deadline", 5)
        spec = ChatEndpoint.parse(endpoint.spec(**settings))
        player = ChatPlayer(spec, sampling or Sampling(temperature=0.5, max_tokens=99))
        try:
            return await play(world or World(ECHO), player, task, seed=seed, group="g", deadline=20)
        finally:
            await player.close()

    with Endpoint(answer) as endpoint:
        return asyncio.run(once(endpoint)), endpoint.asked


def calls(*items, text=None):
    """An assistant message with native calls: (id, name, arguments as text)."""
    return {
        "role": "assistant",
        "content": text,
        "tool_calls": [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id, name, arguments in items
        ],
    }


def gold_by_native_calls(env):
    """An endpoint that knows the gold of every task by its opening, and plays it."""
    tasks = {env.reset(options={"task": t})[0][1]["content"]: t for t in env.task_ids("test", 12)}
    assert len(tasks) == 12, "openings tell tasks apart"

    def answer(body):
        first = next(m["content"] for m in body["messages"] if m["role"] == "user")
        turn = sum(m["role"] == "assistant" for m in body["messages"])
        action = HERMES.parse(env.gold_actions(tasks[first])[turn])
        if not action.calls:
            return action.prose
        return calls(*((f"c{turn}{i}", c.name, json.dumps(c.arguments)) for i, c in enumerate(action.calls)))

    return answer


# -- one episode ---------------------------------------------------------------------------------------


def test_an_episode_is_played_recorded_and_counted():
    t, asked = run(lambda body: "7")
    assert (t.ending, t.outcome, t.segments, t.versions) == ("terminated", 1.0, [], [0, 0, 0])
    assert t.info["usage"] == {"requests": 3, "prompt_tokens": 30, "completion_tokens": 9}
    first = asked[0]
    assert (first["model"], first["temperature"], first["max_completion_tokens"]) == ("m", 0.5, 99)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["look"]
    assert first["messages"] == [
        {"role": "system", "content": "You repeat."},
        {"role": "user", "content": "Say 7."},
    ]
    assert [m["role"] for m in asked[2]["messages"]] == ["system", "user"] + ["assistant", "user", "user"] * 2


def test_seeds_follow_episode_and_turn():
    seeds = [[body["seed"] for body in run(lambda body: "7", seed=seed)[1]] for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] and len({*seeds[0], *seeds[2]}) == 6
    assert all(0 <= s < 2**31 for s in seeds[0])


def test_native_calls_become_an_action_and_results_go_back_under_their_ids():
    script = iter(
        [
            calls(("a", "find_user_id_by_email", '{"email": "no@body.x"}'), ("b", "nothing", ""), text="Hm."),
            calls(("c", "get_user_details", '{"user_id": "</tool_call>"}')),
            calls(("d", "get_user_details", '{"user_id": '), ("e", "get_user_details", "[1]")),
            "I cannot.",
        ]
    )
    world = World(RETAIL, {**ARGS, "max_turns": 4})
    t, asked = run(lambda body: next(script), world=world, task="retail/tiny/train/1/0")
    assert t.ending in ("terminated", "max_turns")
    said = [m["content"] for m in t.info["messages"] if m["role"] == "assistant"]
    assert [len(HERMES.parse(text).calls) for text in said] == [2, 1, 0, 0]
    assert HERMES.parse(said[0]).prose == "Hm."
    assert HERMES.parse(said[1]).calls[0].arguments == {"user_id": "</tool_call>"}
    assert "must be an object" in HERMES.parse(said[2]).error and t.info["parts"]["malformed"] < 0
    last = asked[-1]["messages"]
    results = [(m["tool_call_id"], m["content"][:20]) for m in last if m["role"] == "tool"]
    assert results == [
        ("a", "Error: no user has t"),
        ("b", "Error: there is no t"),
        ("c", "Error: there is no s"),
        ("d", "Error: \"arguments\" o"),
        ("e", "Nothing was run."),
    ]  # fmt: skip
    assert all(
        json.loads(c["function"]["arguments"]) is not None for m in last for c in m.get("tool_calls", [])
    )
    assert "tools" not in last[0] and len(asked[0]["tools"]) == 16


def test_calls_that_are_written_as_text_are_understood_too():
    text = 'One moment. <tool_call>{"name": "find_user_id_by_email", "arguments": {"email": "x"}}</tool_call>'
    script = iter([text, "<tool_call>{oops</tool_call>", "Bye."])
    world = World(RETAIL, {**ARGS, "max_turns": 3})
    t, asked = run(lambda body: next(script), world=world, task="retail/tiny/train/1/0")
    assert [m["content"] for m in t.info["messages"] if m["role"] == "assistant"][:2] == [
        text,
        "<tool_call>{oops</tool_call>",
    ]
    first, second = asked[2]["messages"][2:4], asked[2]["messages"][4:6]
    assert first[0]["content"] == "One moment." and first[0]["tool_calls"][0]["function"]["name"]
    assert first[1]["tool_call_id"] == first[0]["tool_calls"][0]["id"]
    assert second[0] == {"role": "assistant", "content": "<tool_call>{oops</tool_call>"}
    assert second[1]["role"] == "user" and second[1]["content"].startswith("<tool_response>\nError")


def test_gold_as_native_calls_earns_what_gold_earns():
    env = RetailEnv(**ARGS)
    world = World(RETAIL, ARGS)
    for task in env.task_ids("test", 5):
        t, _ = run(gold_by_native_calls(env), world=world, task=task)
        assert (t.ending, t.outcome) == ("terminated", 1.0)


def test_a_gold_prefix_is_shown_as_native_calls():
    env, world = RetailEnv(**ARGS), World(NEXT, ARGS)
    for task in world.tasks("test", 12):
        t, asked = run(gold_by_native_calls(env), world=world, task=task)
        assert t.outcome == 1.0 and len(asked) == 1
        history = asked[0]["messages"]
        assert "<tool_call>" not in json.dumps(history)
        ids = [c["id"] for m in history for c in m.get("tool_calls", [])]
        assert [m["tool_call_id"] for m in history if m["role"] == "tool"] == ids


# -- endpoints that misbehave --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "asked_times", "told"),
    [
        (lambda body: b"rubbish", 2, "no JSON"),
        (lambda body: b'{"choices": []}', 2, "makes no sense"),
        (lambda body: {"role": "assistant", "content": 3}, 2, "makes no sense"),
        (lambda body: calls(("a", 7, "{}")), 2, "makes no sense"),
        (lambda body: 500, 2, "status 500"),
        (lambda body: 401, 1, "status 401"),
        (lambda body: None, 2, "no answer"),
    ],
)
def test_a_failing_endpoint_is_a_failed_machine_and_no_score(answer, asked_times, told):
    t, asked = run(answer, attempts=2, attempt=0.3)
    assert (t.ending, t.outcome, t.trainable) == ("failed", None, False)
    assert len(asked) == asked_times and told in t.info["error"]["message"]
    assert t.info["error"]["retryable"] is (asked_times > 1) and t.rewards == [0.0]


def test_a_full_endpoint_is_waited_for():
    script = iter([429, 503, "7", "7", "7"])
    t, asked = run(lambda body: next(script), attempts=1)
    assert t.outcome == 1.0 and len(asked) == 5


def test_an_empty_answer_is_silence():
    t, _ = run(lambda body: {"role": "assistant", "content": None})
    assert (t.ending, t.outcome) == ("terminated", 0.0)


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        ({"choices": [{"message": {"content": "7 and"}, "finish_reason": "length"}]}, "tokens"),
        (("status", 400, "This model's maximum context length is 9 tokens."), "context"),
    ],
)
def test_running_out_of_room_ends_the_episode_by_name(answer, ending):
    t, _ = run(lambda body: answer)
    assert (t.ending, t.outcome, len(t.versions)) == (ending, None, 1)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("qwen", "openai:MODEL@URL"),
        ("openai:m@http://x#speed=1", "no setting 'speed'"),
        ("openai:m@http://x#attempts=none", "attempts='none' is no int"),
        ("openai:m@http://x#deadline=0", "deadline=0.0"),
        ("openai:m@http://x#attempts=0", "attempts=0"),
        ("openai:m@http://x#without=messages", "messages is needed"),
        ("openai:m@http://[::", "engine http://[::"),
        ("openai:m@http://x#key=NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_a_wrong_engine_is_refused(spec, told, capsys):
    assert cli.main(["eval", "--engine", spec, "--world", ECHO]) == 2
    assert told in capsys.readouterr().err


# -- evaluation ----------------------------------------------------------------------------------------


def test_evaluation_adds_up_the_tokens():
    async def judge(endpoint):
        player = ChatPlayer(ChatEndpoint.parse(endpoint.spec()), Sampling())
        try:
            return await evaluate(World(ECHO), player, ["test/0", "test/1"], repeats=2, seed=0, in_flight=3,
                                  deadline=20)  # fmt: skip
        finally:
            await player.close()

    with Endpoint(lambda body: "1") as endpoint:
        found = asyncio.run(judge(endpoint))
        assert endpoint.most_at_once <= 3
    assert [r.successes for r in found.tasks] == [0, 2]
    assert found.usage == {"requests": 12, "prompt_tokens": 120, "completion_tokens": 36}
    assert ("prompt tokens", "120") in found.table()


def test_eval_of_an_endpoint_shows_pass_hat_k_and_writes_a_report(tmp_path, capsys):
    env, out = RetailEnv(**ARGS), tmp_path / "judged"
    gold = gold_by_native_calls(env)
    bad = env.reset(options={"task": env.task_ids("test", 1)[0]})[0][1]["content"]
    with Endpoint(lambda body: "No." if body["messages"][1]["content"] == bad else gold(body)) as endpoint:
        brief = ["--world", RETAIL, "--arg", "size=full", "--arg", "level=3", "--tasks", "4"]
        command = ["eval", "--engine", endpoint.spec(), *brief, "--out", str(out), "--json"]
        assert cli.main(command) == 0
        told = json.loads(capsys.readouterr().out)
        assert [told["pass_hat"][k]["mean"] for k in "1234"] == [0.75] * 4
        assert [t["successes"] for t in told["tasks"]] == [0, 4, 4, 4]
        assert told["usage"]["completion_tokens"] == 3 * told["usage"]["requests"] > 0
        assert told == json.loads((out / "evaluation.json").read_text())
        asked = len(endpoint.asked)
        assert cli.main(command) == 0 and json.loads(capsys.readouterr().out) == told
        assert cli.main([*command, "--seed", "1"]) == 2 and "run.seed = 0 there" in capsys.readouterr().err
        assert len(endpoint.asked) == asked + 1, "only whether its tools are shown"
    episodes = gzip.decompress((out / "rollouts" / "step-000000.jsonl.gz").read_bytes()).splitlines()
    assert len(episodes) == 16
    html = (out / "report.html").read_text()
    assert "75.0%" in html and "Forge/Retail-v0" in html and "openai:m@" in html


def test_an_endpoint_that_answers_nothing_is_no_score(tmp_path, capsys):
    with Endpoint(lambda body: 401) as endpoint:
        command = ["eval", "--engine", endpoint.spec(), "--world", ECHO, "--tasks", "2", "--repeats", "1"]
        assert cli.main([*command, "--out", str(tmp_path / "none")]) == 1
    told = capsys.readouterr()
    assert "no episode was graded" in told.err and "status 401" in told.err and "pass@1" not in told.out
    html = (tmp_path / "none" / "report.html").read_text()
    assert "2 of 2 episodes were stopped" in html and "status 401" in html


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "judge what?"),
        (["a-folder", "--engine", "openai:m@http://x"], "judge what?"),
        (["--engine", "openai:m@http://x"], "name one with --world"),
        (["a-folder", "--out", "b"], "--out is for --engine"),
        (["--engine", "openai:m@http://x", "--world", "forge_envs:Forge/Nowhere-v0"], "Nowhere"),
        (["--engine", "openai:m@http://x", "--world", ECHO, "--arg", "turns=null"], "args.turns"),
    ],
)
def test_what_cannot_be_judged_is_refused(arguments, told, capsys):
    assert cli.main(["eval", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_special_tokens_are_asked_for_where_the_server_can_leave_them():
    answer = {"role": "assistant", "content": "Hello."}
    _, asked = run(lambda body: answer, special_tokens=1)
    assert asked[0]["skip_special_tokens"] is False
    _, asked = run(lambda body: answer)
    assert "skip_special_tokens" not in asked[0]
