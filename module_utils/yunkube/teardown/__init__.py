"""Removes a cluster from a host and leaves what was there before."""
