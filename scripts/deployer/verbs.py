"""The verbs: which playbook each runs, and what to type after it."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_INVENTORY = "inventory/docker"


@dataclass(frozen=True)
class Verb:
    """A verb that is a playbook."""

    name: str
    playbook: str
    help: str
    next: str
    check: bool = False
    # Reading verbs may run beside a run that changes things.
    exclusive: bool = True
    # What it finds decides the exit code, and is all that it shows.
    reports: bool = False


VERBS = {
    verb.name: verb
    for verb in (
        Verb("up", "site.yml", "make the cluster, or bring it to what the inventory says", "kubectl -- get nodes"),
        Verb("plan", "site.yml", "show what `up` would change, and change nothing", "up", check=True),
        Verb("verify", "playbooks/verify.yml", "prove that the cluster works: nodes, DNS, network, Services", ""),
        Verb(
            "status",
            "playbooks/status.yml",
            "tell how nodes, pods and certificates are, and whether hosts are as declared",
            "",
            exclusive=False,
            reports=True,
        ),
        Verb(
            "doctor",
            "playbooks/doctor.yml",
            "find what is wrong with hosts and cluster, and repair it with --fix",
            "",
            exclusive=False,
            reports=True,
        ),
        Verb(
            "support-bundle",
            "playbooks/support-bundle.yml",
            "gather logs and states of all hosts in one archive, without secrets",
            "",
            exclusive=False,
        ),
        Verb(
            "add", "playbooks/add.yml", "add hosts of the inventory to the cluster; nothing else is touched", "status"
        ),
        Verb("remove", "playbooks/remove.yml", "drain hosts, reset them, and take them out of the cluster", "status"),
        Verb("web apply", "playbooks/web_services.yml", "bring the web services to what the inventory says", ""),
        Verb("web rollback", "playbooks/web_rollback.yml", "take a web service back to the version before", ""),
        Verb(
            "reattach",
            "playbooks/reattach.yml",
            "attach an inventory again to the cluster of its hosts, after its state directory was lost or it was moved",
            "up",
        ),
        Verb("down", "playbooks/down.yml", "take the cluster away, without a trace on its hosts", "up"),
    )
}


def command(words: str, inventory: str) -> str:
    """Return `words` as a command line for this inventory."""
    verb, _, rest = words.partition(" ")
    chosen = "" if inventory == DEFAULT_INVENTORY else f" -i {inventory}"
    return f"./scripts/deploy.py {verb}{chosen}" + (f" {rest}" if rest else "")
