"""Read the manifests that services name by path, and hand their content to the module of this name."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import yaml
from ansible.plugins.action import ActionBase

Fault = dict[str, str]


class BrokenFileError(Exception):
    """A file that holds no manifests; the message says why."""


def read(path: Path) -> list[t.Any]:
    """Return a file's documents, those of a List one by one."""
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
    except OSError as error:
        raise BrokenFileError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BrokenFileError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    found: list[t.Any] = []
    for document in documents:
        is_list = isinstance(document, dict) and document.get("kind") == "List"
        found += document.get("items") or [] if is_list else [document]
    for number, document in enumerate(found, 1):
        metadata = document.get("metadata") if isinstance(document, dict) else None
        named = isinstance(metadata, dict) and metadata.get("name")
        if not (named and document.get("apiVersion") and document.get("kind")):
            raise BrokenFileError(
                f"{path}: document {number} is no manifest: apiVersion, kind and metadata.name are needed"
            )
        for key, value in (("kind", document["kind"]), ("metadata.name", metadata["name"])):
            if not isinstance(value, str):
                raise BrokenFileError(f"{path}: document {number}: {key} {value} is no text: write it in quotes")
    if not found:
        raise BrokenFileError(f"{path} holds no manifest")
    return found


def resolve(services: list[dict[str, t.Any]], base: Path) -> tuple[list[dict[str, t.Any]], list[Fault]]:
    """Return the services with their files' content in place of the paths, and what is wrong with files."""
    resolved, faults = [], []
    for service in services:
        paths = service.get("manifests") or []
        rest = {key: value for key, value in service.items() if key != "manifests"}
        content: list[t.Any] = []
        for path in paths:
            try:
                content += read(base / Path(path).expanduser())
            except BrokenFileError as error:
                where = f"{service.get('namespace', 'default')}/{service.get('name')}"
                remedy = "paths are relative to the inventory's directory"
                faults.append({"host": where, "check": "manifests", "message": str(error), "remedy": remedy})
        resolved.append({**rest, "resources": content} if paths else rest)
    return resolved, faults


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Runs on the control machine before the module does on the control plane host."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Read, then let the module do it."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        # What came out of templates carries marks of where it came from; plain values are wanted.
        args = json.loads(json.dumps(self._task.args))
        services, faults = resolve(args.pop("services"), Path((task_vars or {}).get("inventory_dir") or "."))
        if faults:
            lines = [f"{fault['host']}: {fault['message']}; {fault['remedy']}" for fault in faults]
            return result | {"failed": True, "kind": "config", "faults": faults, "msg": "\n".join(lines)}
        result |= self._execute_module(module_args=args | {"services": services}, task_vars=task_vars)
        result.pop("invocation", None)
        return result
