"""What runs on the control machine and reads inventories: may use its environment."""
