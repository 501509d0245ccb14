"""Cuts the shipped documents in several ways and asks the development half of the acceptance questions.

    python benchmarks/chunking.py --cache FOLDER

Only the development half: the sizes are chosen by it. Prints a Markdown table; FOLDER keeps the vectors.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

# Run as a script, this folder comes first on the path, and retrieval.py here would hide the package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from app.container import embedder_spec, make_reranker
from app.settings import Settings
from knowledge_base.acceptance import ANSWERABLE, ask, figures, read_questions
from knowledge_base.build import IndexBuilder
from knowledge_base.chunk import ChunkSettings, chunk_document
from knowledge_base.document import read_documents
from knowledge_base.vectors import VectorCache
from retrieval.embedders import make_embedder
from retrieval.graph import MedicalGraph
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore

CUTS = (
    ChunkSettings(max_chars=120, min_chars=40),
    ChunkSettings(max_chars=160),
    ChunkSettings(max_chars=320, overlap=0),
    ChunkSettings(),
    ChunkSettings(max_chars=320, overlap=2),
    ChunkSettings(max_chars=480, pairs=3),
    ChunkSettings(max_chars=640, pairs=9),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="where the vectors of all cuts are kept")
    cache = parser.parse_args().cache
    settings = Settings()
    embedder = make_embedder(embedder_spec(settings))
    graph = MedicalGraph.load(settings.graph_dir)
    documents = read_documents(settings.documents_dir)
    questions = read_questions(ANSWERABLE, split="dev")
    print("| max | overlap | pairs | passages | median | hit@1 | hit@5 | MRR |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for cut in CUTS:
        sizes = sorted(len(chunk.text) for document in documents for chunk in chunk_document(document, cut))
        with tempfile.TemporaryDirectory() as folder:
            store = MilvusStore(f"{folder}/milvus.db")
            IndexBuilder(store, embedder, VectorCache(embedder, folder=cache), settings=cut).build(
                documents, name="kb_cut"
            )
            chosen = SearchSettings(candidates=settings.retrieval.candidates, threshold=0.0)
            reranker = make_reranker(settings, graph)
            searcher = Searcher(store, embedder, reranker, expand=graph.expand, settings=chosen)
            searcher.rebind("kb_cut")
            found = figures(ask(searcher, questions))
            searcher.close()
            store.close()
        print(
            f"| {cut.max_chars} | {cut.overlap} | {cut.pairs} | {len(sizes)} | {sizes[len(sizes) // 2]} "
            f"| {found.hit_at_1:.3f} | {found.hit_at_5:.3f} | {found.mrr:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
