"""The thin command over Yunkube's playbooks: it runs them, shows what happens, and says what went wrong."""
