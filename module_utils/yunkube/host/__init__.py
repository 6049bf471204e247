"""What runs on hosts: the standard library alone, of Python 3.9."""
