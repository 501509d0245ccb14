"""Logs without patient text, Prometheus metrics, and the stopwatch behind `timings_ms`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.safety.types import ReviewResult

log = structlog.get_logger("anxin")

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)


def configure_logging(level: str, *, json_lines: bool) -> None:
    """JSON lines on stdout for machines, readable lines in development."""
    renderer = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=False,
    )


class Metrics:
    """All instruments of the service, in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "HTTP requests", "method", "route", "status")
        self.request_seconds = self._histogram("request_seconds", "Time per request", "route")
        self.first_text_seconds = self._histogram("ttft_seconds", "Time to the first text of an answer")
        self.step_seconds = self._histogram("step_seconds", "Time per pipeline step", "step")
        self.triage = self._counter("triage", "Triaged messages", "level")
        self.verdicts = self._counter("verdicts", "Reviewed answers", "verdict")
        self.violations = self._counter("violations", "Violations found by review", "code")
        self.answers = self._counter("answers", "Answers given", "generator")
        self.degraded = self._counter("degraded_answers", "Answers given by a fallback")
        self.evidence_none = self._counter("evidence_none", "Questions without evidence")
        self.refused = self._counter("refused_inputs", "Messages answered with a refusal", "kind")
        self.retrieval_failures = self._counter("retrieval_failures", "Searches that failed", "error")
        self.rule_alarms = self._counter("rule_file_alarms", "Rule files rejected at (re)load")
        self.streams = Gauge("anxin_streams", "Answers running now", registry=self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"anxin_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, *labels: str) -> Histogram:
        return Histogram(f"anxin_{name}", help_text, labels, registry=self.registry, buckets=LATENCY_BUCKETS)

    def answered(self, kind: str, result: ReviewResult, degraded: bool, watch: Stopwatch) -> None:
        """Counts one finished answer."""
        self.answers.labels(kind).inc()
        self.verdicts.labels(result.verdict.value).inc()
        for violation in result.violations:
            self.violations.labels(violation.code.value).inc()
        if degraded:
            self.degraded.inc()
        for step, spent_ms in watch.steps.items():
            self.step_seconds.labels(step).observe(spent_ms / 1000)
        if watch.first_text_ms is not None:
            self.first_text_seconds.observe(watch.first_text_ms / 1000)


metrics = Metrics()


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds per step; a step that is entered again adds up."""

    started: float = field(default_factory=time.perf_counter)
    steps: dict[str, float] = field(default_factory=dict)
    first_text_ms: float | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.steps[name] = self.steps.get(name, 0.0) + (time.perf_counter() - begun) * 1000

    def move(self, source: str, target: str, spent_ms: float) -> None:
        """Books `spent_ms` that were measured inside `source` under `target`."""
        self.steps[source] = max(0.0, self.steps.get(source, 0.0) - spent_ms)
        self.steps[target] = self.steps.get(target, 0.0) + spent_ms

    def first_text(self) -> None:
        if self.first_text_ms is None:
            self.first_text_ms = (time.perf_counter() - self.started) * 1000

    def timings_ms(self) -> dict[str, float]:
        total = (time.perf_counter() - self.started) * 1000
        names = ("triage", "rewrite", "retrieve", "rerank", "generate", "review", "store")
        out = {name: round(self.steps.get(name, 0.0), 2) for name in names}
        if self.first_text_ms is not None:
            out["first_text"] = round(self.first_text_ms, 2)
        return {**out, "total": round(total, 2)}
