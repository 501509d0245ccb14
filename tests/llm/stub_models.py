"""A small server that speaks the embedding and reranking forms of text-embeddings-inference and of vLLM's pooling models.

Vectors are the real ones of the embedded model, so that what is found through it is what would be found without it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from retrieval.types import Embedder

API_KEY = "of the models"
KNOWN: dict[tuple[str, str], np.ndarray] = {}


class StubModels:
    """`calls` holds the paths asked for. With `silent` it takes requests and never answers; `status` refuses them."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.calls: list[str] = []
        self.silent = False
        self.status = 200
        self.url = ""
        paths = {
            "/v1/embeddings": self._openai_embeddings,
            "/embed": self._tei_embed,
            "/embed_sparse": self._tei_sparse,
            "/v1/rerank": self._jina_rerank,
            "/rerank": self._tei_rerank,
        }
        self._app = Starlette(routes=[Route(p, self._guarded(f), methods=["POST"]) for p, f in paths.items()])
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def _guarded(self, form: Any) -> Any:
        async def answer(request: Request) -> Response:
            self.calls.append(request.url.path)
            if request.headers.get("authorization") != f"Bearer {API_KEY}":
                return JSONResponse({"error": "who are you"}, status_code=401)
            if self.status != 200:
                return JSONResponse({"error": "no", "error_type": "overloaded"}, status_code=self.status)
            body = await request.json()
            while self.silent:
                if await request.is_disconnected():
                    return Response(status_code=499)
                await asyncio.sleep(0.02)
            return JSONResponse(await asyncio.to_thread(form, body))

        return answer

    def _vectors(self, texts: list[str], purpose: str) -> np.ndarray:
        """Each text is computed once for all tests: on a busy machine forty passages take ten seconds."""
        fresh = [text for text in dict.fromkeys(texts) if (purpose, text) not in KNOWN]
        for text, vector in zip(
            fresh, self.embedder.embed(fresh, purpose).dense if fresh else (), strict=True
        ):  # type: ignore[arg-type]
            KNOWN[purpose, text] = vector
        return np.stack([KNOWN[purpose, text] for text in texts])

    def _openai_embeddings(self, body: dict[str, Any]) -> Any:
        texts = body["input"]
        data = [
            {"object": "embedding", "index": n, "embedding": (2 * vector).tolist()}
            for n, vector in enumerate(self._vectors(texts, "document"))
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return {"object": "list", "data": data[::-1], "model": body["model"], "usage": usage}

    def _tei_embed(self, body: dict[str, Any]) -> Any:
        assert body["normalize"] is True
        return self._vectors(body["inputs"], "document").tolist()

    def _tei_sparse(self, body: dict[str, Any]) -> Any:
        return [[{"index": ord(t[0]), "value": 0.5}] for t in body["inputs"]]

    def _scores(self, query: str, texts: list[str]) -> list[tuple[int, float]]:
        """Best first, as these servers answer; between 0 and 1."""
        question, rows = self._vectors([query], "query")[0], self._vectors(texts, "document")
        scores = 1 / (1 + np.exp(-40 * (rows @ question - 0.5)))
        return sorted(enumerate(map(float, scores)), key=lambda pair: -pair[1])

    def _tei_rerank(self, body: dict[str, Any]) -> Any:
        return [{"index": n, "score": s} for n, s in self._scores(body["query"], body["texts"])]

    def _jina_rerank(self, body: dict[str, Any]) -> Any:
        found = self._scores(body["query"], body["documents"])
        results = [
            {"index": n, "document": {"text": body["documents"][n]}, "relevance_score": s} for n, s in found
        ]
        return {"id": "score-1", "model": body["model"], "results": results}

    def start(self) -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        config = uvicorn.Config(self._app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends the server at once; a second time changes nothing."""
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
