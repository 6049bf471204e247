# SPDX-License-Identifier: Apache-2.0
"""Write one archive with the reports of all hosts: without secrets, of a limited size, with an index page."""

from __future__ import annotations

import html
import io
import json
import os
import runpy
import tarfile
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.redact import Redactor, secret_values

LIMIT = 64 << 20  # bytes before compression
SKIPPED = ("hostvars", "groups", "vars", "omit")
Parts = dict[str, str]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Support bundle of {name}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
pre {{ background: #f4f4f4; padding: 1rem; overflow-x: auto }} td, th {{ text-align: left; padding: 0 1.5rem 0 0 }}
td:last-child {{ text-align: right }} a {{ color: #0645ad }}
</style></head><body>
<h1>Support bundle of {name}</h1><p>Made {when}. Secrets are replaced by [redacted].</p>
<h2>What the doctor found</h2><pre>{findings}</pre>
{hosts}</body></html>
"""


class ActionModule(ActionBase):  # type: ignore[misc]
    """`support_bundle`: writes the file on the control machine."""

    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Redact, bound, write."""
        super().run(tmp, task_vars)
        spec = {
            "hosts": {"type": "dict", "required": True},  # what support_collect said, by host
            "lines": {"type": "list", "elements": "str", "default": []},  # what the doctor said
            "name": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
        }
        _, given = self.validate_argument_spec(spec)
        given = json.loads(json.dumps(given, default=str))

        redact = Redactor(secrets_of(task_vars or {})).text
        path = Path(given["path"]).expanduser()
        files = contents(given["hosts"], given["lines"], given["name"], redact)
        write(path, files)
        size = f"{path.stat().st_size / 2**20:.1f} MiB"
        return {"changed": True, "changes": [f"write {path}, {size}, {len(files)} files"], "path": str(path)}


def secrets_of(task_vars: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return the secrets among the variables of all hosts: what one of them says may name another one's."""
    hosts: t.Any = task_vars.get("hostvars") or ()
    known = [task_vars, *(hosts.raw_get(host) for host in hosts)]  # as written: no template is evaluated for this
    kept = [{key: value for key, value in one.items() if key not in SKIPPED} for one in known]
    return secret_values(json.loads(json.dumps({"": kept}, default=str)))


def contents(
    hosts: t.Mapping[str, t.Any], lines: t.Sequence[str], name: str, redact: t.Callable[[str], str]
) -> dict[str, str]:
    """Return the files of the archive, the page first; what does not fit is named there."""
    files: dict[str, str] = {}
    total = 0
    sections = []
    for host, result in hosts.items():
        rows = []
        for part, whole in sorted(((result or {}).get("parts") or {}).items()):
            clean = redact(whole)
            total += len(clean.encode())
            place = f"{host}/{part}"
            if total > LIMIT:
                rows.append(f"<tr><td>{html.escape(part)}</td><td>left out, the bundle is full</td></tr>")
                continue
            files[place] = clean
            rows.append(
                f'<tr><td><a href="{html.escape(place)}">{html.escape(part)}</a></td><td>{len(clean)}</td></tr>'
            )
        why = html.escape(redact(str((result or {}).get("msg") or "nothing was gathered")))
        table = f"<table><tr><th>Part</th><th>Characters</th></tr>{''.join(rows)}</table>" if rows else f"<p>{why}</p>"
        sections.append(f"<h2>{html.escape(host)}</h2>{table}")
    page = PAGE.format(
        name=html.escape(name),
        when=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        findings=html.escape(redact("\n".join(lines))),
        hosts="\n".join(sections),
    )
    return {"index.html": page, **files}


def write(path: Path, files: t.Mapping[str, str]) -> None:
    """Write the archive, for its owner alone, and only whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.name.removesuffix(".tar.gz")
    # A name that nobody can guess, made new and for its owner alone: the folder may be one that others write to.
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, content in files.items():
                data = content.encode()
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(data))
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
