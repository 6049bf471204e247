# SPDX-License-Identifier: Apache-2.0
"""Brings a running cluster to another release or bundle, host by host."""
