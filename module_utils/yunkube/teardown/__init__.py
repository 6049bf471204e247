# SPDX-License-Identifier: Apache-2.0
"""Removes a cluster from a host and leaves what was there before."""
