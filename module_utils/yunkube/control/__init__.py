# SPDX-License-Identifier: Apache-2.0
"""What runs on the control machine and reads inventories: may use its environment."""
