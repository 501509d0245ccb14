"""Where the answers come from: a file, an OpenAI-compatible endpoint, the running service, or local weights.

Owns asking and timing. Answers are written as they come, so that a stopped evaluation goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from app.chat.prompts import Passage, chat_messages
from app.safety.types import Audience, Evidence
from finetune.evaluation.questions import Question
from finetune.model_client import ModelClient, ModelError
from finetune.training.errors import FinetuneError, SettingsError

MAX_EVIDENCE_CHARS = 2400


class NoAnswer(FinetuneError):
    """The model under evaluation did not answer; what it answered before is kept."""

    code = "no_answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `latency_ms` is None when it was not measured here."""

    id: str
    answer: str
    latency_ms: float | None = None


class Source(Protocol):
    """Something that answers a question, given the evidence that the service would show the model."""

    name: str

    def answer(self, question: Question, evidence: Sequence[Evidence]) -> str: ...


def messages_for(question: Question, evidence: Sequence[Evidence]) -> list[dict[str, str]]:
    """The service's own prompt, with the reference sections as evidence (none: the bare question)."""
    audience = Audience(question.audience)
    passages: list[Passage] = []
    left = MAX_EVIDENCE_CHARS
    for item in evidence:
        if left <= 0:
            break
        passages.append(Passage(item.title, "", "", "", item.text[:left]))
        left -= len(item.text)
    made = chat_messages(question.question, passages, department=question.department, audience=audience)
    found = [{"role": str(m["role"]), "content": str(m["content"])} for m in made]
    if not passages:
        found[-1]["content"] = question.question
    return found


class Endpoint:
    """A model behind an OpenAI-compatible server, such as vLLM with an adapter's name as the model."""

    def __init__(self, client: ModelClient, name: str, *, max_tokens: int = 768) -> None:
        self.name = name
        self._client = client
        self._max_tokens = max_tokens

    def answer(self, question: Question, evidence: Sequence[Evidence]) -> str:
        try:
            return self._client.chat(messages_for(question, evidence), max_tokens=self._max_tokens)
        except ModelError as error:
            raise NoAnswer(f"{question.id}: {error}") from error


class Service:
    """The whole running service: its retrieval, its review, its adapter."""

    def __init__(self, client: httpx.Client) -> None:
        self.name = f"service {client.base_url}"
        self._client = client

    def answer(self, question: Question, evidence: Sequence[Evidence]) -> str:
        body = {
            "message": question.question,
            "department": question.department,
            "audience": question.audience,
        }
        try:
            reply = self._client.post("/api/v1/chat", json={**body, "stream": False})
            reply.raise_for_status()
            found = reply.json()
            notices = "\n".join(notice["text"] for notice in found.get("notices", []))
            return f"{notices}\n{found['answer']}".strip()
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise NoAnswer(f"{question.id}: the service did not answer ({type(error).__name__})") from error


class Weights:
    """Local weights through transformers, with or without an adapter; greedy."""

    def __init__(self, model: str, adapter: Path | None = None, *, max_tokens: int = 256) -> None:
        from finetune.evaluation.local import LocalModel

        self.name = model if adapter is None else f"{model} + {adapter}"
        self.local = LocalModel(model, adapter)
        self._max_tokens = max_tokens

    def answer(self, question: Question, evidence: Sequence[Evidence]) -> str:
        return self.local.generate(messages_for(question, evidence), self._max_tokens)


def ask_all(
    source: Source, questions: Sequence[Question], evidence: Any, target: Path, *, progress: Any = None
) -> list[Answer]:
    """Ask every question that `target` does not answer yet; all answers in the questions' order.

    `evidence(question)` gives the passages of the prompt, `progress(done, all)` is told after each answer.

    Raises:
        NoAnswer: the source failed; the answers before it are in `target`.
    """
    known = {answer.id: answer for answer in read_answers(target)} if target.exists() else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a", encoding="utf-8") as file:
        for number, question in enumerate(questions, start=1):
            if question.id not in known:
                started = time.perf_counter()
                text = source.answer(question, evidence(question))
                latency = round((time.perf_counter() - started) * 1000, 1)
                known[question.id] = Answer(question.id, text, latency)
                file.write(json.dumps(asdict(known[question.id]), ensure_ascii=False) + "\n")
                file.flush()
            if progress is not None:
                progress(number, len(questions))
    return [known[question.id] for question in questions]


def read_answers(path: Path) -> list[Answer]:
    """Answers from JSON lines with `id` and `answer`; a last line cut off by a kill is left out.

    Raises:
        SettingsError: any other broken line, with its number, or an id that occurs twice.
    """
    found: dict[str, Answer] = {}
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            answer = Answer(str(row["id"]), str(row["answer"]), row.get("latency_ms"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines):
                break
            raise SettingsError(f"{path}:{number}: not an answer with id and answer") from error
        if answer.id in found:
            raise SettingsError(f"{path}:{number}: id {answer.id} occurs twice")
        found[answer.id] = answer
    return list(found.values())


def match(answers: Iterable[Answer], questions: Sequence[Question]) -> list[Answer]:
    """The answers in the questions' order. Raises SettingsError when some are missing."""
    known = {answer.id: answer for answer in answers}
    missing = [question.id for question in questions if question.id not in known]
    if missing:
        raise SettingsError(f"{len(missing)} questions have no answer, the first is {missing[0]}")
    return [known[question.id] for question in questions]
