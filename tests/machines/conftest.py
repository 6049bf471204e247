# SPDX-License-Identifier: Apache-2.0
"""How long each test on machines took."""

from timing import _time  # noqa: F401 - pytest finds it by its name
