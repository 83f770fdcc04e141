"""Whatever a program does with its conversations, what is trained is what was sampled, each action once."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.agents.session import Session
from forge_train.agents.wire import Asked
from forge_train.engine import Completion, Sampling
from forge_train.learn.batch import samples
from forge_train.play.renderer import ChatML
from forge_train.trajectory import WORLD, Trajectory
from tests.train.tokens import tokenizer

RENDERER = ChatML(tokenizer())
MOVES = st.lists(
    st.tuples(st.sampled_from(["on", "back", "rewrite", "again", "new", "twice"]), st.integers(0, 99)),
    min_size=1,
    max_size=12,
)


class Babbler:
    """Says other tokens than a tokenizer would, now and then without an end; remembers all of it."""

    max_context, version = 100_000, 0

    def __init__(self):
        self.sampled = []

    async def complete(self, tokens, sampling, *, conversation, seed):
        await asyncio.sleep(0)
        n = len(self.sampled)
        said = [10 + (seed + i) % 200 for i in range(1 + n % 4)]
        finish = "length" if n % 5 == 4 else "stop"
        said = said if finish == "length" else [*said, *RENDERER.stop]
        self.version = n // 3
        self.sampled.append((list(tokens), said, [-0.01 * (n + 1)] * len(said)))
        return Completion(said, self.sampled[-1][2], finish, self.version)

    def forget(self, conversation):
        pass


def asked(messages):
    return Asked("any", tuple(messages), False, None, (), False, False, False, ())


def user(text):
    return {"role": "user", "content": text}


async def carry_on(moves):
    """A session after these moves, and its engine."""
    engine = Babbler()
    session = Session(engine, RENDERER, Sampling(stop=RENDERER.stop), name="s", seed=1, max_requests=99)
    known = [[user("Hi")]]
    for move, n in moves:
        messages = known[n % len(known)]
        if move == "back":
            messages = messages[: 1 + 2 * (n % ((len(messages) + 1) // 2))]
        elif move == "rewrite":
            messages = [user(f"Short: {n}"), *messages[1:]]
        elif move == "new":
            messages = [{"role": "system", "content": "Other."}, user(f"{n}")]
        if messages[-1]["role"] == "assistant":
            messages = [*messages, user("on")]
        for answer in await asyncio.gather(
            *(session.answer(asked(messages)) for _ in range(2 if move == "twice" else 1))
        ):
            known.append([*messages, {"role": "assistant", **answer.message}, user(f"and {n}")])
    session.close()
    return session, engine


@settings(deadline=None, max_examples=60)
@given(MOVES)
def test_every_action_is_trained_once_with_the_tokens_it_was_sampled_with(moves):
    session, engine = asyncio.run(carry_on(moves))
    actions = {}
    for segment in session.segments:
        for i, action in enumerate(segment.action):
            if action != WORLD:
                _, tokens, logprobs = actions.setdefault(action, (segment.tokens[:i], [], []))
                tokens.append(segment.tokens[i])
                logprobs.append(segment.logprobs[i])
    assert [actions[a] for a in sorted(actions)] == engine.sampled, "and after the very prompt, too"
    trajectory = Trajectory("g", session.segments, versions=session.versions)
    trajectory.rewards = trajectory.turn_rewards = [0.5] * len(session.versions)
    trajectory.put_in_order()
    rows = samples([trajectory], [[1.0] * len(session.versions)])
    assert sum(len(row.at_N) for row in rows) == sum(len(said) for _, said, _ in engine.sampled)
    written = [a for s in trajectory.segments for a in s.action if a != WORLD]
    assert written == sorted(written) and sorted(trajectory.versions) == session.versions


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 8))
def test_a_conversation_that_only_grows_is_one_segment(turns):
    session, engine = asyncio.run(carry_on([("on", n) for n in range(turns)]))
    assert len(session.segments) == 1 and len(engine.sampled) == turns
