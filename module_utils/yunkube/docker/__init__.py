"""Docker hosts of the control machine: may use its environment."""
