"""Asks any OpenAI-compatible model, for data generation and watermark verification.

Owns the request, its retries and its errors. Prompts and what is done with answers belong to the callers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import httpx

_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})


class ModelError(Exception):
    """The model gave no answer; the message holds the status, never the prompt or the key."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """`base_url` ends before `/chat/completions` (such as http://127.0.0.1:8001/v1)."""

    base_url: str
    model: str
    api_key: str | None = None
    timeout_s: float = 120.0
    attempts: int = 3


class ModelClient:
    """Blocking; use as a context manager."""

    def __init__(self, spec: ModelSpec) -> None:
        headers = {} if spec.api_key is None else {"Authorization": f"Bearer {spec.api_key}"}
        self._spec = spec
        self._http = httpx.Client(timeout=spec.timeout_s, headers=headers, trust_env=False)

    def __enter__(self) -> ModelClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def chat(
        self, messages: Sequence[dict[str, str]], *, temperature: float = 0.0, max_tokens: int = 1024
    ) -> str:
        """The answer's text.

        Raises:
            ModelError: no connection, an error status after all attempts, or an answer of another shape.
        """
        body = {
            "model": self._spec.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        problem = "no attempt"
        for _ in range(max(1, self._spec.attempts)):
            try:
                reply = self._http.post(f"{self._spec.base_url.rstrip('/')}/chat/completions", json=body)
            except httpx.HTTPError as error:
                problem = type(error).__name__
                continue
            if reply.status_code in _RETRIED:
                problem = f"status {reply.status_code}"
                continue
            return _content(reply)
        raise ModelError(f"the model did not answer ({problem})")


def _content(reply: httpx.Response) -> str:
    if reply.status_code != httpx.codes.OK:
        raise ModelError(f"the model refused the request (status {reply.status_code})")
    try:
        text = reply.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError("the answer does not have the shape of a chat completion") from error
    if not isinstance(text, str):
        raise ModelError("the answer has no text")
    return text
