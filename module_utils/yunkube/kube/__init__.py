# SPDX-License-Identifier: Apache-2.0
"""What runs on a control plane host and speaks with the cluster: the standard library alone, of Python 3.9."""
