# SPDX-License-Identifier: Apache-2.0
"""Messages of ssh and their explanations: one case for each known message."""

from __future__ import annotations

import pytest
from deployer.unreachable import explain_unreachable

PREFIX = "Task failed: Failed to connect to the host via ssh: "
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Offending ED25519 key in /root/.local/state/yunkube/docker/ssh/known_hosts:2
Host key for 10.77.0.21 has changed and you have requested strict checking.
Host key verification failed."""
OPEN = """@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
Permissions 0644 for '/root/key' are too open.
This private key will be ignored.
root@10.77.0.21: Permission denied (publickey)."""


CASES = [
    (
        (
            "No ED25519 host key is known for [203.0.113.5]:2201 and you have requested strict checking.\n"
            "Host key verification failed."
        ),
        "host key is unknown",
        "ssh-keyscan -p 2201 203.0.113.5 >>",
    ),
    (
        "ssh: connect to host 2001:db8::11 port 22: Network is unreachable",
        "no route to 2001:db8::11 from this machine",
        "ip route get",
    ),
    (
        (
            "ssh: Could not resolve hostname bastion.invalid: Name or service not known\r\n"
            "kex_exchange_identification: Connection closed by remote host"
        ),
        "cannot resolve the name bastion.invalid",
        "DNS",
    ),
    ("kex_exchange_identification: Connection closed by remote host", "closed the connection", "ProxyJump"),
    ("root@10.77.0.21: Permission denied (publickey).", "rejected the key", "--ask-pass"),
    (
        "root@10.77.0.21: Permission denied (publickey).",
        "rejected the key or password for root@10.77.0.21",
        "authorized_keys",
    ),
    (
        CHANGED,
        "/root/.local/state/yunkube/docker/ssh/known_hosts:2",
        "ssh-keygen -f /root/.local/state/yunkube/docker/ssh/known_hosts -R '10.77.0.21'",
    ),
    (
        (
            "No ED25519 host key is known for 10.77.0.21 and you have requested strict checking.\n"
            "Host key verification failed."
        ),
        "host key is unknown",
        "ssh-keyscan 10.77.0.21",
    ),
    (
        "Host key verification failed.",
        "host key is unknown",
        "ssh-keyscan node1",
    ),
    (
        OPEN,
        "its permissions are too open",
        "chmod 600 /root/key",
    ),
    (
        (
            "Warning: Identity file /root/nokey not accessible: No such file or directory.\n"
            "root@n: Permission denied (publickey)."
        ),
        "/root/nokey is missing",
        "ansible_ssh_private_key_file",
    ),
    (
        "ssh: connect to host 10.77.0.21 port 2222: Connection refused",
        "nothing listens on 10.77.0.21 port 2222",
        "ansible_port",
    ),
    (
        "ssh: connect to host 10.77.0.21 port 22: No route to host",
        "no route to 10.77.0.21",
        "ip route",
    ),
    (
        "ssh: connect to host 10.77.0.21 port 22: Connection timed out",
        "10.77.0.21 did not answer in time",
        "firewall",
    ),
    (
        "ssh: Could not resolve hostname nodeone: Name or service not known",
        "cannot resolve the name nodeone",
        "ansible_host of node1",
    ),
    (
        ("kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 10.77.0.21 port 22"),
        "closed the connection",
        "try again",
    ),
    (
        "Failed to create temporary directory. In some cases, you may have been able to authenticate",
        "home directory of the login is not writable",
        "df -h",
    ),
    (
        (
            "Data could not be sent to remote host '10.77.0.21'. Make sure this host can be reached over SSH: "
            "[Errno 32] Broken pipe"
        ),
        "ssh ended before it took the task",
        "ansible -i INVENTORY node1 -m raw -a true",
    ),
    (
        (
            'Data could not be sent to remote host "10.77.0.21". Make sure this host can be reached over ssh: '
            "ssh: connect to host 10.77.0.21 port 22: No route to host"
        ),
        "no route to 10.77.0.21",
        "ip route",
    ),
    (
        "something new\nnobody has seen",
        "nobody has seen",
        "ssh -v",
    ),
    (
        "",
        "ssh reported no reason",
        "ssh -v",
    ),
]


@pytest.mark.parametrize(("message", "cause", "remedy"), CASES, ids=[case[1] for case in CASES])
def test_ssh_is_explained(message: str, cause: str, remedy: str) -> None:
    said = message if message.startswith("Data could") else PREFIX + message
    explained = explain_unreachable("node1", said)
    assert cause in explained.cause
    assert remedy in explained.remedy
    assert "\n" not in explained.cause
