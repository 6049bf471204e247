# SPDX-License-Identifier: Apache-2.0
"""Say in words why SSH did not get to a host, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PREFIX = re.compile(
    r"^(?:Task failed: )?(?:Failed to connect to the host via ssh:"
    r"|Data could not be sent to remote host .*?Make sure this host can be reached over ssh:)\s*",
    re.DOTALL,
)
_OFFENDING = re.compile(r"Offending .*?key in (?P<file>\S+):(?P<line>\d+)")
_KNOWN_NAME = re.compile(r"[Hh]ost key for (?P<name>\S+) has changed|No \S+ host key is known for (?P<unknown>\S+)")
_OTHER_PORT = re.compile(r"\[(?P<host>[^\]]+)\]:(?P<port>\d+)")
# An IPv6 address has colons of its own; ssh writes one more behind what it names.
_ADDRESS = re.compile(r"(?:connect to host|Connection (?:closed|reset) by|resolve hostname) (?P<address>\S*[^\s:])")
_PORT = re.compile(r"port (?P<port>\d+)")
_KEY_FILE = re.compile(r"""(?:Identity file|Load key|Permissions \d+ for) ["']?(?P<file>[^\s"']+)""")
_LOGIN = re.compile(r"(?P<login>\S+@\S+): Permission denied")


@dataclass(frozen=True)
class Explanation:
    """Why, and what to do."""

    cause: str
    remedy: str
    refused: bool = False  # whether the login was


def explain_unreachable(host: str, message: str) -> Explanation:
    """Explain ssh's own message; what it does not know is passed on as it is."""
    text = _PREFIX.sub("", message).strip()
    for marker, explain in _KNOWN:
        if re.search(marker, text):
            return explain(host, text)
    return Explanation(_last_line(text), f"try `ssh -v` to {host} with the inventory's user, key and address")


def _changed_key(host: str, text: str) -> Explanation:
    name = _first(_KNOWN_NAME, text, host)
    offending = _OFFENDING.search(text)
    file = offending["file"] if offending else "its known_hosts file"
    place = f"{file}:{offending['line']}" if offending else file
    return Explanation(
        f"its host key differs from the known one ({place}): another machine answers, or it was reinstalled",
        f"if it was reinstalled, forget the old key: ssh-keygen -f {file} -R '{name}'; if not, do not connect",
    )


def _unknown_key(host: str, text: str) -> Explanation:
    name = _first(_KNOWN_NAME, text, host)
    if other := _OTHER_PORT.fullmatch(name):
        name = f"-p {other['port']} {other['host']}"
    return Explanation(
        "its host key is unknown, and unknown keys are not accepted",
        f"verify the fingerprint on the host's console, then: ssh-keyscan {name} >> the inventory's known_hosts",
    )


def _wrong_key(host: str, text: str) -> Explanation:
    login = _first(_LOGIN, text, host)
    return Explanation(
        f"it rejected the key or password for {login} (Permission denied)",
        "put the public key into that user's ~/.ssh/authorized_keys, "
        "or correct ansible_user and ansible_ssh_private_key_file in the inventory; "
        "for a password, use --ask-pass, or ansible_password in a vaulted file",
        refused=True,
    )


def _open_key(_host: str, text: str) -> Explanation:
    file = _first(_KEY_FILE, text, "the private key")
    return Explanation(f"ssh ignores {file}: its permissions are too open", f"chmod 600 {file}")


def _missing_key(_host: str, text: str) -> Explanation:
    file = _first(_KEY_FILE, text, "the private key")
    return Explanation(
        f"the private key {file} is missing or unreadable",
        "correct ansible_ssh_private_key_file; for hosts that Yunkube created, `up` creates it again",
    )


def _refused(host: str, text: str) -> Explanation:
    place = f"{_first(_ADDRESS, text, host)} port {_first(_PORT, text, '22')}"
    return Explanation(
        f"the machine answers, but nothing listens on {place} (Connection refused)",
        "start sshd there, or correct ansible_host and ansible_port in the inventory",
    )


def _no_route(host: str, text: str) -> Explanation:
    return Explanation(
        f"there is no route to {_first(_ADDRESS, text, host)} from this machine",
        "check that the host is on and in the same network or VPN: ip route get ADDRESS",
    )


def _timed_out(host: str, text: str) -> Explanation:
    return Explanation(
        f"{_first(_ADDRESS, text, host)} did not answer in time",
        "check that the host is on, and that no firewall or security group blocks its SSH port",
    )


def _unknown_name(host: str, text: str) -> Explanation:
    return Explanation(
        f"cannot resolve the name {_first(_ADDRESS, text, host)}",
        f"correct that name in the inventory, in ansible_host of {host} or its jump host, or fix DNS",
    )


def _cut(_host: str, _text: str) -> Explanation:
    return Explanation(
        "it closed the connection before a login was possible",
        "it may be starting up, or its sshd refuses this address (MaxStartups, hosts.deny): try again, "
        "then check `journalctl -u ssh` there; with a jump host (ProxyJump), test that one on its own first",
    )


def _unsaid(host: str, _text: str) -> Explanation:
    return Explanation(
        "ssh ended before it took the task, and Ansible does not pass on what ssh said",
        f"run the same command again; for ssh's own words: ansible -i INVENTORY {host} -m raw -a true",
    )


def _no_room(_host: str, _text: str) -> Explanation:
    return Explanation(
        "it is reachable, but the home directory of the login is not writable",
        "free space there (df -h ~), or check that the file system is not read-only",
    )


# The order matters: one message may hold several of these.
_KNOWN = (
    # Where ssh closes its input a moment before it ends, Ansible reports the broken pipe alone, and writes SSH so.
    (r"Data could not be sent to remote host .*Make sure this host can be reached over SSH\b", _unsaid),
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", _changed_key),
    (r"Host key verification failed|host key is known for", _unknown_key),
    (r"UNPROTECTED PRIVATE KEY FILE", _open_key),
    (r"(?:Identity file|Load key) .*(?:No such file|not accessible|Permission denied)", _missing_key),
    (r"Permission denied", _wrong_key),
    (r"Connection refused", _refused),
    (r"No route to host|Network is unreachable", _no_route),
    (r"[Tt]imed out|Timeout", _timed_out),
    (r"[Cc]ould not resolve hostname|Name or service not known", _unknown_name),
    (r"Connection (?:closed|reset)|kex_exchange_identification|Broken pipe", _cut),
    (r"Failed to create temporary directory|No space left|Read-only file system", _no_room),
)


def _first(pattern: re.Pattern[str], text: str, otherwise: str) -> str:
    found = pattern.search(text)
    return next((group for group in found.groups() if group), otherwise) if found else otherwise


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "ssh reported no reason"
