"""How long the index of a large corpus takes, how fast it is searched, and 32 processes that open it at once.

    python benchmarks/search_index.py --megabytes 1000 --folder /tmp/search_index

The corpus is made of 200,000 words whose frequencies are Zipf's, in pages of 2 to 8 kB. Processor seconds
are told beside the clock, for machines that others use as well.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from forge_envs.worlds.search.building import build_index
from forge_envs.worlds.search.fulltext import FullTextIndex
from forge_envs.worlds.search.page import WebPage

WORDS = 200_000


def vocabulary(rng: np.random.Generator) -> np.ndarray:
    """Words of 2 to 11 letters, by frequency."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    chance = np.arange(26, 0, -1) / 351
    drawn = rng.choice(letters, (WORDS, 11), p=chance)
    return np.array(
        ["".join(row[:length]) for row, length in zip(drawn, rng.integers(2, 12, WORDS), strict=True)]
    )


def drawn_words(words: np.ndarray, count: int, rng: np.random.Generator) -> list[str]:
    """Words as a language has them: the n-th most frequent about 1/n as often as the first."""
    place = np.exp(rng.random(count) * np.log(WORDS)).astype(int) - 1
    return list(words[place])


def pages(megabytes: float) -> Iterator[WebPage]:
    """Pages of so many million characters together."""
    rng = np.random.default_rng(0)
    words = vocabulary(rng)
    left, number = megabytes * 1e6, 0
    while left > 0:
        text = " ".join(drawn_words(words, int(rng.integers(300, 1300)), rng))
        title = " ".join(words[rng.integers(0, WORDS, 2)]).title()
        yield WebPage(f"pages/{number}", title, text, "2030-01-01")
        left -= len(text)
        number += 1


class Making:
    """Pages, and the processor seconds that making them took."""

    def __init__(self, made: Iterator[WebPage]) -> None:
        self.made, self.seconds = made, 0.0

    def __iter__(self) -> Iterator[WebPage]:
        while True:
            start = time.process_time()
            page = next(self.made, None)
            self.seconds += time.process_time() - start
            if page is None:
                return
            yield page


def opened(path: str, barrier: object, seconds: multiprocessing.Queue) -> None:
    """One of many processes: open the index, search once."""
    barrier.wait()
    start = time.perf_counter()
    hits = FullTextIndex(path).search("port", 5)
    seconds.put((time.perf_counter() - start, len(hits)))


def at_once(path: Path, many: int) -> list[float]:
    """Seconds in which each of `many` processes, begun together, has opened and searched."""
    context = multiprocessing.get_context("fork")  # all begin in the same moment, with nothing to import
    barrier, queue = context.Barrier(many), context.Queue()
    processes = [context.Process(target=opened, args=(str(path), barrier, queue)) for _ in range(many)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=600)[0] for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return sorted(found)


def searched(index: FullTextIndex, many: int) -> dict[str, list[float]]:
    """Processor milliseconds of searches by kind of query, sorted; the file's pages are in memory by then."""
    rng = np.random.default_rng(1)
    words = vocabulary(np.random.default_rng(0))

    def language(count: int) -> list[str]:
        return drawn_words(words, count, rng)

    kinds = {
        "four words of the language": lambda: " ".join(language(4)),
        "a name and two words": lambda: " ".join([*words[rng.integers(2000, WORDS, 2)], *language(2)]),
        "two of the 50 commonest": lambda: " ".join(words[rng.integers(0, 50, 2)]),
    }
    found = {}
    for name, query in kinds.items():
        times = []
        for at in range(many + 20):
            asked = query()
            start = time.process_time_ns()
            index.search(asked, 10)
            if at >= 20:
                times.append((time.process_time_ns() - start) / 1e6)
        found[name] = sorted(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/search_index"))
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--searches", type=int, default=300)
    given = parser.parse_args()
    path = given.folder / f"{given.megabytes:g}.sqlite"
    making = Making(pages(given.megabytes))
    clock, start = time.perf_counter(), time.process_time()
    build_index(making, path, f"{given.megabytes:g} MB of drawn words")
    clock, busy = time.perf_counter() - clock, time.process_time() - start - making.seconds
    index = FullTextIndex(path)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = path.stat().st_size / 1e6
    print(
        f"{given.megabytes:g} MB, {len(index):,} pages: built in {busy:.0f} s of processor without the making"
    )
    print(
        f"({clock:.0f} s by the clock with it); the file has {size:.0f} MB, memory {memory:.0f}",
        flush=True,
    )
    for name, times in searched(index, given.searches).items():
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"search, {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms", flush=True)
    times = at_once(path, given.processes)
    print(
        f"{given.processes} processes opened and searched it at once in {times[0]:.3f} to {times[-1]:.3f} s"
    )


if __name__ == "__main__":
    main()
