"""Web services: what runs on a control plane host, with the standard library alone."""
