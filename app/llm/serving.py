"""Builds the vLLM generator from the settings."""

from __future__ import annotations

from app.llm.admission import Admission
from app.llm.base import Generator
from app.llm.client import VllmClient
from app.llm.pool import ReplicaPool
from app.llm.vllm import Limits, VllmGenerator
from app.settings import LlmSettings, Settings

ADMIN_CONNECTIONS = 8


def make_pool(chosen: LlmSettings) -> ReplicaPool:
    """The replicas of the settings; nothing connects yet."""
    clients = [
        VllmClient(
            url,
            api_key=chosen.api_key.get_secret_value(),
            read_s=chosen.first_token_s,
            connections=chosen.concurrency + ADMIN_CONNECTIONS,
        )
        for url in dict.fromkeys(chosen.base_urls)
    ]
    return ReplicaPool(clients, model=chosen.model, adapter_root=root_on_servers(chosen))


def root_on_servers(chosen: LlmSettings) -> str:
    """Where the model servers see `adapter_root`; the same path when nothing else is set."""
    return (
        chosen.adapter_root_on_server
        if chosen.adapter_root_on_server
        else str(chosen.adapter_root.absolute())
    )


def make_vllm_generator(settings: Settings, *, fallback: Generator) -> VllmGenerator:
    """The generator with its pool (`.pool`), which the adapter registry and the reconciler share."""
    chosen = settings.llm
    return VllmGenerator(
        make_pool(chosen),
        fallback=fallback,
        admission=Admission(
            concurrency=chosen.concurrency, queue=chosen.queue, queue_timeout_s=chosen.queue_timeout_s
        ),
        limits=Limits(
            deadline_s=chosen.deadline_s,
            first_token_s=chosen.first_token_s,
            context_tokens=chosen.context_tokens,
            max_output_tokens=chosen.max_output_tokens,
            temperature=chosen.temperature,
        ),
    )
