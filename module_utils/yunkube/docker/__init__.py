# SPDX-License-Identifier: Apache-2.0
"""Docker hosts of the control machine: may use its environment."""
