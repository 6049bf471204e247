# SPDX-License-Identifier: Apache-2.0
"""What follows from a lock alone: which programs are needed, and what that takes."""

from __future__ import annotations

import typing as t

Lock = dict[str, t.Any]


def needed(lock: Lock, images: t.Container[str]) -> set[str]:
    """Return the programs that hosts, this machine, and all images but these need."""
    of_images = {name for one in lock["images"] if one["reference"] not in images for name in one["programs"]}
    return {file["program"] for file in lock["files"]} | set(lock["control"]) | of_images


def needs_c(part: Lock) -> bool:
    """Say whether a component is built with a C compiler."""
    return bool(part.get("cgo")) or part.get("language") == "c"


def is_go(part: Lock) -> bool:
    """Say whether a component is built with Go."""
    return bool(part.get("language", "go") == "go")


def image_name(reference: str) -> str:
    """Return the name of an image's results in the store."""
    return "image-" + reference.rsplit("/", 1)[1].replace(":", "_")
