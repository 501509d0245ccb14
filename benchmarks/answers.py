"""How good the answers of the embedded generator are, on labelled questions, and how well follow-ups are understood.

Runs the service's own parts (retrieval, generator, review) without its database. Measured per answer: the first two
sentences give the asked fact; sentences off the topic; repetition; advice on when to seek care; length; sentences
that cannot stand alone. Per dialogue: the rewritten question names what is meant, and its document is found first.
What a sentence means is not judged here: `--show` prints the answers to read.

    python -m benchmarks.answers [--set dev|measured] [--show] [--match TEXT] [--evidence FILE]

`--evidence` keeps the found passages in a file, so that two generators can be compared on the same evidence.
Labels: `tests/app/data/answers_*.jsonl` (`must`: patterns the direct answer has to contain, `avoid`: patterns that
must appear nowhere, `documents`: those that treat the subject) and `dialogues_*.jsonl`. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.chat.evidence import Found
from app.chat.rewrite import rewrite
from app.container import Container, built, topics_in
from app.llm.base import GenerationRequest
from app.llm.extractive import compose
from app.llm.extractive_subjects import subjects_of
from app.observability import Stopwatch
from app.safety.types import Audience, Evidence, Level, ReviewContext, TriageResult, Turn
from app.settings import load_settings
from retrieval.graph import MedicalGraph

DATA = Path(__file__).resolve().parents[1] / "tests" / "app" / "data"
WANTED_CHARS = (150, 450)
SAME = 0.6
MARK = re.compile(r"\[(\d+)\]")
CARE = re.compile(r"120|急诊|就医|医院|就诊|门诊|看医生|联系医生|问.{0,4}医生|医生")
DANGLING = re.compile(
    r"^(这|那|它|其|该|此|否则|但|因此|所以|另外|此外|上述|以上|前者|后者)(?!个月|几天|时|他|中)"
)
FRAGMENT = re.compile(r"^(禁用|慎用)|[：:]$|[？?]$")

Case = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer; `source` is the document it cites, `first` whether it opens a paragraph or item."""

    text: str
    source: str
    first: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """What one answer amounts to; shares are of its sentences."""

    direct: bool
    avoided: bool
    off_topic: float
    repeated: float
    care: bool
    chars: int
    standalone: float


def read(name: str) -> list[Case]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines() if line]


def sentences_of(answer: str, found: Found) -> list[Sentence]:
    out: list[Sentence] = []
    for line in answer.split("\n"):
        body = re.sub(r"^- ", "", line.strip())
        pieces = [p for p in re.findall(r"[^。！？]+[。！？]*", body) if p.strip()]
        for number, piece in enumerate(pieces):
            mark = MARK.search(piece)
            source = found.hits[int(mark.group(1)) - 1].chunk.document_id if mark else ""
            out.append(Sentence(MARK.sub("", piece).strip(), source, number == 0))
    return out


def grams(text: str) -> frozenset[str]:
    plain = re.sub(r"\W", "", text)
    return frozenset(plain[i : i + 2] for i in range(len(plain) - 1))


def repeated(sentences: Sequence[Sentence]) -> float:
    """The share of sentences that mostly say what an earlier one said."""
    seen: list[frozenset[str]] = []
    count = 0
    for sentence in sentences:
        own = grams(sentence.text)
        count += any(len(own & s) / max(1, min(len(own), len(s))) > SAME for s in seen)
        seen.append(own)
    return count / max(1, len(sentences))


def score(case: Case, answer: str, found: Found, graph: MedicalGraph) -> Scores:
    sentences = sentences_of(answer, found)
    opening = "".join(s.text for s in sentences_of(answer.split("\n\n")[0], found)[:2])
    asked = {m.entity.id for m in graph.mentions(case["question"])}
    topical = [s for s in sentences if s.source]
    off = sum(
        s.source not in case["documents"] and not asked & {m.entity.id for m in graph.mentions(s.text)}
        for s in topical
    )
    loose = sum(s.first and DANGLING.search(s.text) is not None for s in sentences)
    loose += sum(FRAGMENT.search(s.text) is not None for s in topical)
    plain = MARK.sub("", answer)
    before_care = plain.rsplit("\n\n", 1)[0]
    return Scores(
        direct=all(re.search(pattern, opening) for pattern in case["must"]),
        avoided=not any(re.search(pattern, before_care) for pattern in case["avoid"]),
        off_topic=off / max(1, len(topical)),
        repeated=repeated(topical),
        care=CARE.search(plain) is not None,
        chars=len(plain),
        standalone=1 - loose / max(1, len(sentences)),
    )


def request_of(case: Case, found: Found) -> GenerationRequest:
    return GenerationRequest(
        question=case["question"],
        audience=Audience(case.get("audience", "patient")),
        department=found.department or "general",
        passages=found.hits,
        triage=TriageResult(Level.ROUTINE),
        care=found.care,
        query_vector=found.query_vector,
    )


async def evidence_for(parts: Container, cases: Sequence[Case], kept: Path | None) -> dict[str, Found]:
    """The passages of each question, from the file where it has them."""
    known: dict[str, Found] = {}
    if kept is not None and kept.exists():
        known = pickle.loads(kept.read_bytes())  # noqa: S301 - a file this script wrote
    for case in cases:
        question = case["question"]
        if question not in known:
            audience = Audience(case.get("audience", "patient"))
            known[question] = await parts.pipeline.evidence.find(
                question, audience=audience, department=None, carried=(), watch=Stopwatch()
            )
    if kept is not None:
        kept.write_bytes(pickle.dumps(known))
    return known


async def measure_answers(
    parts: Container, cases: Sequence[Case], kept: Path | None, show: bool
) -> dict[str, Any]:
    found = await evidence_for(parts, cases, kept)
    entities_of = subjects_of(parts.graph)
    all_scores: list[Scores] = []
    millis: list[float] = []
    none = changed = 0
    for case in cases:
        own = found[case["question"]]
        if not own.hits:
            none += 1
            if show:
                print(f"\n### {case['question']}\n(no evidence)")
            continue
        request = request_of(case, own)
        started = time.perf_counter()
        draft = compose(request, entities_of)
        millis.append((time.perf_counter() - started) * 1e3)
        evidence = tuple(Evidence(h.chunk.chunk_id, h.chunk.title, h.chunk.text) for h in own.hits)
        context = ReviewContext(case["question"], evidence, request.triage, audience=request.audience)
        reviewed = parts.reviewer.review(context, draft)
        changed += reviewed.text.strip() != draft.strip()
        result = score(case, reviewed.text, own, parts.graph)
        all_scores.append(result)
        if show:
            documents = [h.chunk.document_id for h in own.hits]
            print(
                f"\n### {case['question']}  [{case['kind']}] {case['must']}\n{reviewed.text}\n--> {result} {documents}"
            )
            if reviewed.text.strip() != draft.strip():
                print("    changed by review:", reviewed.verdict, "; draft was:", draft)
    return {
        "questions": len(cases),
        "no_evidence": none,
        "direct": share(s.direct for s in all_scores),
        "nothing_to_avoid": share(s.avoided for s in all_scores),
        "off_topic_sentences": statistics.fmean(s.off_topic for s in all_scores),
        "repeated_sentences": statistics.fmean(s.repeated for s in all_scores),
        "care_advice": share(s.care for s in all_scores),
        "length_wanted": share(WANTED_CHARS[0] <= s.chars <= WANTED_CHARS[1] for s in all_scores),
        "chars_median": statistics.median(s.chars for s in all_scores),
        "standalone_sentences": statistics.fmean(s.standalone for s in all_scores),
        "changed_by_review": changed,
        "compose_ms_p50": statistics.median(millis),
        "compose_ms_max": max(millis),
    }


def share(values: Any) -> float:
    listed = list(values)
    return float(sum(listed) / max(1, len(listed)))


async def measure_dialogues(parts: Container, dialogues: Sequence[Case], show: bool) -> dict[str, Any]:
    """Each dialogue is {"turns": [...], "names": [...], "not": [...], "documents": [...]}; turns alternate."""
    named = clean = first = 0
    for case in dialogues:
        history = [Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(case["turns"][:-1])]
        rewritten = rewrite(case["turns"][-1], history, lambda text: topics_in(parts.graph, text))
        found = await parts.pipeline.evidence.find(
            rewritten.question,
            audience=Audience.PATIENT,
            department=None,
            carried=rewritten.carried,
            watch=Stopwatch(),
        )
        right = all(re.search(name, rewritten.question) for name in case["names"])
        wrong = any(re.search(name, rewritten.question) for name in case["not"])
        top = found.hits[0].chunk.document_id if found.hits else "-"
        hit = top in case["documents"] or (not case["documents"] and top == "-")
        named, clean, first = named + right, clean + (not wrong), first + hit
        if show and not (right and not wrong and hit):
            print(
                f"\n### {case['turns']}\n--> {rewritten.question} | {top} wanted {case['documents']} {right=} {wrong=}"
            )
    count = max(1, len(dialogues))
    return {
        "dialogues": len(dialogues),
        "names_it": named / count,
        "no_other": clean / count,
        "document_first": first / count,
    }


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=["dev", "measured"], default="dev")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--match", default="", help="only questions containing this")
    parser.add_argument("--evidence", type=Path)
    parser.add_argument("--only", choices=["answers", "dialogues"])
    chosen = parser.parse_args()
    results: dict[str, Any] = {"set": chosen.set}
    async with built(load_settings()) as parts:
        if chosen.only != "dialogues":
            cases = [c for c in read(f"answers_{chosen.set}.jsonl") if chosen.match in c["question"]]
            results |= await measure_answers(parts, cases, chosen.evidence, chosen.show)
        if chosen.only != "answers":
            results |= await measure_dialogues(parts, read(f"dialogues_{chosen.set}.jsonl"), chosen.show)
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in results.items()}
    print(json.dumps(rounded, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main())
