# SPDX-License-Identifier: Apache-2.0
"""What builds the bundle on the control machine: may use its environment."""
