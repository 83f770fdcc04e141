"""Agents as black boxes: the official OpenAI client before our engine, and every token where it belongs."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import httpx2
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("openai")

import openai

from forge_envs.grammars import LLAMA
from forge_train.agents.build import Agents
from forge_train.agents.player import AgentPlayer, Terms
from forge_train.agents.program import Brief, Command, Function
from forge_train.agents.server import MOST_BYTES, AgentServer, AsciiJSON
from forge_train.config import AgentConfig
from forge_train.engine import EngineFailed, Sampling
from forge_train.engines.local import LocalEngine
from forge_train.engines.scripted import ScriptedEngine
from forge_train.play.episode import TokenPlayer, gather, play
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.trajectory import WORLD
from tests.train.agent_programs import act, plain
from tests.train.models import qwen3_of
from tests.train.test_episode import consistent
from tests.train.tokens import tokenizer

TOKENIZER = tokenizer()
RENDERER = ChatML(TOKENIZER)
ECHO, COIN = "tests.train.worlds:Test/Echo-v0", "tests.train.worlds:Test/Coin-v0"
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


CLIENTS = {}
"""Open ones; `playing` closes them."""


def says(*texts, **options):
    return ScriptedEngine([RENDERER.encode_action(text) for text in texts], logprob=-0.5, **options)


class Recorder:
    """An engine that remembers what it sampled."""

    def __init__(self, engine):
        self.engine, self.sampled = engine, []

    def __getattr__(self, name):
        return getattr(self.engine, name)

    async def complete(self, tokens, sampling, **how):
        said = await self.engine.complete(tokens, sampling, **how)
        self.sampled.append((list(tokens), said))
        return said


@asynccontextmanager
async def playing(target, engine, *, sampling=None, **terms):
    """A player whose program is the function `target`."""
    server = AgentServer()
    await server.start()
    player = AgentPlayer(
        Function(target), server, engine, RENDERER, sampling or Sampling(max_tokens=256), Terms(**terms)
    )
    try:
        yield player
    finally:
        await player.close()
        player.program.close()
        await server.close()
        while CLIENTS:
            await CLIENTS.popitem()[1].close()


async def episode(
    target, engine, *, world=None, task="train/7", seed=3, deadline=20.0, sampling=None, **terms
):
    async with playing(target, engine, sampling=sampling, **terms) as player:
        place = world or World(ECHO)
        return await play(place, player, task, seed=seed, group="g", deadline=deadline)


def run(target, engine, **options):
    trajectory = asyncio.run(episode(target, engine, **options))
    consistent(trajectory)
    return trajectory


def client(brief: Brief):
    return connect(brief.base_url, brief.api_key)


def connect(url, key):
    if (url, key) not in CLIENTS:
        CLIENTS[url, key] = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)
    return CLIENTS[url, key]


def trained(trajectory):
    """Tokens and logprobs of each action."""
    found = {}
    for s in trajectory.segments:
        for token, logprob, action in zip(s.tokens, s.logprobs, s.action, strict=True):
            if action != WORLD:
                found.setdefault(action, []).append((token, logprob))
    return [found[action] for action in sorted(found)]


def sampled(recorder):
    return [list(zip(said.tokens, said.logprobs, strict=True)) for _, said in recorder.sampled]


# ------------------------------------------------------------------------------------- the same as our player


def test_the_same_episode_by_our_own_player_is_the_same_trajectory():
    model = qwen3_of(TOKENIZER)
    sampling = Sampling(max_tokens=400)

    async def both():
        world = World(COIN, {"turns": 3})
        ours = TokenPlayer(LocalEngine(model, max_context=1500), RENDERER, sampling)
        own = [await play(world, ours, "train/7", seed=s, group="g", deadline=60) for s in range(3)]
        engine = LocalEngine(model, max_context=1500)
        async with playing(plain, engine, sampling=sampling) as player:
            box = await gather(
                play(world, player, "train/7", seed=s, group="g", deadline=60) for s in range(3)
            )
        return own, box

    own, box = asyncio.run(both())
    for mine, theirs in zip(own, box, strict=True):
        assert theirs.segments[0].tokens == mine.segments[0].tokens
        assert theirs.segments[0].action == mine.segments[0].action
        assert theirs.segments[0].logprobs == pytest.approx(mine.segments[0].logprobs, abs=1e-5)
        same = ("group", "rewards", "turn_rewards", "outcome", "ending", "versions", "spans")
        assert [getattr(theirs, name) for name in same] == [getattr(mine, name) for name in same]
        assert theirs.info["messages"] == mine.info["messages"]
    assert all(t.sampled > 5 for t in own) and len({tuple(t.segments[0].tokens) for t in own}) == 3


# ------------------------------------------------------------------------------------------ exact tokens


def test_what_was_sampled_is_what_is_trained_whatever_it_spells():
    odd = [[token] for token in TOKENIZER("7", add_special_tokens=False)["input_ids"]]
    split = [TOKENIZER.convert_tokens_to_ids(c) for c in "order"]  # the tokenizer would write one token
    assert len(TOKENIZER("order", add_special_tokens=False)["input_ids"]) < len(split)
    engine = Recorder(ScriptedEngine([[*split, *RENDERER.stop], [*odd[0], *RENDERER.stop]], logprob=-0.25))

    async def program(brief):
        policy, messages = client(brief), [*ASK]
        for _ in range(2):
            answer = await policy.chat.completions.create(model="any", messages=messages)
            messages += [answer.choices[0].message, {"role": "user", "content": "On."}]

    t = run(program, engine)
    assert trained(t) == sampled(engine) and len(t.segments) == 1 and t.versions == [0, 0]
    assert t.segments[0].tokens == engine.sampled[1][0] + engine.sampled[1][1].tokens
    assert (t.ending, t.outcome, t.rewards) == ("max_turns", 0.0, [0.0, 0.0])
    assert t.info["agent"] == {"requests": 2, "ignored": [], "exit": 0, "stderr": ""}
    assert [m["content"] for m in t.info["conversation"] if m.get("sampled")] == ["order", "7"]


def test_tools_are_shown_called_and_answered_as_in_our_own_rendering():
    call = '<tool_call>\n{"name": "look", "arguments": {"at": "a < b"}}\n</tool_call>'
    engine = Recorder(says(f"I look.\n{call}", f"{call}\n{call}", "Done."))
    seen = []

    async def program(brief):
        policy, messages = client(brief), [*ASK]
        for _ in range(3):
            answer = await policy.chat.completions.create(model="any", messages=messages, tools=TOOLS)
            choice = answer.choices[0]
            seen.append((choice.message.content, choice.finish_reason))
            messages.append(choice.message)
            for made in choice.message.tool_calls or ():
                assert made.function.name == "look" and json.loads(made.function.arguments) == {"at": "a < b"}
                messages.append({"role": "tool", "tool_call_id": made.id, "content": f"saw {len(messages)}"})
        assert len({c.id for m in messages if not isinstance(m, dict) for c in m.tool_calls or ()}) == 3

    t = run(program, engine)
    assert seen == [("I look.", "tool_calls"), (None, "tool_calls"), ("Done.", "stop")]
    system = {**ASK[0], "tools": TOOLS}
    ours = RENDERER.open([system, ASK[1]]) + RENDERER.encode_action(f"I look.\n{call}")
    ours += RENDERER.extend([{"role": "tool", "content": "saw 3"}])
    ours += RENDERER.encode_action(f"{call}\n{call}")
    ours += RENDERER.extend([{"role": "tool", "content": "saw 5"}, {"role": "tool", "content": "saw 6"}])
    assert len(t.segments) == 1 and t.segments[0].tokens == ours + RENDERER.encode_action("Done.")
    assert trained(t) == sampled(engine)


def test_calls_of_another_family_are_read_by_its_grammar():
    engine = Recorder(says('{"name": "look", "parameters": {"at": 1}}', "Done."))

    async def program(brief):
        policy, messages = client(brief), [*ASK]
        answer = await policy.chat.completions.create(model="any", messages=messages, tools=TOOLS)
        (made,) = answer.choices[0].message.tool_calls
        assert (made.function.name, json.loads(made.function.arguments)) == ("look", {"at": 1})
        result = {"role": "tool", "tool_call_id": made.id, "content": "saw"}
        messages += [answer.choices[0].message, result]
        await policy.chat.completions.create(model="any", messages=messages, tools=TOOLS)

    t = run(program, engine, grammar=LLAMA)
    assert t.info["agent"]["exit"] == 0, t.info["agent"]["stderr"]
    assert len(t.segments) == 1 and trained(t) == sampled(engine)


def test_a_stream_says_what_an_answer_says():
    call = '<tool_call>\n{"name": "look", "arguments": {"at": 1}}\n</tool_call>'
    engine = Recorder(says(f"Well,  then.\n{call}", "Bye now."))

    async def program(brief):
        policy, messages = client(brief), [*ASK]
        how = {"model": "any", "tools": TOOLS, "stream": True, "stream_options": {"include_usage": True}}
        text, calls, usage, ends = "", [], None, []
        async for chunk in await policy.chat.completions.create(messages=messages, logprobs=True, **how):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                calls += choice.delta.tool_calls or []
                ends.append(choice.finish_reason)
        assert text == "Well,  then." and ends[-1] == "tool_calls" and set(ends[:-1]) == {None}
        assert [c.index for c in calls] == [0, 0] and calls[0].function.name == "look"
        assert json.loads("".join(c.function.arguments for c in calls)) == {"at": 1}
        assert usage.completion_tokens == len(engine.sampled[0][1].tokens)
        assert usage.prompt_tokens == len(engine.sampled[0][0])
        async with policy.chat.completions.stream(model="any", messages=messages, tools=TOOLS) as stream:
            whole = await stream.get_final_completion()
        assert whole.choices[0].message.content == "Bye now."

    t = run(program, engine)
    assert trained(t) == sampled(engine)


def test_logprobs_and_usage_are_those_of_the_sampled_tokens():
    engine = Recorder(says("Grüße"))

    async def program(brief):
        answer = await client(brief).chat.completions.create(model="m", messages=ASK, logprobs=True)
        told = answer.choices[0].logprobs.content
        assert "".join(t.token for t in told) == answer.choices[0].message.content == "Grüße"
        assert [t.logprob for t in told] == [-0.5] * len(engine.sampled[0][1].tokens)
        assert answer.usage.completion_tokens == len(told) and answer.model == "m"

    run(program, engine)


# --------------------------------------------------------------------------------- appended or rewritten


async def said(policy, messages, **how):
    answer = await policy.chat.completions.create(model="any", messages=messages, **how)
    return {"role": "assistant", "content": answer.choices[0].message.content}


def user(text):
    return {"role": "user", "content": text}


def test_a_rewritten_history_begins_a_new_segment():
    engine = Recorder(ScriptedEngine(lambda *_: RENDERER.encode_action("yes"), logprob=-1.0))

    async def program(brief):
        policy = client(brief)
        first = await said(policy, ASK)
        await said(policy, [*ASK, first, user("more")])
        summary = [ASK[0], user("Summary: you said yes.")]
        second = await said(policy, summary)
        await said(policy, [*summary, second, user("and?")])

    t = run(program, engine)
    assert [sorted(set(s.action)) for s in t.segments] == [[-1, 0, 1], [-1, 2, 3]]
    assert trained(t) == sampled(engine)


def test_another_branch_keeps_the_sampled_tokens_before_it_as_context():
    split = [TOKENIZER.convert_tokens_to_ids(c) for c in "order"]
    engine = Recorder(ScriptedEngine(lambda *_: [*split, *RENDERER.stop], logprob=-1.0))

    async def program(brief):
        policy = client(brief)
        first = await said(policy, ASK)
        await said(policy, [*ASK, first, user("left")])
        await said(policy, [*ASK, first, user("right")])

    t = run(program, engine)
    left, right = t.segments
    stem = len(RENDERER.open(ASK)) + len(split) + 1
    assert left.tokens[:stem] == right.tokens[:stem] and sorted(set(right.action)) == [-1, 2]
    assert right.tokens == left.tokens[:stem] + RENDERER.extend([user("right")]) + [*split, *RENDERER.stop]
    assert trained(t) == sampled(engine)


def test_two_conversations_in_turn_are_two_segments_with_their_own_rewards():
    engine = Recorder(ScriptedEngine(lambda *_: RENDERER.encode_action("7"), logprob=-1.0))

    async def program(brief):
        policy = client(brief)
        main, aside = [*ASK], [user("Judge.")]
        for _ in range(2):
            for messages in (main, aside):
                messages += [await said(policy, messages), user("on")]
            await act(brief, action="7")

    t = run(program, engine, world=World(ECHO, {"turns": 2}))
    assert [sorted(set(s.action)) for s in t.segments] == [[-1, 0, 1], [-1, 2, 3]]
    assert t.ending == "terminated" and t.outcome == 1.0
    assert t.rewards == pytest.approx([0.0, 0.0, 0.05, 1.05])


def test_white_space_and_ids_do_not_rewrite_a_history():
    call = '<tool_call>\n{"name": "look", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
    engine = Recorder(says(f" Well. \n{call}", "done"))

    async def program(brief):
        policy = client(brief)
        made = {"name": "look", "arguments": '{"b":2,  "a":1}'}
        await policy.chat.completions.create(model="any", messages=ASK, tools=TOOLS)
        call = {"type": "function", "id": "mine", "function": made}
        back = {"role": "assistant", "content": [{"type": "text", "text": "Well."}], "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": "mine", "content": [{"type": "text", "text": "ok"}]}
        await policy.chat.completions.create(model="any", messages=[*ASK, back, result], tools=TOOLS)

    t = run(program, engine)
    assert len(t.segments) == 1 and trained(t) == sampled(engine)


def test_an_answer_that_was_cut_is_closed_before_anything_follows():
    engine = Recorder(says("a long story", "well"))

    async def program(brief):
        policy = client(brief)
        answer = await policy.chat.completions.create(model="any", messages=ASK, max_completion_tokens=3)
        assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3
        back = {"role": "assistant", "content": answer.choices[0].message.content}
        await said(policy, [*ASK, back, user("go on")])

    t = run(program, engine)
    first = len(RENDERER.open(ASK)) + 3
    assert len(t.segments) == 1 and trained(t) == sampled(engine)
    assert t.segments[0].action[first - 3 : first + 1] == [0, 0, 0, -1]
    assert t.segments[0].tokens[first:][: 1 + len(RENDERER.extend([user("go on")]))] == [
        RENDERER.stop[0], *RENDERER.extend([user("go on")])
    ]  # fmt: skip


def test_a_stop_string_ends_an_answer_where_it_stands():
    engine = Recorder(says("Thought.\nObservation: made up"))

    async def program(brief):
        answer = await client(brief).chat.completions.create(model="any", messages=ASK, stop=["\nObs"])
        assert answer.choices[0].message.content == "Thought."
        assert answer.choices[0].finish_reason == "stop"

    t = run(program, engine)
    (kept,) = trained(t)
    assert kept == sampled(engine)[0][: len(kept)]
    assert RENDERER.text([token for token, _ in kept]).startswith("Thought.\nObs")


def test_requests_at_once_belong_to_their_episodes():
    model = qwen3_of(TOKENIZER)
    engine = Recorder(LocalEngine(model, max_context=1500))

    async def program(brief):
        policy = client(brief)
        await asyncio.gather(*(said(policy, [user(f"{brief.task} {i}")]) for i in range(3)))

    async def many():
        world = World(COIN)
        async with playing(program, engine, sampling=Sampling(max_tokens=200)) as player:
            return await gather(
                play(world, player, f"train/{i}", seed=i, group="g", deadline=60) for i in range(8)
            )

    played = asyncio.run(many())
    for i, t in enumerate(played):
        consistent(t)
        told = [m["content"] for m in t.info["conversation"] if m["role"] == "user"]
        assert sorted(told) == [f"train/{i} {n}" for n in range(3)] and len(t.segments) == 3
    found = sorted(row for t in played for row in trained(t))
    assert found == sorted(sampled(engine)) and len(found) == 24


# ------------------------------------------------------------------------------------ what cannot be had


REFUSED = [
    ({"n": 2}, "n"),
    ({"tool_choice": "required", "tools": TOOLS}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages.0.role"),
    ({"messages": [*ASK, {"role": "assistant", "content": "I"}]}, "messages"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages.0.content",
    ),
]


@pytest.mark.parametrize(("wrong", "param"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_no_policy_can_do_is_refused_with_the_parameter(wrong, param):
    async def program(brief):
        policy = client(brief)
        await said(policy, ASK)
        with pytest.raises(openai.BadRequestError) as told:
            await policy.chat.completions.create(**{"model": "any", "messages": ASK, **wrong})
        assert told.value.param == param and param.split(".")[0] in told.value.message

    t = run(program, says("ok"))
    assert t.info["agent"]["exit"] == 0, t.info["agent"]["stderr"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"messages": 3}'])
def test_garbage_is_an_error_and_the_session_goes_on(body):
    async def program(brief):
        async with httpx2.AsyncClient() as http:
            for url in (f"{brief.base_url}/chat/completions", brief.world_url):
                told = await http.post(url, content=body)
                assert told.status_code == 400 and told.json()["error"]["message"]
            assert (await http.get(f"{brief.base_url}/embeddings")).json()["error"]["code"] == "unknown_url"
        await said(client(brief), ASK)

    t = run(program, says("ok"))
    assert t.info["agent"]["exit"] == 0, t.info["agent"]["stderr"]


def test_a_body_without_end_is_refused():
    async def program(brief):
        await said(client(brief), ASK)
        async with httpx2.AsyncClient() as http:
            url = f"{brief.base_url}/chat/completions"
            told = await http.post(url, content=b" " * (MOST_BYTES + 1))
            assert told.status_code == 413

    t = run(program, says("ok"))
    assert t.info["agent"]["exit"] == 0, t.info["agent"]["stderr"]


def test_the_run_decides_how_to_sample_and_says_so():
    async def program(brief):
        raw = client(brief).chat.completions.with_raw_response
        told = await raw.create(model="any", messages=ASK, temperature=0.2, seed=4)
        assert told.headers["x-forge-ignored"] == "temperature, seed"
        models = await client(brief).models.list()
        assert [m.id for m in models.data] == ["policy"]

    t = run(program, says("ok"))
    assert t.info["agent"]["exit"] == 0, t.info["agent"]["stderr"]
    assert t.info["agent"]["ignored"] == ["seed", "temperature"]


def test_sessions_are_found_by_key_and_strangers_are_turned_away():
    async def program(brief):
        root = brief.base_url.split("/sessions/")[0]
        await said(connect(f"{root}/v1", brief.api_key), ASK)
        with pytest.raises(openai.AuthenticationError):
            await said(connect(f"{root}/v1", "sk-other"), ASK)
        with pytest.raises(openai.NotFoundError):
            await said(connect(f"{root}/sessions/x/v1", brief.api_key), ASK)

    t = run(program, says("ok"))
    assert t.info["agent"]["exit"] == 0, t.info["agent"]["stderr"]


def test_beyond_loopback_every_request_bears_the_key():
    async def go():
        server = AgentServer(host="0.0.0.0")
        await server.start()
        guest = type("G", (), {"session": None, "task": "t", "opening": []})()
        address = server.admit(guest)
        url = address.world_url.replace("0.0.0.0", "127.0.0.1")
        try:
            async with httpx2.AsyncClient() as http:
                bare = await http.get(url)
                bearer = await http.get(url, headers={"Authorization": f"Bearer {address.key}"})
            return bare.status_code, bearer.status_code
        finally:
            await server.close()

    assert asyncio.run(go()) == (401, 200)


def test_an_address_that_is_taken_is_told():
    async def go():
        server = AgentServer()
        await server.start()
        try:
            await AgentServer(port=server.port).start()
        finally:
            await server.close()

    with pytest.raises(ValueError, match=r"agent\.port"):
        asyncio.run(go())


# ----------------------------------------------------------------------------------------- how it ends


def test_what_a_program_returns_can_be_its_last_action():
    async def program(brief):
        assert brief.prompt == "Say 7." and brief.task == "train/7"
        return (await said(client(brief), [user(brief.prompt)]))["content"]

    t = run(program, says("7"), world=World(ECHO, {"turns": 1}), hand_in=True)
    assert (t.ending, t.outcome, t.rewards) == ("terminated", 1.0, [1.1])


def test_a_plain_function_plays_on_a_thread():
    def program(brief):
        policy = openai.OpenAI(base_url=brief.base_url, api_key=brief.api_key)
        answer = policy.chat.completions.create(model="any", messages=[user(brief.prompt)])
        return answer.choices[0].message.content

    t = run(program, says("7"), world=World(ECHO, {"turns": 1}), hand_in=True)
    assert t.outcome == 1.0


def test_a_crash_is_no_verdict():
    async def program(brief):
        await said(client(brief), ASK)
        raise KeyError("my own fault")

    t = run(program, says("7"))
    assert (t.ending, t.outcome, t.trainable) == ("failed", None, False)
    assert t.info["error"]["kind"] == "agent" and "my own fault" in t.info["error"]["message"]


def test_a_program_that_never_asks_is_a_bug():
    async def program(brief):
        return "7"

    t = run(program, says("7"), hand_in=True)
    assert t.ending == "failed" and t.info["error"]["kind"] == "bug" and t.rewards == []


def test_a_command_that_fails_before_it_asks_is_a_bug_with_its_last_words():
    async def go():
        server = AgentServer()
        await server.start()
        try:
            command = Command(["sh", "-c", "echo 'no such option' >&2; exit 2"])
            player = AgentPlayer(command, server, says("7"), RENDERER, Sampling())
            return await play(World(ECHO), player, "train/7", seed=0, group="g", deadline=20.0)
        finally:
            await player.close()
            await server.close()

    error = asyncio.run(go()).info["error"]
    assert error["kind"] == "bug" and "exit status 2: no such option" in error["message"]


def test_without_a_server_the_config_is_answered_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "forge_train.agents.server", None)
    with pytest.raises(ValueError, match=r"pip install 'forge-envs\[agents\]'"):
        Agents(AgentConfig(command=("true",)))


@pytest.mark.parametrize("name", ["no.such:thing", "json:nothing", "json:__name__"])
def test_a_function_that_is_not_there_is_told(name):
    with pytest.raises(ValueError, match=r"agent\.function"):
        Agents(AgentConfig(function=name))


def test_a_deadline_ends_the_program():
    ended = []

    async def program(brief):
        await said(client(brief), ASK)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    t = run(program, says("7"), deadline=0.5)
    assert t.ending == "deadline" and ended == [True] and t.sampled == 2


def test_too_many_requests_end_the_episode_graded():
    async def program(brief):
        policy = client(brief)
        while True:
            await said(policy, ASK)

    t = run(program, ScriptedEngine(lambda *_: RENDERER.encode_action("7")), max_requests=3)
    assert (t.ending, t.outcome, len(t.versions)) == ("max_turns", 0.0, 3)


@pytest.mark.parametrize("crashes", [False, True])
def test_a_conversation_that_outgrows_the_context_is_told_so(crashes):
    room = len(RENDERER.open(ASK)) + 3

    async def program(brief):
        policy = client(brief)
        first = await said(policy, ASK)
        with pytest.raises(openai.BadRequestError, match="maximum context length") as told:
            await said(policy, [*ASK, first, user("on")])
        assert told.value.code == "context_length_exceeded"
        if crashes:
            raise told.value

    t = run(program, says("7", "7", max_context=room))
    assert t.ending == ("context" if crashes else "max_turns") and len(t.versions) == 1


def test_an_engine_that_fails_fails_the_episode_at_once():
    class Down(ScriptedEngine):
        async def complete(self, *args, **how):
            raise EngineFailed("no server", retryable=True)

    async def program(brief):
        with pytest.raises((openai.InternalServerError, openai.NotFoundError)):
            await said(client(brief), ASK)
        await asyncio.sleep(60)

    t = run(program, Down([]), deadline=30)
    assert t.ending == "failed" and t.info["error"]["kind"] == "engine" and t.info["error"]["retryable"]


def test_a_bug_of_the_engine_is_raised():
    async def program(brief):
        await said(client(brief), ASK)

    with pytest.raises(ValueError, match="scripted"):
        run(program, says())


def test_a_world_that_fails_ends_the_program():
    t = run(plain, says("7", "7", "7"), world=World(ECHO, {"fault": "machine", "at": 2}))
    assert t.ending == "failed" and t.info["error"]["kind"] == "sandbox" and len(t.versions) == 2


def test_an_answer_nobody_waits_for_is_not_trained():
    texts = ["first", "second"]
    engine = ScriptedEngine(lambda *_: RENDERER.encode_action(texts.pop(0)), latency=0.3)

    async def program(brief):
        policy = client(brief)
        with pytest.raises(openai.APITimeoutError):
            await policy.with_options(timeout=0.05).chat.completions.create(model="any", messages=ASK)
        await said(policy, ASK)

    t = run(program, engine)
    assert len(t.versions) == 1 and len(t.segments) == 1
    assert RENDERER.text([token for token, _ in trained(t)[0]]) == "second"


def test_after_the_end_nobody_is_answered_and_the_program_may_finish():
    late = []

    async def program(brief):
        policy = client(brief)
        await said(policy, ASK)
        assert (await act(brief, action="7"))["over"]
        with pytest.raises(openai.NotFoundError) as told:
            await said(policy, ASK)
        late.append(told.value.code)

    t = run(program, says("7", "7"), world=World(ECHO, {"turns": 1}))
    assert t.outcome == 1.0 and late == ["session_over"] and len(t.versions) == 1


def test_calls_reach_the_world_in_the_hermes_grammar():
    async def program(brief):
        await said(client(brief), ASK)
        await act(brief, calls=[{"name": "look", "arguments": {"at": "a < b"}}], text="I look.")

    t = run(program, says("7"))
    (action,) = [m["content"] for m in t.info["messages"] if m["role"] == "assistant"]
    written = '{"name": "look", "arguments": {"at": "a \\u003c b"}}'
    assert action == f"I look.\n<tool_call>\n{written}\n</tool_call>"


def test_half_a_surrogate_pair_has_words():
    told = json.loads(AsciiJSON({"text": "\ud83d"}).body)
    assert told == {"text": "\ud83d"}


# -- who asks the world, and has gone -------------------------------------------------------------------


async def idles(brief: Brief):
    await asyncio.Event().wait()


async def opened(player):
    """A conversation whose program does nothing: the test asks for it."""
    conversation = player.open(ASK, task="train/7", name="n", seed=3)
    await asyncio.sleep(0)
    return conversation


async def asks(conversation, text):
    asking = asyncio.create_task(conversation.say(text))
    await asyncio.sleep(0)
    return asking


def test_an_action_whose_asker_has_gone_is_not_acted():
    async def main():
        async with playing(idles, says("x")) as player:
            conversation = await opened(player)
            gone = await asks(conversation, "first")
            gone.cancel()
            retried = await asks(conversation, "again")
            assert await conversation.act() == "again"
            conversation.hear(ASK)
            assert await retried == (ASK, False)
            conversation.close()

    asyncio.run(main())


def test_who_still_asks_when_the_episode_ends_is_told():
    async def main():
        async with playing(idles, says("x")) as player:
            conversation = await opened(player)
            waiting = [await asks(conversation, text) for text in ("one", "two", "three")]
            assert await conversation.act() == "one"
            waiting[2].cancel()
            await asyncio.sleep(0)
            conversation.close()
            assert await waiting[0] == ((), True)
            with pytest.raises(Exception, match="over"):
                await asyncio.wait_for(waiting[1], 5)
            with pytest.raises(Exception, match="over"):
                await asyncio.wait_for(conversation.say("late"), 5)

    asyncio.run(main())


def test_a_numbered_action_is_done_once_however_often_it_is_asked_for():
    async def main():
        async with playing(idles, says("x")) as player:
            conversation = await opened(player)
            gone = asyncio.create_task(conversation.say("first", 1))
            await asyncio.sleep(0)
            gone.cancel()
            retried = asyncio.create_task(conversation.say("first", 1))
            with pytest.raises(Exception, match="turn 1 was another action"):
                await conversation.say("second", 1)
            assert await conversation.act() == "first"
            conversation.hear(ASK)
            assert await retried == (ASK, False) == await conversation.say("first", 1)
            following = asyncio.create_task(conversation.say("first", 2))
            assert await conversation.act() == "first" and conversation._actions.empty()
            conversation.close()
            assert await following == ((), True)

    asyncio.run(main())


def test_a_number_that_is_none_is_told():
    async def target(brief):
        async with httpx2.AsyncClient() as http:
            for turn in ("1", True, 1.5):
                answer = await http.post(brief.world_url, json={"action": "a", "turn": turn})
                assert answer.status_code == 400 and "turn" in answer.json()["error"]["message"]
            told = [await http.post(brief.world_url, json={"action": "a", "turn": 1}) for _ in range(2)]
            assert told[0].json() == told[1].json()
        await plain(brief)

    assert run(target, says("bye"), world=World(COIN)).outcome is not None
