"""Encryption of message text at rest: AES-256-GCM with named keys, so that keys can be rotated.

A sealed value is `version (1 byte) | key id length (1) | key id | nonce (12) | ciphertext and tag`. The row's id is
authenticated with it, so a ciphertext moved to another row does not open.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
NONCE_BYTES = 12


class DecryptionError(Exception):
    """The value is damaged, belongs to another row, or its key is not configured."""


class Vault:
    """Seals and opens texts. `keys` maps key id to 32 bytes in base64; new values use `primary`."""

    def __init__(self, keys: Mapping[str, str], primary: str) -> None:
        self._ciphers = {key_id: AESGCM(b64decode(key)) for key_id, key in keys.items()}
        self._primary = primary
        if primary not in self._ciphers:
            raise ValueError("the primary encryption key is not among the keys")

    def seal(self, text: str, *, row_id: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        key_id = self._primary.encode()
        body = self._ciphers[self._primary].encrypt(nonce, text.encode("utf-8"), row_id.encode())
        return bytes([VERSION, len(key_id)]) + key_id + nonce + body

    def open(self, sealed: bytes, *, row_id: str) -> str:
        """The text of `sealed`.

        Raises:
            DecryptionError: damaged, moved between rows, or sealed with an unknown key.
        """
        if len(sealed) < 2 or sealed[0] != VERSION:
            raise DecryptionError("unknown format")
        split = 2 + sealed[1]
        cipher = self._ciphers.get(sealed[2:split].decode("utf-8", "replace"))
        if cipher is None:
            raise DecryptionError("unknown key")
        nonce, body = sealed[split : split + NONCE_BYTES], sealed[split + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, body, row_id.encode()).decode("utf-8")
        except (InvalidTag, ValueError) as error:
            raise DecryptionError("damaged or foreign value") from error
