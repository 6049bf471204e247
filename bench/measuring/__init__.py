# SPDX-License-Identifier: Apache-2.0
"""The measurements that README and docs/numbers.md quote; each one command, `bench/run NAME`."""
