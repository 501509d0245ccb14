"""Asks the acceptance questions of an index of the shipped documents, with the service's own settings.

    python benchmarks/acceptance.py [--misses] [--split test] [--second]

Prints hit@1, hit@5 and MRR by department and half, the answerable questions that get no evidence, and the
unanswerable ones that rightly get none. The test half is for measuring only. Last line: one JSON object.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Run as a script, this folder comes first on the path, and retrieval.py here would hide the package.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from app.container import embedder_spec, make_reranker
from app.settings import Settings
from knowledge_base.acceptance import (
    ANSWERABLE,
    UNANSWERABLE,
    Outcome,
    ask,
    figures,
    read_questions,
)
from knowledge_base.build import IndexBuilder
from knowledge_base.document import read_documents
from knowledge_base.vectors import VectorCache
from retrieval.calibration import shipped_calibration
from retrieval.embedders import make_embedder
from retrieval.graph import MedicalGraph
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore


def _file(path: Path, second: bool) -> Path:
    return path.with_stem(f"{path.stem}_second") if second else path


def outcomes(
    settings: Settings, cache: Path | None, second: bool = False
) -> tuple[list[Outcome], list[Outcome], float, float]:
    """Of the answerable and the unanswerable questions; the evidence threshold; ms a question."""
    embedder = make_embedder(embedder_spec(settings))
    graph = MedicalGraph.load(settings.graph_dir)
    reranker = make_reranker(settings, graph)
    with tempfile.TemporaryDirectory() as folder:
        store = MilvusStore(f"{folder}/milvus.db")
        builder = IndexBuilder(store, embedder, VectorCache(embedder, folder=cache))
        builder.build(read_documents(settings.documents_dir), name="kb_benchmark")
        chosen = SearchSettings(candidates=settings.retrieval.candidates, threshold=0.0)
        searcher = Searcher(store, embedder, reranker, expand=graph.expand, settings=chosen)
        searcher.rebind("kb_benchmark")
        started = time.perf_counter()
        answerable = ask(searcher, read_questions(_file(ANSWERABLE, second)))
        unanswerable = ask(searcher, read_questions(_file(UNANSWERABLE, second)))
        spent_ms = (time.perf_counter() - started) * 1e3 / (len(answerable) + len(unanswerable))
        searcher.close()
        store.close()
    threshold = shipped_calibration(reranker.name, embedder.name).threshold
    return answerable, unanswerable, threshold, spent_ms


def report(split: str, known: list[Outcome], unknown: list[Outcome], threshold: float) -> dict[str, Any]:
    """Prints one half's table and returns its figures."""
    overall = figures(known)
    lost = sum(outcome.score < threshold for outcome in known) / max(1, len(known))
    withheld = sum(outcome.score < threshold for outcome in unknown) / max(1, len(unknown))
    print(f"\n{split}: {len(known)} answerable, {len(unknown)} unanswerable questions")
    print("| department | questions | hit@1 | hit@5 | MRR |\n| --- | --- | --- | --- | --- |")
    departments = sorted({outcome.question.department for outcome in known})
    rows = {name: figures([o for o in known if o.question.department == name]) for name in departments}
    for name, row in {**rows, "all": overall}.items():
        print(f"| {name} | {row.questions} | {row.hit_at_1:.3f} | {row.hit_at_5:.3f} | {row.mrr:.3f} |")
    print(
        f"no evidence: {withheld:.1%} of the unanswerable, {lost:.1%} of the answerable (threshold {threshold:.3f})"
    )
    return {
        "hit@1": overall.hit_at_1,
        "hit@5": overall.hit_at_5,
        "mrr": overall.mrr,
        "lost": lost,
        "none": withheld,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--misses", action="store_true", help="also list what was missed, lost or wrongly answered"
    )
    parser.add_argument("--second", action="store_true", help="the questions of the second author")
    parser.add_argument("--split", choices=["dev", "test"], help="one half only")
    parser.add_argument("--cache", type=Path, help="folder with vectors of documents that are not shipped")
    chosen = parser.parse_args()
    known, unknown, threshold, spent_ms = outcomes(Settings(), chosen.cache, chosen.second)
    result: dict[str, Any] = {"ms": round(spent_ms, 1)}
    for split in ("dev", "test") if chosen.split is None else (chosen.split,):
        own = [o for o in known if o.question.split == split]
        other = [o for o in unknown if o.question.split == split]
        result[split] = report(split, own, other, threshold)
        if chosen.misses:
            for outcome in own:
                if outcome.rank is None or outcome.rank > 5 or outcome.score < threshold:
                    print(
                        f"- rank {outcome.rank}, {outcome.score:.2f}: {outcome.question.text} {outcome.documents}"
                    )
            for outcome in other:
                if outcome.score >= threshold:
                    print(f"+ {outcome.score:.2f}: {outcome.question.text} {outcome.documents}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
