# SPDX-License-Identifier: Apache-2.0
"""The images that a container holds as the host of a cluster's registry, running or not."""

from __future__ import annotations

import http
import io
import tarfile
import typing as t

from ansible.module_utils.yunkube.docker.engine import Docker, DockerError
from ansible.module_utils.yunkube.teardown.paths import Images

FOLDER = "/var/lib/yunkube/registry"
REPOSITORIES = f"{FOLDER}/docker/registry/v2/repositories"


def tags_in(names: t.Iterable[str]) -> int:
    """Return how many tagged images the files of a registry's folder `repositories` are."""
    parts = (name.rstrip("/").split("/") for name in names)
    return sum(part[-3:-1] == ["_manifests", "tags"] for part in parts)


def registry_images(engine: Docker, container: str, *, running: bool) -> Images:
    """Return what there is; a container that does not run tells no size."""
    try:
        data = engine.archive(container, REPOSITORIES)
    except DockerError as error:
        if error.status != http.HTTPStatus.NOT_FOUND:
            raise
        return Images(0, 0)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        tags = tags_in(archive.getnames())
    size = engine.output(container, "du", "--summarize", "--bytes", FOLDER) if running and tags else ""
    return Images(tags, int(size.split()[0]) if size[:1].isdigit() else 0)
