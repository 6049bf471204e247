# SPDX-License-Identifier: Apache-2.0
"""One factor for every time limit that depends on how fast hosts and links are: cluster_slow_factor.

Plays give it to modules in their environment, so that a limit deep inside needs no option on the way to it.
"""

from __future__ import annotations

import os

VARIABLE = "YUNKUBE_SLOW_FACTOR"


def scaled(seconds: float) -> float:
    """Return a time limit that is right for ordinary hosts as these hosts need it."""
    return seconds * float(os.environ.get(VARIABLE) or 1)
