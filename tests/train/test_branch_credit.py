"""Credit from branches: exact in expectation, zero where nothing differs, each action with one advantage."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import AlgorithmConfig, BranchingConfig
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.masks import compare
from forge_train.play.branch_points import Point, choose
from forge_train.trajectory import Branch, Segment, Trajectory, branch_of

GO = 1 / (1 + math.exp(0.417))
"""Probability of going on. A game of at most four turns, each of which earns 1 whatever is done in it; after
it the policy goes on or stops."""
LONGEST = 4
TRUTH = 0.543
"""Derivative of the expected return by the logit of going on."""
PLAIN = AlgorithmConfig(advantage="branch", turn_gamma=1.0)
STATES = PLAIN.model_copy(update={"branch_form": "states"})

Choices = tuple[int, ...]


def games(left: int) -> list[tuple[float, Choices]]:
    """Every way to play when `left` turns are left, with its probability."""
    if left == 1:
        return [(GO, (1,)), (1 - GO, (0,))]
    on = [(GO * chance, (1, *choices)) for chance, choices in games(left - 1)]
    return [(1 - GO, (0,)), *on]


def slope(choice: int) -> float:
    """d log pi(choice) / d logit of going on."""
    return 1 - GO if choice else -GO


def gradient(left: int) -> float:
    """The derivative of the expected return of a game with `left` turns, from its definition."""
    return sum(chance * sum(map(slope, c)) * len(c) for chance, c in games(left))


def written(branch: Branch, before: Sequence[int], said: Sequence[int]) -> Segment:
    """What stands in an episode that heard the actions `before` its own: a token each, and 9 by the world."""
    segment = Segment()
    segment.hear([9] + [token for action in before for token in (action, 9)])
    for turn, action in enumerate(said):
        segment.act([action], [0.0], turn)
        segment.hear([9])
    return segment


def told(choices: Choices, branch: Branch) -> Trajectory:
    return Trajectory(
        "g",
        [written(branch, [1] * branch.turn, choices)],
        rewards=[1.0] * len(choices),
        outcome=1.0,
        info={"branch": branch.as_info()},
    )


Members = list[tuple[Branch, Choices]]


def branched(roots: Sequence[Choices], k: int, peer: bool = True) -> Iterator[tuple[float, Members]]:
    """Every group in which from each later turn of each of `roots` so many go on, with its probability."""
    places = [(i, turn) for i, root in enumerate(roots) for turn in range(1, len(root))]
    ways = [itertools.product(games(LONGEST - turn), repeat=k) for _, turn in places]
    for found in itertools.product(*ways):
        chance, members = 1.0, [(Branch(i, i), root) for i, root in enumerate(roots)]
        for (of, turn), together in zip(places, found, strict=True):
            for p, choices in together:
                chance *= p
                members.append((Branch(len(members), of, of, turn, float(turn), peer), choices))
        yield chance, members


def expected(config: AlgorithmConfig, k: int = 1) -> tuple[float, float]:
    """What the origins' actions add up to on average over all groups of two, and what those of branches."""
    own = others = 0.0
    for (p, one), (q, two) in itertools.product(games(LONGEST), repeat=2):
        for chance, members in branched([one, two], k):
            rows = ESTIMATORS["branch"]([told(choices, place) for place, choices in members], config)
            for (place, choices), row in zip(members, rows, strict=True):
                share = p * q * chance / 2 * sum(a * slope(c) for a, c in zip(row, choices, strict=True))
                own, others = own + share * place.root, others + share * (not place.root)
    return own, others


def test_the_game_is_that_of_the_page():
    """docs/algorithms/branching.md names its numbers."""
    assert sum(chance for chance, _ in games(LONGEST)) == pytest.approx(1)
    assert gradient(LONGEST) == pytest.approx(TRUTH, abs=5e-4)


def test_comparing_those_who_still_play_gives_nothing():
    """A turn's own reward minus its mean over those alive, as in MT-GRPO: all earned 1."""
    for members in itertools.product(games(LONGEST), repeat=3):
        lengths = [len(choices) for _, choices in members]
        for turn in range(max(lengths)):
            alive = [1.0 for n in lengths if turn < n]
            assert all(r - sum(alive) / len(alive) == 0 for r in alive)


def test_the_default_turn_estimator_and_branch_credit_give_the_true_gradient():
    of_turns = 0.0
    for (p, one), (q, two) in itertools.product(games(LONGEST), repeat=2):
        rows = ESTIMATORS["turn_rloo"]([Trajectory("g", rewards=[1.0] * len(c)) for c in (one, two)], PLAIN)
        for row, choices in zip(rows, (one, two), strict=True):
            of_turns += p * q / 2 * sum(a * slope(c) for a, c in zip(row, choices, strict=True))
    own, _ = expected(PLAIN)
    by_values, untrained = expected(PLAIN.model_copy(update={"branch_form": "values"}))
    by_states, _ = expected(STATES)
    assert of_turns == pytest.approx(gradient(LONGEST), abs=1e-9)
    assert own == pytest.approx(gradient(LONGEST), abs=1e-9)
    assert by_values == pytest.approx(gradient(LONGEST), abs=1e-9)
    assert by_states == pytest.approx(gradient(LONGEST), abs=1e-9)
    assert untrained == 0
    for found in (of_turns, own, by_values, by_states):
        assert found == pytest.approx(TRUTH, abs=0.005)


@pytest.mark.parametrize("train", ["first", "all"])
def test_what_branches_learn_is_the_gradient_of_the_game_that_begins_there(train):
    """Each of them, whoever was there before: with "all" the whole game, with "first" its first choice."""
    _, found = expected(PLAIN.model_copy(update={"branch_train": train}))
    truth = 0.0
    for chance, choices in games(LONGEST):
        for turn in range(1, len(choices)):
            first = sum(p * slope(c[0]) * len(c) for p, c in games(LONGEST - turn))
            truth += chance * (gradient(LONGEST - turn) if train == "all" else first)
    assert found == pytest.approx(truth, abs=1e-9)


def test_turns_may_be_chosen_by_what_followed_where_the_origin_is_no_peer():
    """Only games that went to the end branch, at their second turn: those who went on there know nothing of
    it, and learn their own game's gradient. The origin, who always went on, is not compared with them: that
    would call going on good whatever it is worth."""
    config, left = PLAIN.model_copy(update={"branch_train": "first"}), LONGEST - 1
    truth = sum(p * slope(c[0]) * len(c) for p, c in games(left))
    found, of_origin = 0.0, {}
    for peer in (False, True):
        of_origin[peer] = 0.0
        for pair in itertools.product(games(left), repeat=2):
            chance = math.prod(p for p, _ in pair)
            group = [told((1, 1, 1, 1), Branch(0, 0)), told((0,), Branch(1, 1))]
            group += [told(c, Branch(2 + i, 0, 0, 1, 1.0, peer)) for i, (_, c) in enumerate(pair)]
            rows = ESTIMATORS["branch"](group, config)
            of_origin[peer] += chance * rows[0][1]
            if not peer:
                found += (
                    chance * sum(r[0] * slope(c[0]) for r, (_, c) in zip(rows[2:], pair, strict=True)) / 2
                )
    assert found == pytest.approx(truth, abs=1e-9)
    assert of_origin[False] == pytest.approx(3.0)  # the group's comparison: four turns against one
    assert of_origin[True] == pytest.approx(3.0 - sum(p * len(c) for p, c in games(left)))


def test_branches_halve_the_variance_of_the_first_later_choice():
    """Of the gradient at a state in the middle: an origin beside K = 3 of its own state, or beside another
    episode's whole return."""
    alone = _shares("rloo")
    beside = _shares("branch")
    assert _variance(beside) < 0.5 * _variance(alone)
    assert sum(beside) / len(beside) == pytest.approx(sum(alone) / len(alone), abs=0.05)


def _shares(name: str) -> list[float]:
    draw, found = random.Random(0), []

    def game(left: int) -> Choices:
        chance, ways = zip(*games(left), strict=True)
        return draw.choices(ways, chance)[0]

    for _ in range(4000):
        noise = [draw.choice((-2.0, 2.0)) for _ in range(2)]  # what the first turn earned beside
        one, two = (1, *game(LONGEST - 1)), game(LONGEST)
        group = [told(one, Branch(0, 0)), told(two, Branch(1, 1))]
        for t, extra in zip(group, noise, strict=True):
            t.rewards[0] += extra
        if name == "branch":
            group += [told(game(LONGEST - 1), Branch(2 + k, 0, 0, 1, 1.0, True)) for k in range(3)]
        row = ESTIMATORS[name](group, PLAIN)[0]
        found.append(row[1] * slope(one[1]))
    return found


def _variance(numbers: Sequence[float]) -> float:
    mean = sum(numbers) / len(numbers)
    return sum((n - mean) ** 2 for n in numbers) / len(numbers)


# -- by hand -------------------------------------------------------------------------------------------


def earned(rewards: list[float], branch: Branch, before: Sequence[float] = ()) -> Trajectory:
    """An episode that said 1 where it earned something and 2 where not; before it began nothing was earned,
    if `before` does not say so."""
    heard, said = ([1 if r > 0 else 2 for r in row] for row in (before or [0.0] * branch.turn, rewards))
    return Trajectory("g", [written(branch, heard, said)], rewards, info={"branch": branch.as_info()})


TREE = [
    earned([0.0, 0.0, 1.0], Branch(0, 0)),
    earned([0.0, 0.0], Branch(1, 1)),
    earned([0.0, 0.0], Branch(2, 0, 0, 1, 0.0, True)),
    earned([1.0], Branch(3, 0, 0, 2, 0.0, True)),
]
"""Two from the beginning; from the second turn of the first one more, and from its third."""


def test_siblings_are_compared_turn_by_turn():
    rows = ESTIMATORS["branch"](TREE, PLAIN)
    assert rows[0] == [1.0, 1.0, 0.0]  # 1 against 0 of the other; against 0 of a sibling; against 1
    assert rows[1] == [-1.0, -1.0]
    assert rows[2] == [-1.0, -1.0]
    assert rows[3] == [0.0]
    firsts = ESTIMATORS["branch"](TREE, PLAIN.model_copy(update={"branch_train": "first"}))
    assert firsts[2] == [-1.0, 0.0]


def test_values_are_means_of_those_who_went_on():
    config = PLAIN.model_copy(update={"branch_form": "values"})
    rows = ESTIMATORS["branch"]([*TREE, earned([0.0], Branch(4, 0, 0, 2, 0.0, True))], config)
    # V at the start: 0 of the other; at the second turn 0; at the third (1 + 0) / 2.
    assert rows[0] == [0.0, 0.5, 0.5]
    assert rows[1] == [-1.0, -1.0]
    assert rows[2:] == [[0.0, 0.0], [0.0], [0.0]]


def test_states_compare_all_who_came_through():
    rows = ESTIMATORS["branch"](TREE, STATES)
    # V: 1/3 at the second turn, of both from the beginning and one branch; 2/3 at the third of the first.
    assert rows[0] == pytest.approx([1 / 3, 2 / 3, 0.5])
    assert rows[1] == pytest.approx([-2 / 3, -0.5])
    assert rows[2:] == [pytest.approx([1 / 6, -1.0]), [0.5]]
    assert ESTIMATORS["branch"](TREE, STATES.model_copy(update={"branch_train": "first"}))[2][1] == 0


def test_turns_that_were_chosen_by_what_followed_leave_the_others_to_themselves():
    group = [*TREE[:2], *(earned(t.rewards, replace(branch_of(t, 0), peer=False)) for t in TREE[2:])]
    rows = ESTIMATORS["branch"](group, STATES)
    assert rows[:2] == ESTIMATORS["branch"](TREE[:2], STATES) == [[0.5, 1.0, 0.0], [-0.5, -1.0]]
    assert rows[2:] == [[0.0, -1.0], [1.0]]
    turns = {0: 3, 1: 2}
    chosen = choose("branch", BranchingConfig(at="undecided"), group[:2], turns, 0, 0)
    assert chosen == [Point(0, 1, 4)], "the state that both came through, once"
    assert choose("branch", BranchingConfig(at="undecided"), [group[1], group[1]], turns, 0, 0) == []


@pytest.mark.parametrize("turn", [0, 1])
def test_without_branches_a_shared_state_has_the_gradient_of_the_game_that_begins_there(turn):
    found = there = 0.0
    for group in itertools.product(games(LONGEST), repeat=3):
        if len(group[0][1]) <= turn or all(len(c) <= turn for _, c in group[1:]):
            continue
        chance = math.prod(p for p, _ in group)
        rows = ESTIMATORS["branch"]([told(c, Branch(i, i)) for i, (_, c) in enumerate(group)], STATES)
        found, there = found + chance * rows[0][turn] * slope(group[0][1][turn]), there + chance
    truth = sum(p * slope(c[0]) * len(c) for p, c in games(LONGEST - turn))
    assert found / there == pytest.approx(truth, abs=1e-9)


def test_an_origin_that_is_not_compared_leaves_its_branches_to_each_other():
    group = [*TREE[:2], TREE[2], earned([1.0, 0.0], Branch(5, 0, 0, 1, 0.0, True))]
    group[0].ending = "failed"
    try:
        rows = compare(group, PLAIN)
    finally:
        group[0].ending = "terminated"
    assert rows == [[], [0.0, 0.0], [-1.0, -1.0], [1.0, 1.0]]


def test_arpo_is_grpo_over_all_with_shared_actions_once():
    a = 0.866024  # returns 1, 0, 0, 1
    assert ESTIMATORS["grpo"]([earned([r], Branch(i, i)) for i, r in enumerate((1, 0, 0, 1))])[
        0
    ] == pytest.approx([a], abs=1e-6)
    config = AlgorithmConfig(advantage="arpo")
    rows = ESTIMATORS["arpo"](TREE, config)
    assert rows[0] == pytest.approx([a - a + a, a + a, a], abs=1e-6)  # shared by three, by two, its own
    assert [rows[1], rows[2], rows[3]] == [pytest.approx(r, abs=1e-6) for r in ([-a, -a], [-a, -a], [a])]
    hard = ESTIMATORS["arpo"](TREE, config.model_copy(update={"shared_prefix": "mean"}))
    assert hard[0] == pytest.approx([a / 3, a, a], abs=1e-6)


def test_tree_grpo_adds_the_comparison_within_the_tree():
    rows = ESTIMATORS["tree_grpo"](TREE, AlgorithmConfig(advantage="tree_grpo"))
    across = 0.866024
    within = [(r - 2 / 3) / (math.sqrt(1 / 3) + 1e-6) for r in (1, 0, 1)]
    leaf = [across + within[0], -across, -across + within[1], across + within[2]]
    assert rows[0] == pytest.approx([leaf[0] + leaf[2] + leaf[3], leaf[0] + leaf[3], leaf[0]], abs=1e-6)
    assert rows[1] == pytest.approx([leaf[1]] * 2)
    assert rows[3] == pytest.approx([leaf[3]])


def test_what_a_branch_of_a_branch_shares_reaches_to_the_root():
    group = [
        earned([0.0, 0.0, 0.0], Branch(0, 0)),
        earned([0.0, 0.0], Branch(1, 0, 0, 1)),
        earned([1.0], Branch(2, 0, 1, 2)),
    ]
    leaf = [row[-1] for row in ESTIMATORS["arpo"](group, AlgorithmConfig(advantage="arpo"))]
    rows = ESTIMATORS["arpo"](group, AlgorithmConfig(advantage="arpo"))
    assert rows[0] == pytest.approx([sum(leaf), leaf[0], leaf[0]])
    assert rows[1] == pytest.approx([leaf[1] + leaf[2], leaf[1]])


# -- properties ----------------------------------------------------------------------------------------

REWARDS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=4)


@st.composite
def trees(draw: st.DrawFn, reward: st.SearchStrategy[list[float]] = REWARDS) -> list[Trajectory]:
    """A group with up to three roots and branches of them."""
    group = [earned(draw(reward), Branch(i, i)) for i in range(draw(st.integers(2, 3)))]
    for _ in range(draw(st.integers(0, 5))):
        of = draw(st.integers(0, len(group) - 1))
        place = Branch(**group[of].info["branch"])
        if not place.root:
            continue
        turn = draw(st.integers(0, len(group[of].rewards) - 1))
        before = group[of].rewards[:turn]
        branch = Branch(len(group), place.tree, of, turn, sum(before), True)
        group.append(earned(draw(reward), branch, before))
    return group


BRANCHED = ["branch", "arpo", "tree_grpo"]


@pytest.mark.parametrize("form", ["siblings", "values", "states"])
@pytest.mark.parametrize("name", BRANCHED)
@given(group=trees(), seed=st.integers(0, 99))
def test_the_order_of_a_group_does_not_matter(name, form, group, seed):
    config = PLAIN.model_copy(update={"branch_form": form})
    order = random.Random(seed).sample(range(len(group)), len(group))
    rows = ESTIMATORS[name](group, config)
    shuffled = ESTIMATORS[name]([group[i] for i in order], config)
    for place, i in enumerate(order):
        assert shuffled[place] == pytest.approx(rows[i], abs=1e-9)


@pytest.mark.parametrize("form", ["siblings", "values", "states"])
@pytest.mark.parametrize("name", BRANCHED)
@given(group=trees(st.integers(1, 4).map(lambda n: [0.0] * (n - 1) + [0.7])))
def test_all_equal_returns_teach_nothing(name, form, group):
    rows = ESTIMATORS[name](group, PLAIN.model_copy(update={"branch_form": form}))
    assert not any(any(row) for row in rows)


@given(st.lists(REWARDS, min_size=2, max_size=5))
def test_without_branches_they_are_what_they_grew_from(group):
    members = [Trajectory("g", rewards=row) for row in group]
    size = max(sum(map(abs, row)) for row in group)
    for found, known in (("branch", "rloo"), ("arpo", "grpo"), ("tree_grpo", "grpo")):
        for one, other in zip(
            ESTIMATORS[found](members, PLAIN), ESTIMATORS[known](members, PLAIN), strict=True
        ):
            assert one == pytest.approx(other, abs=1e-6 * size + 1e-9)


@pytest.mark.parametrize("form", ["siblings", "values", "states"])
@pytest.mark.parametrize("name", BRANCHED)
@given(group=trees())
def test_every_action_has_one_advantage(name, form, group):
    rows = ESTIMATORS[name](group, PLAIN.model_copy(update={"branch_form": form}))
    assert [len(row) for row in rows] == [len(t.rewards) for t in group]


@given(group=trees())
def test_soft_is_what_training_every_whole_episode_adds_up_to(group):
    """ARPO's soft form trains each copy of a shared action with its own episode's advantage."""
    config = AlgorithmConfig(advantage="arpo")
    rows, by_id = ESTIMATORS["arpo"](group, config), {i: t for i, t in enumerate(group)}
    whole = []
    for i, t in enumerate(group):
        place = Branch(**t.info["branch"])
        path = [(i, turn) for turn in range(len(t.rewards))]
        while not place.root:  # the actions before, each in the episode that took it
            parent = by_id[place.of]
            path = [(place.of, turn) for turn in range(place.turn)] + path
            place = Branch(**parent.info["branch"])
        whole.append((sum(group[j].rewards[turn] for j, turn in path), path))
    leaf = ESTIMATORS["grpo"]([Trajectory("g", rewards=[r]) for r, _ in whole], config)
    sums = {(i, turn): 0.0 for i, t in enumerate(group) for turn in range(len(t.rewards))}
    for (_, path), (advantage,) in zip(whole, leaf, strict=True):
        for step in path:
            sums[step] += advantage
    for i, row in enumerate(rows):
        for turn, advantage in enumerate(row):
            assert advantage == pytest.approx(sums[i, turn], abs=1e-4)
