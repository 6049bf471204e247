# SPDX-License-Identifier: Apache-2.0
"""Settings of Ansible that this project's ansible.cfg alone decides, whatever the shell has set for other projects."""

from __future__ import annotations

from collections.abc import MutableMapping

# By the reason. What is about logins, vaults, forks, timeouts and places for files stays the user's.
_BY_REASON = {
    "where roles, modules and plugins are: those of another project would run, or ours not be found": (
        "ANSIBLE_ROLES_PATH",
        "ANSIBLE_LIBRARY",
        "ANSIBLE_MODULE_UTILS",
        "ANSIBLE_ACTION_PLUGINS",
        "ANSIBLE_CALLBACK_PLUGINS",
        "ANSIBLE_FILTER_PLUGINS",
        "ANSIBLE_INVENTORY_PLUGINS",
        "ANSIBLE_LOOKUP_PLUGINS",
        "ANSIBLE_STRATEGY_PLUGINS",
        "ANSIBLE_TEST_PLUGINS",
        "ANSIBLE_CACHE_PLUGINS",
        "ANSIBLE_MODULE_IGNORE_EXTS",
        "ANSIBLE_PLAYBOOK_DIR",
        "ANSIBLE_PLAYBOOK_VARS_ROOT",
    ),
    "what plays mean: roles are written for the values of ansible.cfg, and for Ansible's own where it has none": (
        "ANSIBLE_ANY_ERRORS_FATAL",
        "ANSIBLE_ALLOW_BROKEN_CONDITIONALS",
        "ANSIBLE_ALLOW_EMBEDDED_TEMPLATES",
        "ANSIBLE_CACHE_PLUGIN",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION",
        "ANSIBLE_CACHE_PLUGIN_PREFIX",
        "ANSIBLE_CACHE_PLUGIN_TIMEOUT",
        "ANSIBLE_ENABLE_TASK_DEBUGGER",
        "ANSIBLE_ERROR_ON_MISSING_HANDLER",
        "ANSIBLE_ERROR_ON_UNDEFINED_VARS",
        "ANSIBLE_FACTS_MODULES",
        "ANSIBLE_FORCE_HANDLERS",
        "ANSIBLE_GATHERING",
        "ANSIBLE_HASH_BEHAVIOUR",
        "ANSIBLE_INJECT_FACT_VARS",
        "ANSIBLE_INVALID_TASK_ATTRIBUTE_FAILED",
        "ANSIBLE_JINJA2_EXTENSIONS",
        "ANSIBLE_JINJA2_NATIVE",
        "ANSIBLE_NULL_REPRESENTATION",
        "ANSIBLE_PRECEDENCE",
        "ANSIBLE_PRIVATE_ROLE_VARS",
        "ANSIBLE_RUN_TAGS",
        "ANSIBLE_RUN_VARS_PLUGINS",
        "ANSIBLE_SKIP_TAGS",
        "ANSIBLE_STRATEGY",
        "ANSIBLE_STRING_TYPE_FILTERS",
    ),
    "what an inventory is: the check of it, and people, go by the same rules everywhere": (
        "ANSIBLE_DUPLICATE_YAML_DICT_KEY",
        "ANSIBLE_HOST_PATTERN_MISMATCH",
        "ANSIBLE_INVENTORY",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED",
        "ANSIBLE_INVENTORY_ENABLED",
        "ANSIBLE_INVENTORY_EXPORT",
        "ANSIBLE_INVENTORY_IGNORE",
        "ANSIBLE_INVENTORY_IGNORE_REGEX",
        "ANSIBLE_INVENTORY_PLUGIN_EXTS",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING",
        "ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS",
        "ANSIBLE_YAML_FILENAME_EXT",
    ),
    "what is printed: views and reports are made of it": (
        "ANSIBLE_CALLBACKS_ENABLED",
        "ANSIBLE_CALLBACK_FORMAT_PRETTY",
        "ANSIBLE_CALLBACK_RESULT_FORMAT",
        "ANSIBLE_CHECK_MODE_MARKERS",
        "ANSIBLE_DIFF_ALWAYS",
        "ANSIBLE_DISPLAY_ARGS_TO_STDOUT",
        "ANSIBLE_DISPLAY_FAILED_STDERR",
        "ANSIBLE_DISPLAY_OK_HOSTS",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS",
        "ANSIBLE_DISPLAY_TRACEBACK",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS",
        "ANSIBLE_LOCALHOST_WARNING",
        "ANSIBLE_NO_LOG",
        "ANSIBLE_NO_TARGET_SYSLOG",
        "ANSIBLE_SHOW_CUSTOM_STATS",
        "ANSIBLE_SHOW_PER_HOST_START",
        "ANSIBLE_SHOW_TASK_PATH_ON_FAILURE",
        "ANSIBLE_STDOUT_CALLBACK",
        "ANSIBLE_VERBOSE_TO_STDERR",
    ),
}
NOT_OF_THE_SHELL = tuple(name for names in _BY_REASON.values() for name in names)


def leave_out(environment: MutableMapping[str, str]) -> None:
    """Take them out of the environment that programs are started with."""
    for name in NOT_OF_THE_SHELL:
        environment.pop(name, None)
