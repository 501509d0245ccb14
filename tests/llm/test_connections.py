"""Connections to the model servers are kept: an answer that was read to its end leaves its connection for the next."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.llm.client import VllmClient
from tests.llm.stub_vllm import StubVllm


class Watched(StubVllm):
    """Keeps the port that each chat request came from."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[int] = []

    async def _chat(self, request: Request) -> Response:
        assert request.client is not None
        self.ports.append(request.client.port)
        return await super()._chat(request)


async def test_answers_one_after_another_share_a_connection() -> None:
    server = Watched()
    server.start()
    client = VllmClient(server.url, api_key="", read_s=10, connections=4)
    try:
        for _ in range(3):
            chunks = [chunk async for chunk in client.chat({"model": "tiny-base", "messages": []})]
            assert chunks[-1].usage is not None or chunks[-1].finish_reason == "stop"
        assert len(server.ports) == 3
        assert len(set(server.ports)) == 1
    finally:
        await client.close()
        server.stop()
