# SPDX-License-Identifier: Apache-2.0
"""Alibaba Cloud, from the control machine."""
