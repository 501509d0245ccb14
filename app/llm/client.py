"""One model server over vLLM's HTTP API: chat streams, models, adapters, token counts, health.

Owns the payloads, the checks on what comes back and the translation of every failure into `faults.py`. Choosing a
replica is in `pool.py`; what is asked and how an answer is put together in `vllm.py`. The answers of vLLM 0.22 to
0.32 are understood (`reasoning` and the older `reasoning_content` deltas).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from app.chat.prompts import ChatMessage
from app.llm.base import Finished
from app.llm.faults import (
    CallRefused,
    ModelFault,
    ModelMissing,
    PromptTooLong,
    ReplicaBusy,
    ReplicaDown,
    TooSlow,
)
from app.llm.sse import DataLines

CONNECT_S = 2.0
PROBE_S = 3.0
ADMIN_S = 120.0
END_S = 0.5
DONE = "[DONE]"
LoadOutcome = Literal["loaded", "already"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a chat stream; empty parts are "" or None."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Finished | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A line of `/v1/models`. `root` is where it was loaded from; `parent` is None for the base model."""

    name: str
    root: str
    parent: str | None
    max_model_len: int | None


class VllmClient:
    """Every method raises only `ModelFault`s. `url` is the server's root, without `/v1`."""

    def __init__(self, url: str, *, api_key: str, read_s: float, connections: int) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(read_s, connect=CONNECT_S, pool=CONNECT_S),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )

    async def chat(self, payload: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of one answer; ends after a chunk with a `finish_reason`. Closing it stops the server's work."""
        body = {**payload, "stream": True, "stream_options": {"include_usage": True}}
        with self._translated():
            async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise self._refused(response)
                async for chunk in self._chunks(response):
                    yield chunk

    async def complete(self, payload: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The whole answer of a chat request that is not streamed, as vLLM's JSON."""
        return await self._json("POST", "/v1/chat/completions", payload, timeout_s=timeout_s)

    async def models(self) -> tuple[ServedModel, ...]:
        """The base model and the adapters that the server has now."""
        body = await self._json("GET", "/v1/models", timeout_s=PROBE_S)
        with self._translated():
            return tuple(
                ServedModel(str(m["id"]), str(m.get("root", "")), m.get("parent"), m.get("max_model_len"))
                for m in body["data"]
            )

    async def load_adapter(self, name: str, path: str) -> LoadOutcome:
        """Loads an adapter under a name that is never used for other weights; a second time is no error."""
        try:
            await self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, ADMIN_S)
        except CallRefused as fault:
            if "already" in fault.problem:
                return "already"
            raise
        return "loaded"

    async def unload_adapter(self, name: str) -> None:
        """Unloads an adapter; streams that use it go on. One that is not there is no error."""
        with suppress(ModelMissing):
            await self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name}, ADMIN_S)

    async def count_tokens(self, model: str, messages: Sequence[ChatMessage]) -> tuple[int, int | None]:
        """Tokens of the templated conversation, and the server's context length when it says so."""
        payload = {"model": model, "messages": list(messages), "add_generation_prompt": True}
        body = await self._json("POST", "/tokenize", payload, timeout_s=PROBE_S)
        with self._translated():
            longest = body.get("max_model_len")
            return int(body["count"]), None if longest is None else int(longest)

    async def healthy(self) -> None:
        """Returns when the server says it is well."""
        await self._send("GET", "/health", None, PROBE_S)

    async def close(self) -> None:
        await self._http.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[Chunk, None]:
        lines, finished, body = DataLines(), False, response.aiter_bytes()
        async for data in body:
            for payload in lines.feed(data):
                if payload == DONE:
                    if not finished:
                        raise ReplicaDown("the stream ended without a finish reason", replica=self.url)
                    await _read_out(body)
                    return
                chunk = self._chunk(json.loads(payload))
                finished = finished or chunk.finish_reason is not None
                yield chunk
        if not finished:
            raise ReplicaDown("the stream broke off", replica=self.url)

    def _chunk(self, body: dict[str, Any]) -> Chunk:
        if "error" in body:
            raise ReplicaDown("the server reported an error inside the stream", replica=self.url)
        usage = body.get("usage")
        spent = None
        if usage is not None:
            spent = Finished(int(usage["prompt_tokens"]), int(usage.get("completion_tokens", 0)))
        if not body["choices"]:
            return Chunk(usage=spent)
        choice = body["choices"][0]
        delta = choice["delta"]
        reasoning = delta.get("reasoning_content")
        if reasoning is None:
            reasoning = delta.get("reasoning")
        text = delta.get("content")
        if not isinstance(text, str | None) or not isinstance(reasoning, str | None):
            raise TypeError("a delta is not text")
        return Chunk(
            "" if text is None else text,
            "" if reasoning is None else reasoning,
            choice.get("finish_reason"),
            spent,
        )

    async def _json(
        self, method: str, path: str, payload: object = None, *, timeout_s: float
    ) -> dict[str, Any]:
        response = await self._send(method, path, payload, timeout_s)
        with self._translated():
            body = response.json()
            if not isinstance(body, dict):
                raise TypeError("not an object")
            return body

    async def _send(self, method: str, path: str, payload: object, timeout_s: float) -> httpx.Response:
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_S, pool=CONNECT_S)
        with self._translated():
            response = await self._http.request(method, path, json=payload, timeout=timeout)
            if response.status_code != 200:
                raise self._refused(response)
            return response

    def _translated(self) -> _Translation:
        return _Translation(self.url)

    def _refused(self, response: httpx.Response) -> ModelFault:
        """The fault that a status other than 200 stands for; only short server messages are kept."""
        status, (message, param) = response.status_code, _error_of(response)
        if status in (429, 503):
            return ReplicaBusy(f"HTTP {status}", replica=self.url, retry_after_s=_seconds(response))
        if status >= 500 or status < 400:
            return ReplicaDown(f"HTTP {status} {message}".rstrip(), replica=self.url)
        if status == 404:
            return ModelMissing(f"HTTP 404 {message}".rstrip(), replica=self.url)
        if status == 400 and (param == "input_tokens" or "context length" in message):
            return PromptTooLong("the prompt is too long", replica=self.url)
        return CallRefused(f"HTTP {status} {message}".rstrip(), replica=self.url)


class _Translation:
    """A `with` block in which foreign errors become faults of one replica."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx.TimeoutException):
            raise TooSlow(type(error).__name__, replica=self._url) from error
        if isinstance(error, httpx.HTTPError | httpx.StreamError | OSError):
            raise ReplicaDown(type(error).__name__, replica=self._url) from error
        if isinstance(error, ValueError | KeyError | TypeError | IndexError | AttributeError):
            raise ReplicaDown("not the answer of a vLLM server", replica=self._url) from error


async def _read_out(body: AsyncIterator[bytes]) -> None:
    """Reads what follows the end mark, a few bytes that close the body: a connection left with them unread cannot be
    used again, and every answer would begin with a new one. The answer is whole, so trouble here is nobody's."""
    with suppress(TimeoutError, httpx.HTTPError, httpx.StreamError):
        async with asyncio.timeout(END_S):
            async for _ in body:
                pass


def _error_of(response: httpx.Response) -> tuple[str, str | None]:
    try:
        error = response.json()["error"]
        return str(error["message"])[:200], error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", None


def _seconds(response: httpx.Response) -> int | None:
    value = response.headers.get("retry-after", "")
    return int(value) if value.isascii() and value.isdigit() else None
