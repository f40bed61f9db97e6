"""The server's figures for Prometheus, read when they are asked for."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from millstream.server.house import House


class Figures(Collector):
    """One house."""

    def __init__(self, house: House) -> None:
        self._house = house

    def collect(self) -> Iterator[Metric]:
        """Every metric with its value of this moment."""
        yield from self._counters()
        yield from self._gauges()
        yield self._ages()

    def _counters(self) -> Iterator[Metric]:
        tally, live = self._house.tally, [session.figures for session in self._house.sessions.values()]
        for name, what, past in (
            ("pictures_in", "pictures received", tally.pictures_in),
            ("pictures_out", "results of the engine", tally.pictures_out),
            ("bytes_in", "bytes of pictures received", tally.bytes_in),
            ("bytes_out", "bytes of results encoded", tally.bytes_out),
        ):
            yield _counter(name, what, past + sum(getattr(figures, name) for figures in live))
        yield _counter("sessions", "sessions begun", tally.sessions)
        yield _counter("sessions_refused", "clients refused for want of a place", tally.refused)
        yield _counter("engine_lost", "times the engine's worker was lost", tally.lost)
        yield _counter("faults", "messages refused", tally.faults)

    def _gauges(self) -> Iterator[Metric]:
        sessions = self._house.sessions.values()
        engines = [session.figures.engine for session in sessions if session.figures.engine]
        memory = max((stats.memory_bytes for stats in engines), default=0)
        yield _gauge("sessions_open", "sessions open", len(sessions))
        yield _gauge("clients", "clients that watch", sum(len(session.watchers) for session in sessions))
        yield _gauge("engine_running", "1 while the engine's worker runs", self._house.engine.state == "running")
        yield _gauge("engine_memory_bytes", "memory that the engine's worker holds", memory)

    def _ages(self) -> Metric:
        family = GaugeMetricFamily("millstream_age_seconds", "age in the engine, worst session", labels=["quantile"])
        found = [session.figures.engine.stats for session in self._house.sessions.values() if session.figures.engine]
        for quantile, field in (("0.5", "age_ms_p50"), ("0.95", "age_ms_p95"), ("0.99", "age_ms_p99")):
            ages = [age for stats in found if (age := getattr(stats, field)) is not None]
            if ages:
                family.add_metric([quantile], max(ages) / 1000)
        return family


def text(house: House) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(Figures(house))
    return generate_latest(registry)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"millstream_{name}", what, value=value)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"millstream_{name}", what, value=value)
