"""What building and filling the index costs.

    python benchmarks/build.py scratch          # all documents, no cached vector: time and peak memory
    python benchmarks/build.py shipped          # the same with the vectors that ship with the documents
    python benchmarks/build.py latency          # a search at the shipped size and at 20,000 passages
    python benchmarks/build.py pdf [--pages N]  # reading a PDF of N pages (reportlab makes it): time and peak memory

Run one at a time, each in a process of its own: peak memory is the process's.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

# Run as a script, this folder comes first on the path, and retrieval.py here would hide the package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from app.container import embedder_spec, make_reranker
from app.settings import Settings
from knowledge_base.acceptance import ANSWERABLE, read_questions
from knowledge_base.build import IndexBuilder
from knowledge_base.chunk import chunk_document
from knowledge_base.document import read_documents
from knowledge_base.ingest import read_file
from knowledge_base.vectors import SHIPPED, VectorCache
from retrieval.embedders import make_embedder
from retrieval.graph import MedicalGraph
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import Chunk, Embedder, Embedding

LARGE = 20_000
ASKED = 100


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def build(shipped: bool) -> dict[str, Any]:
    """A whole build into an empty store."""
    settings = Settings()
    embedder = make_embedder(embedder_spec(settings))
    documents = read_documents(settings.documents_dir)
    with tempfile.TemporaryDirectory() as folder:
        store = MilvusStore(f"{folder}/milvus.db")
        before, started = peak_mb(), time.perf_counter()
        cache = VectorCache(embedder, folder=Path(folder), shipped=SHIPPED if shipped else Path(folder))
        done = IndexBuilder(store, embedder, cache).build(documents, name="kb_benchmark")
        spent_s = time.perf_counter() - started
        store.close()
    return {
        "documents": done.documents,
        "passages": done.chunks,
        "embedded": done.embedded,
        "seconds": round(spent_s, 1),
        "peak_mb": peak_mb(),
        "before_mb": before,
    }


def latency() -> dict[str, Any]:
    """Searches of acceptance questions, embedding included; the filling is shipped passages under new names."""
    settings = Settings()
    embedder = make_embedder(embedder_spec(settings))
    graph = MedicalGraph.load(settings.graph_dir)
    chunks = [
        chunk for document in read_documents(settings.documents_dir) for chunk in chunk_document(document)
    ]
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = MilvusStore(f"{folder}/milvus.db")
        for size in (len(chunks), LARGE):
            fill(store, embedder, chunks, size)
            chosen = SearchSettings(candidates=settings.retrieval.candidates)
            searcher = Searcher(
                store, embedder, make_reranker(settings, graph), expand=graph.expand, settings=chosen
            )
            searcher.rebind(f"kb_{size}")
            out[f"{size} passages"] = timed(searcher)
            searcher.close()
        store.close()
    return out | {"peak_mb": peak_mb()}


def fill(store: MilvusStore, embedder: Embedder, chunks: Sequence[Chunk], size: int) -> None:
    """A collection of `size` passages; beyond the real ones, their text with vectors moved at random."""
    cache = VectorCache(embedder)
    draw = np.random.default_rng(1)
    name = f"kb_{size}"
    store.create(name, dim=embedder.dim)
    for start in range(0, size, 256):
        batch, vectors, sentences = [], [], []
        for number in range(start, min(size, start + 256)):
            chunk = chunks[number % len(chunks)]
            vector = cache.dense([chunk.embedded_text])[0]
            inner = cache.dense(chunk.sentences)
            if number >= len(chunks):
                chunk = replace(
                    chunk, chunk_id=f"f{number}", document_id=f"f{number}", previous_id=None, next_id=None
                )
                vector = vector + draw.normal(0, 0.03, len(vector)).astype(np.float32)
                vector /= np.linalg.norm(vector)
            batch.append(chunk)
            vectors.append(vector)
            sentences.append(inner)
        store.insert(name, batch, Embedding(np.stack(vectors)), sentences)
    store.load(name)


def timed(searcher: Searcher) -> dict[str, float]:
    questions = read_questions(ANSWERABLE)[: ASKED + 5]
    spent: list[float] = []
    parts: dict[str, list[float]] = {}
    for number, question in enumerate(questions):
        started = time.perf_counter()
        found = searcher.search_now(question.text, filter=question.filter)
        if number >= 5:
            spent.append((time.perf_counter() - started) * 1e3)
            for step, value in found.timings_ms.items():
                parts.setdefault(step, []).append(value)
    medians = {f"{step}_ms": round(statistics.median(values), 1) for step, values in parts.items()}
    return {
        "p50_ms": round(statistics.median(spent), 1),
        "p95_ms": round(statistics.quantiles(spent, n=20)[18], 1),
        **medians,
    }


def pdf(pages: int) -> dict[str, Any]:
    """Reading a generated PDF; another process makes it, so that only reading is measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.pdf"
        maker = (
            "import sys; from pathlib import Path; from tests.knowledge_base.files import make_pdf; "
            f"make_pdf(Path(sys.argv[1]), [[f'第{{p}}页第{{n}}行，讲的是住院期间要注意的事情。' for n in range(38)] "
            f"for p in range({pages})])"
        )
        subprocess.run([sys.executable, "-c", maker, str(path)], check=True, cwd=sys.path[0])
        before, started = peak_mb(), time.perf_counter()
        parsed = read_file(path, path.name)
        spent_s = time.perf_counter() - started
    chars = sum(len(section.text) for section in parsed.sections)
    return {
        "pages": parsed.pages,
        "chars": chars,
        "seconds": round(spent_s, 1),
        "peak_mb": peak_mb(),
        "before_mb": before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["scratch", "shipped", "latency", "pdf"])
    parser.add_argument("--pages", type=int, default=300)
    chosen = parser.parse_args()
    if chosen.what == "pdf":
        result = pdf(chosen.pages)
    elif chosen.what == "latency":
        result = latency()
    else:
        result = build(shipped=chosen.what == "shipped")
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
