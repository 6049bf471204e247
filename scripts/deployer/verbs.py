"""The verbs: which playbook each runs, and what to type after it."""

from __future__ import annotations

from dataclasses import dataclass


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
    # What a run must have brought to be a success: a field of Progress. Without it, nothing was looked at.
    report: str = "hosts"
    # Whether it can be done for some hosts of the cluster only.
    limits: bool = True
    # Whether a run that fails may leave its claim on the control plane host; with others, their last module has it.
    claims: bool = False
    # Whether there must be a cluster: hosts in Docker that nobody made would be waited for.
    needs_cluster: bool = True


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "up",
            "site.yml",
            "make the cluster, or bring it to what the inventory says",
            "kubectl -- get nodes",
            claims=True,
            needs_cluster=False,
        ),
        Verb(
            "plan", "site.yml", "show what `up` would change, and change nothing", "up", check=True, needs_cluster=False
        ),
        Verb(
            "verify",
            "playbooks/verify.yml",
            "prove that the cluster works: nodes, DNS, network, Services",
            "",
            report="table",
            limits=False,
        ),
        Verb(
            "status",
            "playbooks/status.yml",
            "tell how nodes, pods and certificates are, and whether hosts are as declared",
            "",
            exclusive=False,
            reports=True,
            report="status",
            limits=False,
        ),
        Verb(
            "doctor",
            "playbooks/doctor.yml",
            "find what is wrong with hosts and cluster, and repair it with --fix",
            "",
            exclusive=False,
            reports=True,
            report="doctor",
            limits=False,
            claims=True,
        ),
        Verb(
            "support-bundle",
            "playbooks/support-bundle.yml",
            "gather logs and states of all hosts in one archive, without secrets",
            "",
            exclusive=False,
        ),
        Verb(
            "add",
            "playbooks/add.yml",
            "add hosts of the inventory to the cluster; nothing else is touched",
            "status",
            claims=True,
        ),
        Verb(
            "remove",
            "playbooks/remove.yml",
            "drain hosts, reset them, and take them out of the cluster",
            "status",
            limits=False,
            claims=True,
        ),
        Verb(
            "cloud up",
            "playbooks/cloud_up.yml",
            "create the hosts on Alibaba Cloud that are declared, and the cluster on them",
            "kubectl -- get nodes",
            limits=False,
            claims=True,
        ),
        Verb(
            "cloud plan",
            "playbooks/cloud_hosts.yml",
            "show which hosts `cloud up` would create and what they cost, and change nothing",
            "cloud up",
            check=True,
            limits=False,
        ),
        Verb(
            "cloud status",
            "playbooks/cloud_status.yml",
            "show what there is in the account for this cluster, and what it costs",
            "",
            exclusive=False,
            report="table",
            limits=False,
        ),
        Verb(
            "cloud down",
            "playbooks/down.yml",
            "remove the cluster and everything in the account that was created for it",
            "cloud up",
            limits=False,
            claims=True,
        ),
        Verb(
            "web apply",
            "playbooks/web_services.yml",
            "bring the web services to what the inventory says",
            "",
            limits=False,
        ),
        Verb(
            "web rollback",
            "playbooks/web_rollback.yml",
            "take a web service back to the version before",
            "",
            report="table",
            limits=False,
        ),
        Verb(
            "reattach",
            "playbooks/reattach.yml",
            "attach an inventory again to the cluster of its hosts, after its state directory was lost or it was moved",
            "up",
            limits=False,
            claims=True,
            needs_cluster=False,
        ),
        Verb(
            "down",
            "playbooks/down.yml",
            "remove the cluster, without a trace on its hosts",
            "up",
            limits=False,
            claims=True,
            needs_cluster=False,
        ),
    )
}
