import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.play.world_pool import Seat, Threads, World

ECHO, SLOW, FOREIGN = (f"tests.train.worlds:Test/{name}-v0" for name in ("Echo", "Slow", "Foreign"))


def test_a_world_is_named_by_its_id_without_the_module_and_knows_whether_it_is_quick():
    assert World(ECHO).name == "Test/Echo-v0"
    assert World(ECHO, name="echo").name == "echo"
    assert World(ECHO).quick and not World(SLOW).quick


@pytest.mark.parametrize(
    ("id", "args", "hint"),
    [
        ("Test/Nowhere-v0", {}, "Nowhere"),
        ("Forge/Nope-v0", {}, "module registers it, as in forge_envs:Forge/Retail-v0"),
        ("no_such_module:Test/Echo-v0", {}, "no_such_module"),
        (ECHO, {"colour": 1}, "colour"),
    ],
)
def test_what_cannot_be_made_is_refused_when_the_world_is_built(id, args, hint):
    with pytest.raises(ValueError, match=hint):
        World(id, args)


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"weight=0\.0"):
        World(ECHO, weight=0.0)


def test_environments_are_reused_and_never_shared():
    world = World(ECHO)
    a, b = world.acquire(), world.acquire()
    assert a is not b
    world.release(a)
    assert world.acquire() is a


def test_closing_closes_the_free_ones_now_and_the_others_when_they_come_back():
    world = World(ECHO)
    free, used = world.acquire(), world.acquire()
    world.release(free)
    world.close()
    assert free.unwrapped.closed and not used.unwrapped.closed
    world.release(used)
    assert used.unwrapped.closed
    world.close()


def test_tasks_and_gold_are_the_worlds_own():
    world = World(ECHO, {"turns": 2})
    assert world.tasks("test", 3) == ["test/0", "test/1", "test/2"]
    assert world.gold("test/2") == ["2", "2"]
    with pytest.raises(ValueError, match="n=0"):
        world.tasks("test", 0)


def test_a_foreign_world_is_played_by_seed_and_has_no_gold():
    world = World(FOREIGN)
    assert world.tasks("train", 2) == ["seed:0", "seed:1"]
    assert world.start("seed:7", seed=99) == {"seed": 7}
    with pytest.raises(ValueError, match="no gold"):
        world.gold("seed:0")
    for wrong in ("7", "seed:", "seed:-1", "train/0"):
        with pytest.raises(ValueError, match="seed:0"):
            world.start(wrong, seed=0)


@given(st.text(min_size=1).filter(lambda s: s != "train"))
def test_no_other_split_of_a_foreign_world_is_trained_on(split):
    world = World(FOREIGN)
    assert not set(world.tasks(split, 50)) & set(world.tasks("train", 4096))


def test_threads_run_at_most_limit_calls_at_once_and_lose_none():
    threads, lock = Threads(3), threading.Lock()
    running = peak = 0

    def call(i: int) -> int:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return i

    futures = [threads.submit(lambda i=i: call(i)) for i in range(40)]
    assert [f.result(5) for f in futures] == list(range(40))
    assert 1 < peak <= 3
    threads.close()


def test_an_idle_thread_is_used_before_a_new_one_is_started():
    threads = Threads(8)
    names = set()
    for _ in range(20):
        threads.submit(lambda: names.add(threading.get_ident())).result(5)
        time.sleep(0.001)
    assert len(names) <= 2
    threads.close()


def test_an_abandoned_call_gives_its_place_to_another_and_does_not_come_back():
    threads, gate, started = Threads(1), threading.Event(), threading.Event()
    workers = []
    stuck: Future = threads.submit(
        lambda: (workers.append(threading.current_thread()), started.set(), gate.wait(10))
    )
    waiting = threads.submit(lambda: "served")
    started.wait(5)
    assert threads.abandon(stuck)
    assert waiting.result(5) == "served"
    gate.set()
    stuck.result(5)
    workers[0].join(5)
    assert not workers[0].is_alive()
    assert not threads.abandon(stuck)
    assert threads.submit(lambda: "still one").result(5) == "still one"
    assert len(threads._workers) == 1
    threads.close()


def test_leaving_a_seat_takes_back_a_call_that_waits_for_a_thread():
    world, gate = World(SLOW, threads=1), threading.Event()
    world.threads.submit(lambda: gate.wait(10))

    async def leave_while_waiting():
        seat = Seat(world, "train/7", seed=0)
        reset = asyncio.create_task(seat.reset())
        await asyncio.sleep(0)
        seat.leave(broken=False)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await reset

    asyncio.run(leave_while_waiting())
    assert world.lost == 0
    world.close()


def test_the_exception_of_a_call_is_its_futures():
    threads = Threads(1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result(5)
    assert threads.submit(lambda: 1).result(5) == 1
    threads.close()


def test_a_call_that_never_returns_cannot_keep_the_process_alive():
    code = """
        import threading
        from forge_train.play.world_pool import Threads
        threads = Threads(1)
        call = threads.submit(threading.Event().wait)
        while not call.running(): pass
        threads.abandon(call)
        threads.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=300)
