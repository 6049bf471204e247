# SPDX-License-Identifier: Apache-2.0
"""What runs on hosts: the standard library alone, of Python 3.9."""
