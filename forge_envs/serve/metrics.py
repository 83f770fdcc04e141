"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0)


class Metrics:
    """Counters of one server; nothing is shared between servers of a process."""

    def __init__(self) -> None:
        one = self.registry = CollectorRegistry()
        self._open = Gauge("forge_sessions_open", "Sessions that can be used.", ["world"], registry=one)
        self._held = Gauge("forge_worlds_held", "Worlds made, being made or being closed.", registry=one)
        self._made = Counter("forge_sessions_made", "Sessions begun.", ["world"], registry=one)
        self._ended = Counter(
            "forge_sessions_ended", "Sessions ended, and how.", ["world", "how"], registry=one
        )
        self._steps = Histogram(
            "forge_step_seconds", "Seconds in a world's step.", ["world"], buckets=SECONDS, registry=one
        )
        self._failed = Counter("forge_machine_failures", "Machine failures.", ["world", "kind"], registry=one)
        self._refused = Counter("forge_refusals", "Requests refused, and why.", ["kind"], registry=one)

    def held(self, count: Callable[[], float]) -> None:
        """Ask for the number of worlds held whenever it is told."""
        self._held.set_function(count)

    def made(self, world: str) -> None:
        """A session was begun."""
        self._made.labels(world).inc()
        self._open.labels(world).inc()

    def ended(self, world: str, how: str) -> None:
        """A session that was begun has ended."""
        self._ended.labels(world, how).inc()
        self._open.labels(world).dec()

    def stepped(self, world: str, seconds: float) -> None:
        """A step came back, with whatever result."""
        self._steps.labels(world).observe(seconds)

    def failed(self, world: str, kind: str) -> None:
        """A machine failed."""
        self._failed.labels(world, kind).inc()

    def refused(self, kind: str) -> None:
        """A request got no answer."""
        self._refused.labels(kind).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
