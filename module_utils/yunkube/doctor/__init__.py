"""The doctor: facts of hosts and of the API, a table of faults, and what follows from both."""
