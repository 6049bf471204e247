#!/usr/bin/python
"""Return what it is given, as a module with a report does."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Return it."""
    module = AnsibleModule({"result": {"type": "dict", "required": True}}, supports_check_mode=True)
    module.exit_json(changed=False, **module.params["result"])


if __name__ == "__main__":
    main()
