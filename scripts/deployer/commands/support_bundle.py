# SPDX-License-Identifier: Apache-2.0
"""One archive of all that somebody needs who is to help."""

from __future__ import annotations

from deployer.commands.base import Play, absolute, option

EXAMPLES = """\
examples:
  ./scripts/deploy.py support-bundle                         in the cluster's state directory
  ./scripts/deploy.py support-bundle --output ~/mine.tar.gz

Unpack it and open index.html. Keys and Secrets are not collected; other secrets are replaced by [redacted].
"""

COMMAND = Play(
    name="support-bundle",
    help="collect logs and state from all hosts in one archive, without secrets",
    examples=EXAMPLES,
    options=(
        option(
            "--output",
            variable="troubleshoot_support_file",
            metavar="PATH",
            type=absolute,
            completed_by="files",
            help="the archive to write, ending in .tar.gz",
        ),
    ),
    playbook="playbooks/support-bundle.yml",
    exclusive=False,
)
