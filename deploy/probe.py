"""The container's health check: exit code 0 when the service answers that it is ready (or, with `live`, alive)."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request


def main() -> int:
    what = "live" if sys.argv[1:] == ["live"] else "ready"
    url = f"http://127.0.0.1:{os.environ.get('ANXIN_PORT', '8000')}/api/v1/health/{what}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=4) as response:
            return 0 if response.status == 200 else 1
    except (urllib.error.URLError, OSError):
        return 1


if __name__ == "__main__":
    sys.exit(main())
