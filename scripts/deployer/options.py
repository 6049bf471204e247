# SPDX-License-Identifier: Apache-2.0
"""Options that argparse alone would take without a word, or refuse without the reason."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Any

from ansible.module_utils.yunkube.control.commands import DEFAULT_INVENTORY

from deployer.errors import DeployError


def default_inventory() -> str:
    """Return the inventory where none is named; one of the shell is for other programs, and not to be passed over."""
    if meant := os.environ.get("ANSIBLE_INVENTORY"):
        raise DeployError(
            f"ANSIBLE_INVENTORY is set to {meant}, but deploy.py ignores it",
            f"pass the inventory with -i, such as -i {shlex.quote(meant)} or -i {DEFAULT_INVENTORY}",
        )
    return DEFAULT_INVENTORY


class OneInventory(argparse.Action):
    """Takes one inventory: Ansible would merge several, and a cluster has one."""

    def __call__(self, _parser: object, namespace: argparse.Namespace, values: Any, _option: object = None) -> None:
        if before := getattr(namespace, self.dest):
            hint = "a cluster has one inventory: put the files in one directory"
            raise DeployError(f"-i is given twice: {before} and {values}", hint)
        if not values:
            raise DeployError("-i has no value", "pass the path of an inventory; is a shell variable empty?")
        setattr(namespace, self.dest, values)


class NoLimit(argparse.Action):
    """Refuses `--limit` with the reason, where argparse would call it unknown."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(str(self.const))
