"""A small server that speaks vLLM's HTTP API on the loopback, with scripted faults. It is a double, not a patch.

Status codes and bodies are those that vLLM 0.32 was seen to give.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

BASE = "tiny-base"
ANSWER = ("胸痛时", "先停下", "休息[1]。", "仍不缓解", "请拨打120[1]。")


@dataclass(frozen=True)
class Act:
    """What the server does with one chat request."""

    status: int = 200
    tokens: tuple[str, ...] = ANSWER
    reasoning: tuple[str, ...] = ()
    first_delay_s: float = 0.0
    gap_s: float = 0.0
    break_after: int | None = None
    garbage: bytes | None = None
    error_in_stream: bool = False
    no_finish: bool = False
    finish_reason: str = "stop"
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "no"
    param: str | None = None


class StubVllm:
    """`acts` are used up one per chat request, then `default` is; what was asked is kept in `chats`."""

    def __init__(self, *, max_model_len: int = 4096, max_rank: int = 16) -> None:
        self.default = Act()
        self.acts: deque[Act] = deque()
        self.chats: list[dict[str, Any]] = []
        self.tokenized = 0
        self.tokenize_status = 200
        self.running = 0
        self.cancelled = 0
        self.loads: list[str] = []
        self.adapters: dict[str, str] = {}
        self.answers: dict[str, tuple[str, ...]] = {}
        self.load_status: dict[str, int] = {}
        self.max_model_len = max_model_len
        self.max_rank = max_rank
        self.well = True
        self.garbage_models = False
        self.alike = False
        self.url = ""
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def app(self) -> Starlette:
        post = ["POST"]
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/tokenize", self._tokenize, methods=post),
                Route("/v1/chat/completions", self._chat, methods=post),
                Route("/v1/load_lora_adapter", self._load, methods=post),
                Route("/v1/unload_lora_adapter", self._unload, methods=post),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return Response(status_code=200 if self.well else 503)

    async def _models(self, _: Request) -> Response:
        if self.garbage_models:
            return PlainTextResponse("<html>It works!</html>")
        base = {"id": BASE, "root": "/models/tiny", "parent": None, "max_model_len": self.max_model_len}
        more = [{"id": n, "root": r, "parent": BASE, "max_model_len": None} for n, r in self.adapters.items()]
        return JSONResponse({"object": "list", "data": [base, *more]})

    async def _tokenize(self, request: Request) -> Response:
        body = await request.json()
        self.tokenized += 1
        if self.tokenize_status != 200:
            return error(self.tokenize_status, "cannot count")
        return JSONResponse(
            {"count": count(body["messages"]), "max_model_len": self.max_model_len, "tokens": []}
        )

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if name in self.load_status:
            return error(self.load_status[name], "the adapter could not be loaded")
        if name in self.adapters:
            return error(
                400, f"The lora adapter '{name}' has already been loaded. If you want to load it in place …"
            )
        if not Path(path).exists():
            return error(404, f"Loading lora {name} failed: No adapter found for {path}")
        config = json.loads((Path(path) / "adapter_config.json").read_text())
        if config["r"] > self.max_rank:
            return error(500, "LoRA rank is greater than max_lora_rank")
        self.adapters[name] = path
        self.loads.append(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return error(404, f"The lora adapter '{name}' cannot be found.")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.chats.append(body)
        act = self.acts.popleft() if self.acts else self.default
        model = body["model"]
        if act.status != 200:
            return error(act.status, act.message, act.param, act.headers)
        if model != BASE and model not in self.adapters:
            return error(404, f"The model `{model}` does not exist.")
        if count(body["messages"]) + body.get("max_tokens", 0) > self.max_model_len:
            return error(400, "This model's maximum context length is exceeded", "input_tokens")
        tokens = self.answers.get(model, act.tokens)
        if not body.get("stream"):
            return JSONResponse(whole(tokens, BASE if self.alike else model, body))
        return StreamingResponse(self._stream(act, tokens), media_type="text/event-stream")

    async def _stream(self, act: Act, tokens: tuple[str, ...]) -> AsyncIterator[bytes]:
        self.running += 1
        try:
            await asyncio.sleep(act.first_delay_s)
            if act.garbage is not None:
                yield act.garbage
                return
            yield event({"role": "assistant", "content": ""})
            for thought in act.reasoning:
                yield event({"reasoning_content": thought})
            for number, token in enumerate(tokens):
                if act.break_after == number:
                    if act.error_in_stream:
                        yield b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
                        return
                    if act.no_finish:
                        return
                    raise ConnectionResetError
                yield event({"content": token})
                await asyncio.sleep(act.gap_s)
            yield event({}, act.finish_reason)
            usage = {"prompt_tokens": 11, "completion_tokens": len(tokens), "total_tokens": 11 + len(tokens)}
            yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def start(self, port: int = 0) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        config = uvicorn.Config(self.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the server at once, also in the middle of streams, as a killed process would."""
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def restart(self) -> None:
        """The same address, without what was loaded: what a restarted vLLM looks like."""
        self.stop()
        self.adapters.clear()
        self.start(int(self.url.rsplit(":", 1)[1]))


def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    body = {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def whole(tokens: tuple[str, ...], model: str, body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(tokens)}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
    if body.get("logprobs"):
        logprob = -0.1 if model == BASE else -0.2
        choice["logprobs"] = {"content": [{"token": t, "logprob": logprob} for t in tokens]}
    return {"model": model, "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def count(messages: list[dict[str, str]]) -> int:
    """Half a token a byte, which no estimate knows beforehand."""
    return sum(len(m["content"].encode()) for m in messages) // 2


def error(
    status: int, message: str, param: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    body = {"error": {"message": message, "type": "BadRequestError", "param": param, "code": status}}
    return JSONResponse(body, status_code=status, headers=headers)


@contextmanager
def half_open() -> Iterator[str]:
    """An address that takes connections and never answers."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        sock.close()
