"""BGE-M3 and its cross-encoder through the real FlagEmbedding, on a tiny XLM-RoBERTa with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.errors import EmbedderUnavailable, RerankerUnavailable
from retrieval.rerank.bge import BgeReranker, FlagRerankerSpec
from retrieval.rerank.embedded import EmbeddedReranker
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import Embedder, Embedding, Hit
from tests.retrieval.conftest import PASSAGES, make_chunk

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def m3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.models.tiny import write_bge

    return write_bge(tmp_path_factory.mktemp("bge"))


@pytest.fixture(scope="module")
def m3(m3_folder: Path) -> Embedder:
    return make_embedder(EmbedderSpec(kind="bge-m3", model=str(m3_folder), max_tokens=128))


def test_dense_and_lexical_weights_come_for_every_text(m3: Embedder) -> None:
    texts = list(PASSAGES.values())
    both = m3.embed(texts, "document")
    assert both.dense.shape == (len(texts), m3.dim)
    np.testing.assert_allclose(np.linalg.norm(both.dense, axis=1), 1.0, atol=1e-4)
    assert both.sparse is not None
    assert len(both.sparse) == len(texts)
    assert all(weight > 0 for weights in both.sparse for weight in weights.values())
    one = m3.embed(texts[:1], "document")
    np.testing.assert_allclose(one.dense[0], both.dense[0], atol=1e-4)
    assert m3.embed([], "query").dense.shape == (0, m3.dim)
    assert np.isfinite(m3.embed(["", "\ud800", "长" * 5_000], "query").dense).all()


def test_three_routes_are_searched_and_fused(m3: Embedder, tmp_path: Path) -> None:
    store = MilvusStore(str(tmp_path / "m3.db"))
    chunks = [make_chunk(name, text) for name, text in PASSAGES.items()]
    both = m3.embed([c.embedded_text for c in chunks], "document")
    store.create("kb_bge_m3", dim=m3.dim, sparse=True)
    store.insert("kb_bge_m3", chunks, both, [m3.embed(c.sentences, "document").dense for c in chunks])
    store.load("kb_bge_m3")
    searcher = Searcher(store, m3, EmbeddedReranker(), settings=SearchSettings(threshold=0.0))
    searcher.rebind("kb_bge_m3")
    asked = m3.embed([chunks[2].embedded_text], "query")
    found = searcher.candidates("kb_bge_m3", PASSAGES["hives"], Embedding(asked.dense, asked.sparse), None)
    assert found[0].chunk.document_id == "hives"
    assert {"dense", "bm25", "lexical"} <= found[0].scores.keys()
    assert searcher.search_now(PASSAGES["hives"]).hits
    searcher.close()
    store.close()


def test_model_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmbedderUnavailable, match="empty"):
        make_embedder(EmbedderSpec(kind="bge-m3", model=str(tmp_path / "empty")))
    with pytest.raises(RerankerUnavailable, match="empty"):
        BgeReranker(FlagRerankerSpec(model=str(tmp_path / "empty")))


def test_cross_encoder_scores_every_hit_as_a_probability(m3_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForSequenceClassification

    config = XLMRobertaConfig.from_pretrained(str(m3_folder))
    config.num_labels = 1
    XLMRobertaForSequenceClassification(config).save_pretrained(str(tmp_path / "reranker"))
    AutoTokenizer.from_pretrained(str(m3_folder)).save_pretrained(str(tmp_path / "reranker"))
    reranker = BgeReranker(FlagRerankerSpec(model=str(tmp_path / "reranker"), max_tokens=64))
    hits = [Hit(make_chunk(name, text), 0.5, {"fused": 0.5}) for name, text in PASSAGES.items()]
    vector = np.zeros((1, 4), dtype=np.float32)
    ranked = reranker.rerank("荨麻疹吃什么药\ud800", vector, hits)
    assert {h.chunk.chunk_id for h in ranked} == {h.chunk.chunk_id for h in hits}
    assert all(0.0 <= h.score <= 1.0 for h in ranked)
    assert [h.score for h in ranked] == sorted((h.score for h in ranked), reverse=True)
    assert len(reranker.rerank("问", vector, hits[:1])) == 1
    assert reranker.rerank("问", vector, []) == []
