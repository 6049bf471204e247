"""What takes a cluster off a host that stays, and leaves what was there before."""
