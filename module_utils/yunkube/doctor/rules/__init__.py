# SPDX-License-Identifier: Apache-2.0
"""The rules, a file for each area: first the proof of a fault; below it, its texts and its repair."""
