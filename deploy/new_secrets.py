"""Prints fresh secrets in the form of `.env`: `python3 deploy/new_secrets.py >> .env`. Needs nothing but Python."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import UTC, datetime


def main() -> None:
    key_id = f"k{datetime.now(UTC):%Y%m}"
    keys = {key_id: base64.b64encode(secrets.token_bytes(32)).decode()}
    print(f"ANXIN_AUTH__SECRET={secrets.token_urlsafe(48)}")
    print(f"ANXIN_DATABASE__ENCRYPTION_KEYS='{json.dumps(keys)}'")
    print(f"ANXIN_DATABASE__PRIMARY_KEY_ID={key_id}")
    for name in ("POSTGRES_PASSWORD", "MINIO_SECRET", "VLLM_API_KEY"):
        print(f"{name}={secrets.token_hex(24)}")


if __name__ == "__main__":
    main()
