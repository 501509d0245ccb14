"""Blocking JSON over HTTP for model services, with one kind of failure.

Owns time limits, the bearer token and two retries of what may pass (no connection, 429, 502-504). Leaves
payloads to the embedder and the reranker.
"""

from __future__ import annotations

from typing import Any

import httpx

_TRANSIENT = frozenset({429, 502, 503, 504})
_ATTEMPTS = 3


class ServiceError(Exception):
    """The service gave no usable answer; the message names its address, never the payload."""


class JsonService:
    """POSTs JSON to one base address. Thread-safe; keeps connections open."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._url = url.rstrip("/")
        self._http = httpx.Client(headers=headers, timeout=timeout_s, transport=transport)

    def post(self, path: str, payload: dict[str, Any]) -> Any:
        """The parsed answer. Raises ServiceError."""
        problem = "no attempt was made"
        for _ in range(_ATTEMPTS):
            try:
                answer = self._http.post(f"{self._url}{path}", json=payload)
                if answer.status_code in _TRANSIENT:
                    problem = f"HTTP {answer.status_code}"
                    continue
                answer.raise_for_status()
                return answer.json()
            except httpx.HTTPStatusError as error:
                raise ServiceError(f"{self._url}{path}: HTTP {error.response.status_code}") from error
            except httpx.TimeoutException as error:
                raise ServiceError(f"{self._url}{path}: no answer in time") from error
            except httpx.TransportError as error:
                problem = type(error).__name__
            except ValueError as error:
                raise ServiceError(f"{self._url}{path}: the answer is not JSON") from error
        raise ServiceError(f"{self._url}{path}: {problem}")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
