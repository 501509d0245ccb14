"""The smoke test: does an adapter answer on every replica, differ from the base model, know red flags, cite.

Probes are reviewed data (`probes.yaml`); answers are judged by the service's own reviewer as well. A demonstration
adapter (a tiny model that knows one sentence) is held to the technical probes only, and never leaves development.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from app.adapters.loading import PROBE, PROBE_TIMEOUT_S
from app.chat.prompts import Passage, chat_messages
from app.llm.faults import ModelFault
from app.llm.pool import Replica, ReplicaPool
from app.llm.thinking import ThinkSplitter
from app.safety.types import Audience, Evidence, Level, ReviewContext, ReviewResult, TriageResult, Verdict

PROBES = Path(__file__).with_name("probes.yaml")
ANSWER_TOKENS = 240
COMPARED_TOKENS = 8
SAME_LOGPROB = 1e-3
_CITED = re.compile(r"\[(\d+)\]")

Judge = Callable[[ReviewContext, str], ReviewResult]


class Probe(BaseModel):
    """One question with the only passage that may be used for it."""

    id: str
    department: str
    question: str
    title: str
    source: str
    year: str
    passage: str
    must_say: list[str]


class ProbeFile(BaseModel):
    version: str
    red_flag: list[Probe]
    citation: list[Probe]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`problem` is "" when the probe passed."""

    replica: str
    probe: str
    problem: str


@dataclass(frozen=True, slots=True)
class SmokeReport:
    """All probes on all replicas; `skipped` names those that do not apply."""

    probes_version: str
    results: tuple[ProbeResult, ...]
    skipped: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.results) and not any(r.problem for r in self.results)

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self), "results": [asdict(r) for r in self.results]}


@cache
def probes() -> ProbeFile:
    return ProbeFile.model_validate(yaml.safe_load(PROBES.read_text(encoding="utf-8")))


class SmokeTest:
    """Asks every replica; one that cannot be asked has failed."""

    def __init__(self, pool: ReplicaPool, judge: Judge) -> None:
        self._pool = pool
        self._judge = judge

    async def run(self, name: str, *, demo: bool) -> SmokeReport:
        """Never raises for a replica; its problem is in the report."""
        await self._pool.refresh()
        per_replica = await asyncio.gather(*(self._on(r, name, demo=demo) for r in self._pool.replicas))
        skipped = tuple(p.id for p in (*probes().red_flag, *probes().citation)) if demo else ()
        return SmokeReport(probes().version, tuple(r for results in per_replica for r in results), skipped)

    async def _on(self, replica: Replica, name: str, *, demo: bool) -> list[ProbeResult]:
        if not self._pool.has(replica, name):
            return [ProbeResult(replica.url, "loaded", "the replica does not have the adapter")]
        results = [ProbeResult(replica.url, "differs_from_base", await self._difference(replica, name))]
        if not demo:
            for kind, asked in (("red_flag", probes().red_flag), ("citation", probes().citation)):
                for probe in asked:
                    problem = await self._clinical(replica, name, probe)
                    results.append(ProbeResult(replica.url, f"{kind}:{probe.id}", problem))
        return results

    async def _difference(self, replica: Replica, name: str) -> str:
        """Answers through the name and through the base model; alike to the last digit means without effect.

        One after the other: asked at once, in one batch, vLLM on a CPU was seen to answer the adapter's as the base model.
        """
        try:
            base = await self._logprobs(replica, self._pool.model)
            own = await self._logprobs(replica, name)
        except (ModelFault, KeyError, TypeError, IndexError) as error:
            return f"no answer: {error}"
        if not own:
            return "an empty answer"
        return "answers exactly like the base model" if _same(own, base) else ""

    async def _logprobs(self, replica: Replica, model: str) -> list[tuple[str, float]]:
        payload = {
            "model": model,
            "messages": PROBE,
            "max_tokens": COMPARED_TOKENS,
            "temperature": 0,
            "logprobs": True,
        }
        body = await replica.client.complete(payload, timeout_s=PROBE_TIMEOUT_S)
        return [(t["token"], float(t["logprob"])) for t in body["choices"][0]["logprobs"]["content"]]

    async def _clinical(self, replica: Replica, name: str, probe: Probe) -> str:
        """The problem of the answer to a clinical probe."""
        passage = Passage(probe.title, "", probe.source, probe.year, probe.passage)
        messages = chat_messages(
            probe.question, [passage], department=probe.department, audience=Audience.PATIENT
        )
        payload = {"model": name, "messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0}
        try:
            body = await replica.client.complete(payload, timeout_s=PROBE_TIMEOUT_S)
            text = answer_text(str(body["choices"][0]["message"]["content"]))
        except (ModelFault, KeyError, TypeError, IndexError) as error:
            return f"no answer: {error}"
        return await asyncio.to_thread(self._problem, probe, text)

    def _problem(self, probe: Probe, text: str) -> str:
        cited = {int(n) for n in _CITED.findall(text)}
        if missing := [wanted for wanted in probe.must_say if wanted not in text]:
            return f"does not say {missing[0]}"
        if cited != {1}:
            return "cites nothing" if not cited else "cites passages that were not given"
        evidence = (Evidence("probe", probe.title, probe.passage),)
        context = ReviewContext(
            question=probe.question,
            evidence=evidence,
            triage=TriageResult(Level.ROUTINE),
            department=probe.department,
        )
        result = self._judge(context, text)
        if result.verdict is Verdict.BLOCKED:
            return "blocked by review: " + ", ".join(sorted({v.code.value for v in result.violations}))
        return ""


def answer_text(text: str) -> str:
    """The answer without thinking."""
    splitter = ThinkSplitter()
    return "".join(p.text for p in [*splitter.feed(text), *splitter.close()] if not p.thinking)


def _same(one: Sequence[tuple[str, float]], other: Sequence[tuple[str, float]]) -> bool:
    if [token for token, _ in one] != [token for token, _ in other]:
        return False
    return all(abs(a - b) < SAME_LOGPROB for (_, a), (_, b) in zip(one, other, strict=True))
