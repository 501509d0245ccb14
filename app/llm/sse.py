"""Cuts a byte stream into the payloads of server-sent events, as vLLM sends them (`data: …` lines).

Works on bytes: a chunk may end inside a character, and JSON may hold U+2028 or U+0085, at which `str.splitlines`
would cut. Owns the framing only; what a payload means is decided in `client.py`.
"""

from __future__ import annotations

MAX_LINE_BYTES = 1 << 20


class DataLines:
    """Feed chunks as they come; get the complete payloads."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Payloads completed by `data`, in order.

        Raises:
            ValueError: a line is longer than 1 MiB or not UTF-8 (UnicodeDecodeError is a ValueError).
        """
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError("a line of the stream is too long")
        return [self._payload(line) for line in lines if line.startswith(b"data:")]

    @staticmethod
    def _payload(line: bytes) -> str:
        return line.removeprefix(b"data:").strip(b" \r").decode("utf-8")
