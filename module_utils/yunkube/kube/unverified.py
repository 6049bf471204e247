# SPDX-License-Identifier: Apache-2.0
"""Ask an API server of which nothing is known yet: any certificate will do, so nothing secret is sent."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import typing as t

MOST = 4 << 20  # bytes that are read of an answer: whoever answers may be anybody


class TooLongError(ValueError):
    """An answer is longer than what is read of it."""


def context() -> ssl.SSLContext:
    """Return a TLS context that accepts any certificate."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    accepting.check_hostname, accepting.verify_mode = False, ssl.CERT_NONE
    return accepting


def get(endpoint: str, path: str, seconds: float) -> t.Any:
    """Return the JSON that host:port answers, or raise why there is none: OSError, HTTPException or ValueError.

    An answer of MOST bytes or more is a TooLongError.
    """
    connection = http.client.HTTPSConnection(endpoint, timeout=seconds, context=context())
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse().read(MOST)
    if len(answer) == MOST:
        raise TooLongError(f"{endpoint}{path} answers {MOST} bytes or more")
    return json.loads(answer)


def certificate(host: str, port: int, seconds: float, pair: tuple[str, str] | None = None) -> str:
    """Return the certificate that a server shows, in PEM; `pair` is shown to one that asks for a client's.

    Raises OSError where there is no answer in time.
    """
    accepting = context()
    if pair:
        accepting.load_cert_chain(*pair)
    with (
        socket.create_connection((host, port), seconds) as plain,
        accepting.wrap_socket(plain, server_hostname=host) as connection,
    ):
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
