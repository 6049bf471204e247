# SPDX-License-Identifier: Apache-2.0
"""Check what a user wrote against what the roles take: names, types, choices."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.control import shapes
from ansible.module_utils.yunkube.control.inventory_files import OPAQUE, Entry
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.words import closest

_OWN = ("ansible_", "molecule_", "x_")  # variables of Ansible and of its test runner, and the user's own
# What plays on the control machine read, too: it is in no group but all.
CLUSTER_WIDE = frozenset({
    "alicloud_ca", "alicloud_endpoints", "alicloud_region", "cluster_addons_host", "cluster_bundle_origin",
    "cluster_cache_dir", "cluster_control_plane_endpoint", "cluster_control_plane_host", "cluster_dns_domain",
    "cluster_download_mirrors", "cluster_kubernetes_version", "cluster_name", "cluster_pod_cidr", "cluster_provider",
    "cluster_region_profile", "cluster_registry_address", "cluster_registry_host", "cluster_service_cidr",
    "cluster_state_dir", "dashboard_provider", "docker_hosts_subnet", "flannel_backend", "flannel_backend_options",
    "flannel_vpc_quota", "web_services",
})  # fmt: skip
# What other projects, and the shell, call what has another name here.
_ELSEWHERE = dict.fromkeys(("http_proxy", "https_proxy", "no_proxy"), "container_runtime_environment")
# Variables that Ansible does not have any more, and those of today.
_REMOVED = {
    "ansible_sudo": "ansible_become",
    "ansible_sudo_user": "ansible_become_user",
    "ansible_sudo_pass": "ansible_become_password",
    "ansible_sudo_exe": "ansible_become_exe",
    "ansible_su": "ansible_become with ansible_become_method: su",
    "ansible_su_user": "ansible_become_user",
    "ansible_su_pass": "ansible_become_password",
}
_ARGUMENTS = re.compile(r"ansible_(ssh|scp|sftp)_(\w+_)?args")
# Ansible's own; others have a dot in their name.
_BECOME_METHODS = ("sudo", "su", "runas")
# Connections to what is no Linux host, and one whose library is not installed here.
_NO_SSH = {"paramiko", "paramiko_ssh", "winrm", "psrp"}
_NO_SHELLS = {"powershell", "cmd"}
# As ansible.module_utils.parsing.convert_bool reads them.
_TRUTH = {"y", "yes", "on", "1", "true", "t", "1.0", "n", "no", "off", "0", "false", "f", "0.0"}
_NAMES = {"str": "a string", "path": "a path", "int": "a whole number", "float": "a number", "bool": "true or false",
          "list": "a list", "dict": "a dictionary"}  # fmt: skip
_EXAMPLES = {"int": "3", "float": "0.5", "bool": "true", "list": '["..."]', "dict": '{"name": "..."}'}
_PYTHON: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}


def display(file: Path, project: Path) -> str:
    """Return the path as one would type it in the project."""
    return str(file.relative_to(project)) if file.is_relative_to(project) else str(file)


def check_entry(entry: Entry, options: Mapping[str, Any], project: Path) -> Iterator[Fault]:
    """Yield the faults of one variable: its name, then its value."""
    file = display(entry.file, project)
    if entry.key == "sops" and isinstance(entry.value, Mapping):
        message = (
            "the file is encrypted by SOPS, which is not decrypted here, so its values are not what they should be"
        )
        yield Fault(entry.key, message, "encrypt it by ansible-vault", file=file, line=entry.line)
        return
    if entry.key.startswith(_OWN):
        for message, remedy in check_connection(entry.key, entry.value):
            yield Fault(entry.key, message, remedy, file=file, line=entry.line)
        return
    for key, message, remedy in (*check_pair(entry.key, entry.value, options), *check_shape(entry.key, entry.value)):
        typed = _in_ini(entry, options) if key == entry.key and message.startswith("wants ") else ""
        yield Fault(key, message, typed or remedy, file=file, line=entry.line)
    cluster_wide = entry.key in CLUSTER_WIDE or entry.key.startswith("alicloud_hosts_")
    if cluster_wide and entry.key in options and entry.scope != "all":
        message = f"is set for {entry.scope} alone, and counts for the whole cluster"
        yield Fault(entry.key, message, "move it to group_vars/all/cluster.yml", file=file, line=entry.line)


def check_connection(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for a variable of Ansible's that makes it fail at the first task of a host."""
    if meant := _REMOVED.get(key):
        yield "Ansible does not know this variable any more", f"write {meant}"
    if value is OPAQUE or shapes.is_template(value):
        return
    text = "" if value is None else str(value)
    if key == "ansible_port" and not (re.fullmatch(r"\d{1,5}", text) and 1 <= int(text) <= 65535):
        yield f"{text} is no port", "write a number from 1 to 65535"
    if key == "ansible_become" and text.lower() not in _TRUTH:
        yield f"{text} is neither true nor false", "write true or false"
    if key in ("ansible_host", "ansible_ssh_host") and not text:
        yield "has no value", "write the host's address, or remove the line where its name is one"
    if key in ("ansible_host", "ansible_ssh_host") and text.startswith("["):
        yield f"{text} is in brackets", f"write {text.strip('[]')}"
    if key == "ansible_become_method" and "." not in text and text not in _BECOME_METHODS:
        yield f"{text} is none of Ansible's methods", "write sudo or su, or the full name of a plugin"
    if key == "ansible_connection" and text.removeprefix("ansible.builtin.") in _NO_SSH:
        yield f"hosts are not reached by {text}", "write ssh, or remove the line"
    if key == "ansible_shell_type" and text.removeprefix("ansible.builtin.") in _NO_SHELLS:
        yield f"{text} is no shell of a Linux host", "write sh, or remove the line"
    if _ARGUMENTS.fullmatch(key) and not _is_quoted_well(text):
        yield "a quote is not closed", "close it"


def _is_quoted_well(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:
        return False
    return True


def check_shape(key: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the faults inside of a value whose own type is right."""
    for message, remedy in shapes.complaints(key, value):
        yield key, message, remedy


def _in_ini(entry: Entry, options: Mapping[str, Any]) -> str:
    """Return how a value that is text in an INI file is written as what it is to be, nothing elsewhere."""
    kind = options.get(entry.key, {}).get("type", "str")
    if not entry.ini or not isinstance(entry.value, str):
        return ""
    words = {
        "bool": "write True or False: in INI every other word is text",
        "list": f"write ['{entry.value}']",
        "dict": "write {'name': 'value'}",
    }
    return words.get(kind, "")


def check_extra(key: str, value: Any, options: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the faults of a variable of the command line, where key=value makes a string of every value."""
    if key.startswith(_OWN):
        yield from ((key, message, remedy) for message, remedy in check_connection(key, value))
        return
    for name, message, remedy in check_pair(key, value, options):
        example = _EXAMPLES.get(options.get(key, {}).get("type", "str")) if isinstance(value, str) else None
        yield name, message, f"write it as JSON, such as -e '{{\"{key}\": {example}}}'" if example else remedy


def check_pair(key: str, value: Any, options: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, message, remedy) for a key and its value against the options that are known."""
    name = f"{parent}{key}"
    if key in options:
        yield from check_value(name, value, options[key])
        return
    meant = _ELSEWHERE.get(key.lower()) if not parent else None
    if meant or (meant := closest(key, options)):
        yield name, "unknown key", f"did you mean {meant}?"
    elif parent:
        yield name, "unknown key", f"known here: {', '.join(sorted(options))}"
    else:
        yield name, "unknown key", "see docs/cluster.md; variables of your own start with x_"


def check_value(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with a value; one that is templated or encrypted is taken as it is."""
    if value is OPAQUE or shapes.is_template(value):
        return
    kind = option.get("type", "str")
    fault = _type_fault(value, kind, secret=bool(option.get("no_log")))
    if fault and (word := _as_word(value, option.get("choices") or [])):
        yield name, f"YAML reads it as {str(value).lower()}", f'write it in quotes, "{word}"'
    elif fault and isinstance(value, bool) and option.get("choices"):
        words = ", ".join(f'"{choice}"' for choice in option["choices"])
        yield name, f"YAML reads it as {str(value).lower()}", f"write one of {words}, in quotes"
    elif fault:
        yield name, *fault
    elif option.get("choices") and not isinstance(value, list) and value not in option["choices"]:
        choices = [str(choice) for choice in option["choices"]]
        meant = closest(str(value), choices)
        hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(choices)}"
        yield name, f"{value} is not one of {', '.join(choices)}", hint
    elif kind == "list":
        element = {**option, "type": option.get("elements", "raw")}
        for index, item in enumerate(value):
            yield from check_value(f"{name}[{index}]", item, element)
    elif kind == "dict" and option.get("options"):
        yield from _check_dict(name, value, option["options"])


def _check_dict(name: str, value: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key, item in value.items():
        yield from check_pair(str(key), item, options, f"{name}.")  # YAML's keys may be numbers, or nothing
    for key, option in options.items():
        if option.get("required") and key not in value:
            yield f"{name}.{key}", "missing", "add it: " + str(option.get("description", "it is required"))


def _as_word(value: Any, choices: Iterable[Any]) -> str | None:
    """Return the choice that YAML 1.1 read as a truth value."""
    if not isinstance(value, bool):
        return None
    words = ("on", "yes", "true") if value else ("off", "no", "false")
    return next((word for word in words if word in choices), None)


def _type_fault(value: Any, kind: str, *, secret: bool) -> tuple[str, str] | None:
    """Return (message, remedy) when the value is not of this kind; neither repeats one that is secret."""
    if kind not in _PYTHON:
        return None
    if value is None:
        return "has no value", "write one, or remove the line to take the default"
    if isinstance(value, _PYTHON[kind]) and (kind == "bool" or not isinstance(value, bool)):
        return None
    if secret:
        words = "write it in quotes" if kind in ("str", "path") else f"write {_NAMES[kind]}"
        return f"wants {_NAMES[kind]}, not {_NAMES.get(type(value).__name__, 'this')}", words
    return f"wants {_NAMES[kind]}, not {_describe(value)}", _type_remedy(value, kind)


def _type_remedy(value: Any, kind: str) -> str:
    if kind in ("str", "path") and isinstance(value, float):
        return "write it in quotes"  # without the value: 1.30 was read as 1.3
    if kind in ("str", "path") and isinstance(value, int):
        return f'write it in quotes, "{str(value).lower()}"'
    if kind in ("int", "float") and isinstance(value, str) and value.strip().isdigit():
        return f"write {value.strip()} without quotes"
    if kind == "bool":
        return "write true or false, without quotes"
    if kind == "list" and not isinstance(value, (list, dict)):
        return f"write [{value}]"
    return f"write {_NAMES[kind]}"


def _describe(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "a number"
    if isinstance(value, int):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the string "{value}"'
    return "a list" if isinstance(value, list) else "a dictionary"
