"""What can go wrong between this service and a model server, as one small tree.

    ModelFault
    ├── ReplicaDown      no connection, half-open connection, 5xx, or an answer that is not vLLM's; counts for the circuit
    │   └── TooSlow      no (further) token in time
    ├── ReplicaBusy      429 or 503: the server says so itself; another replica may have room
    ├── ModelMissing     404: the replica does not (or no longer) have the model of that name
    ├── PromptTooLong    400 on `input_tokens`; a shorter prompt may pass
    ├── CallRefused      any other 4xx: the request itself is wrong, another replica would say the same
    └── NoReplica        nobody is left to ask

These stay inside `app/llm` and `app/adapters`; what leaves is an `AnxinError`.
"""

from __future__ import annotations


class ModelFault(Exception):
    """`replica` is the address it happened at, "" when at none. The text never holds a prompt or an answer."""

    def __init__(self, problem: str, *, replica: str = "") -> None:
        super().__init__(f"{replica}: {problem}" if replica else problem)
        self.problem = problem
        self.replica = replica


class ReplicaDown(ModelFault):
    pass


class TooSlow(ReplicaDown):
    pass


class ReplicaBusy(ModelFault):
    """`retry_after_s` is what the server asked for, None when it did not say."""

    def __init__(self, problem: str, *, replica: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(problem, replica=replica)
        self.retry_after_s = retry_after_s


class ModelMissing(ModelFault):
    pass


class PromptTooLong(ModelFault):
    pass


class CallRefused(ModelFault):
    pass


class NoReplica(ModelFault):
    pass
