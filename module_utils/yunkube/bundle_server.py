"""Ask who serves bundles."""

from __future__ import annotations

import http.client
import json
import typing as t


def who_serves(address: str, port: int) -> dict[str, t.Any] | None:
    """Return what the server at the port says of itself; None when nobody answers, {} for a stranger."""
    connection = http.client.HTTPConnection("127.0.0.1" if address == "0.0.0.0" else address, port, timeout=3)  # noqa: S104
    try:
        connection.request("GET", "/healthz")
        said = json.loads(connection.getresponse().read())
    except ConnectionRefusedError:
        return None
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    return said if isinstance(said, dict) and "cache" in said else {}
