"""What builds the bundle on the control machine: may use its environment."""
