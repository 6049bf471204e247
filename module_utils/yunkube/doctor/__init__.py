# SPDX-License-Identifier: Apache-2.0
"""The doctor: facts of hosts and of the API, rules that prove faults from them, and what is done about these."""
