"""Embeddings and reranking behind HTTP: the forms of both kinds of server, and a question when they do not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import SecretStr

from app.db.migrate import migrate
from app.settings import MilvusSettings, RetrievalSettings
from knowledge_base.build import IndexBuilder, activate
from knowledge_base.document import Document
from knowledge_base.vectors import VectorCache
from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.errors import EmbedderUnavailable, RerankerUnavailable
from retrieval.rerank.http import HttpReranker, HttpRerankerSpec
from retrieval.store import MilvusStore
from retrieval.types import Embedder
from tests.conftest import Service, make_settings, running
from tests.llm.conftest import hit
from tests.llm.stub_models import API_KEY, StubModels

TEXTS = ["冠心病患者可以适度运动。", "过敏性鼻炎要避开尘螨。", "中风后尽早康复。"]
QUESTION = "冠心病患者可以运动吗？"
DOCUMENTED = "阿司匹林肠溶片什么时候吃最好？"
EMERGENCY = "我爸突然胸口压榨样疼，出冷汗，喘不上气"
SHORT_S = 0.3


@pytest.fixture
def models(embedder: Embedder) -> Iterator[StubModels]:
    stub = StubModels(embedder)
    stub.start()
    yield stub
    stub.stop()


def remote(models: StubModels, dialect: Literal["openai", "tei", "tei-sparse"]) -> Embedder:
    return make_embedder(
        EmbedderSpec(
            kind="http",
            url=models.url,
            api_key=API_KEY,
            dialect=dialect,
            dim=models.embedder.dim,
            model="m",
            batch_size=2,
            timeout_s=SHORT_S if models.silent else 20,
        )
    )


@pytest.mark.parametrize("dialect", ["openai", "tei"])
def test_vectors_are_those_of_the_model_in_the_order_of_the_texts(
    models: StubModels, embedder: Embedder, dialect: Any
) -> None:
    got = remote(models, dialect).embed(TEXTS, "document")
    np.testing.assert_allclose(got.dense, embedder.embed(TEXTS, "document").dense, atol=1e-5)
    assert got.sparse is None
    assert set(models.calls) == {"/v1/embeddings" if dialect == "openai" else "/embed"}


def test_lexical_weights_come_with_the_dialect_that_has_them(models: StubModels) -> None:
    sparse = remote(models, "tei-sparse").embed(TEXTS, "document").sparse
    assert sparse == tuple({ord(text[0]): 0.5} for text in TEXTS)


@pytest.mark.parametrize("dialect", ["tei", "jina"])
def test_reranker_orders_by_the_service(models: StubModels, embedder: Embedder, dialect: Any) -> None:
    reranker = HttpReranker(HttpRerankerSpec(models.url, api_key=API_KEY, dialect=dialect, timeout_s=20))
    hits = [hit(n, text) for n, text in enumerate(TEXTS[::-1], start=1)]
    ranked = reranker.rerank(QUESTION, embedder.embed([QUESTION], "query").dense, hits)
    assert ranked[0].chunk.text == TEXTS[0]
    assert len(ranked) == len(hits)
    assert all(0 <= found.score <= 1 for found in ranked)


@pytest.mark.parametrize("trouble", ["silent", "busy", "gone", "key"])
def test_trouble_is_said_in_time(models: StubModels, embedder: Embedder, trouble: str) -> None:
    models.silent = trouble == "silent"
    models.status = 503 if trouble == "busy" else 200
    key = "wrong" if trouble == "key" else API_KEY
    if trouble == "gone":
        models.stop()
    spec = EmbedderSpec(kind="http", url=models.url, api_key=key, dim=4, timeout_s=SHORT_S)
    begun = time.monotonic()
    with pytest.raises(EmbedderUnavailable) as told:
        make_embedder(spec).embed(TEXTS[:1], "query")
    reranker = HttpReranker(HttpRerankerSpec(models.url, api_key=key, timeout_s=SHORT_S))
    with pytest.raises(RerankerUnavailable):
        reranker.rerank(QUESTION, embedder.embed([QUESTION], "query").dense, [hit(1, TEXTS[0])])
    assert time.monotonic() - begun < 10 * SHORT_S
    assert models.url in str(told.value)
    assert TEXTS[0] not in str(told.value), "an error must not carry what a patient wrote"
    if trouble == "silent":
        assert models.calls == ["/v1/embeddings", "/rerank"], "waiting again would double the time-out"


@pytest.fixture(params=[("openai", "jina"), ("tei", "tei")], ids=["vllm", "tei"])
async def served(
    request: pytest.FixtureRequest, tmp_path: Path, models: StubModels, small_library: list[Document]
) -> AsyncIterator[Service]:
    """The service with both models behind HTTP, over an index that was built through them."""
    embedder_form, reranker_form = request.param
    embedder = remote(models, embedder_form)
    store = MilvusStore(str(tmp_path / "milvus.db"))
    cardiology = [d for d in small_library if d.document_id.startswith("car-")]
    IndexBuilder(store, embedder, VectorCache(embedder)).build(cardiology, name="kb_test")
    activate(store, "kb_test")
    store.close()
    retrieval = RetrievalSettings(
        embedder="http",
        embedder_model="m",
        embedder_url=models.url,
        embedder_api_key=SecretStr(API_KEY),
        embedder_dialect=embedder_form,
        embedder_dim=models.embedder.dim,
        reranker="http",
        reranker_url=models.url,
        reranker_api_key=SecretStr(API_KEY),
        reranker_dialect=reranker_form,
    )
    milvus = MilvusSettings(uri=str(tmp_path / "milvus.db"))
    settings = make_settings(tmp_path / "var", None, retrieval=retrieval, milvus=milvus)
    await asyncio.to_thread(migrate, settings.database_url)
    async with running(settings) as service:
        yield service


def wait_at_most(service: Service, seconds: float) -> None:
    """Other time limits than the service's own, which are long for a test."""
    for part in (service.parts.embedder, service.parts.searcher._reranker):
        part._service._http.timeout = seconds  # type: ignore[attr-defined]


async def test_question_is_answered_through_both_and_fails_soft_without_them(
    served: Service, models: StubModels
) -> None:
    guest = await served.guest()
    models.calls.clear()
    found = (await served.ask(guest, DOCUMENTED)).json()
    assert found["citations"]
    assert len(set(models.calls)) == 2, "both services were asked"
    wait_at_most(served, SHORT_S)
    models.silent = True
    waiting = asyncio.create_task(served.ask(guest, "支架术后多久可以运动？"))
    assert (await served.http.get("/health/live")).status_code == 200, "the service goes on meanwhile"
    without = await waiting
    assert without.status_code == 200
    assert without.json()["citations"] == []
    assert "知识库暂时不可用" in without.json()["answer"]
    urgent = (await served.ask(await served.guest(), EMERGENCY)).json()
    assert urgent["triage"]["level"] == "emergency"
    assert "120" in urgent["answer"]
    models.silent = False
    wait_at_most(served, 30)
    again = (await served.ask(await served.guest(), DOCUMENTED)).json()
    assert again["citations"], "nothing has to be restarted"
