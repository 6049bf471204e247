# SPDX-License-Identifier: Apache-2.0
"""Web services: what runs on a control plane host, with the standard library alone."""
