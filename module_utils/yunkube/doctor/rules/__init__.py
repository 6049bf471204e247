# SPDX-License-Identifier: Apache-2.0
"""The rules, a file for each area: above, the proof of a fault; below it, what is said and done about it."""
