"""The registry's JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.adapters.checks import Claims
from app.adapters.states import State
from app.db.tables_adapters import AdapterRow
from app.llm.breaker import Circuit
from app.llm.pool import ReplicaState

AdapterName = Annotated[str, StringConstraints(max_length=64)]


class RegisterIn(BaseModel):
    """`path` is a folder under the adapter root. Without `name` the department's next number is taken.

    What the training side knows about the adapter may be sent along: `sha256` (of the weights), `rank` and `base_model`
    are compared with the files, `demo` can only be added to what the files say, `metrics` are kept for people.
    """

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    name: AdapterName | None = None
    department: Annotated[str, StringConstraints(max_length=32)] | None = None
    note: Annotated[str, StringConstraints(max_length=400)] | None = None
    base_model: Annotated[str, StringConstraints(max_length=400)] | None = None
    base_fingerprint: Annotated[str, StringConstraints(max_length=200)] | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None
    demo: bool = False
    metrics: dict[str, Any] | None = None

    def claims(self) -> Claims:
        return Claims(self.sha256, self.rank, self.base_model, self.demo, self.metrics)


class ChangeIn(BaseModel):
    """With `version` the change is made only if nobody changed the adapter since that version was read."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=1)] | None = None


class CanaryIn(ChangeIn):
    percent: Annotated[int, Field(ge=0, le=100, description="share of new conversations; 0 ends the canary")]


class RollbackIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    department: Annotated[str, StringConstraints(max_length=32)]


class AdapterOut(BaseModel):
    name: str
    department: str
    state: State
    version: int
    base_model: str
    rank: int
    target_modules: list[str]
    sha256: str
    size_bytes: int
    demo: bool
    note: str | None
    canary_percent: int | None
    replaced: str | None
    evaluation: dict[str, Any] | None
    smoke_report: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    activated_at: datetime | None

    @classmethod
    def of(cls, row: AdapterRow) -> AdapterOut:
        return cls.model_validate(row, from_attributes=True)


class ReplicaOut(BaseModel):
    """A model server as this process sees it; `adapters` are those that it serves from the registry's own folders."""

    url: str
    healthy: bool
    circuit: Circuit
    outstanding: int
    adapters: list[str]

    @classmethod
    def of(cls, state: ReplicaState) -> ReplicaOut:
        return cls.model_validate(state, from_attributes=True)


class AdaptersOut(BaseModel):
    items: list[AdapterOut]
    replicas: list[ReplicaOut]


class RolledBackOut(BaseModel):
    """`adapter` is null when the department is back on the base model."""

    department: str
    adapter: AdapterOut | None
