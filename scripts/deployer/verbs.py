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
            "create the cluster, or update it to match the inventory",
            "kubectl -- get nodes",
            claims=True,
            needs_cluster=False,
        ),
        Verb(
            "plan",
            "site.yml",
            "show what `up` would change, without changing anything",
            "up",
            check=True,
            needs_cluster=False,
        ),
        Verb(
            "verify",
            "playbooks/verify.yml",
            "test that the cluster works: nodes, DNS, network, Services",
            "",
            report="table",
            limits=False,
        ),
        Verb(
            "status",
            "playbooks/status.yml",
            "show nodes, pods and certificates, and whether hosts are as declared",
            "",
            exclusive=False,
            reports=True,
            report="status",
            limits=False,
        ),
        Verb(
            "doctor",
            "playbooks/doctor.yml",
            "diagnose hosts and cluster; --fix repairs what is safe",
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
            "collect logs and state from all hosts in one archive, without secrets",
            "",
            exclusive=False,
        ),
        Verb(
            "add",
            "playbooks/add.yml",
            "add hosts listed in the inventory; other hosts are not touched",
            "status",
            claims=True,
        ),
        Verb(
            "remove",
            "playbooks/remove.yml",
            "drain hosts, reset them, and remove them from the cluster",
            "status",
            limits=False,
            claims=True,
        ),
        Verb(
            "cloud up",
            "playbooks/cloud_up.yml",
            "create the declared hosts on Alibaba Cloud, and the cluster on them",
            "kubectl -- get nodes",
            limits=False,
            claims=True,
        ),
        Verb(
            "cloud plan",
            "playbooks/cloud_hosts.yml",
            "show which hosts `cloud up` would create and their cost, without changing anything",
            "cloud up",
            check=True,
            limits=False,
        ),
        Verb(
            "cloud status",
            "playbooks/cloud_status.yml",
            "show this cluster's resources in the account, and their cost",
            "",
            exclusive=False,
            report="table",
            limits=False,
        ),
        Verb(
            "cloud down",
            "playbooks/down.yml",
            "remove the cluster and every resource created for it in the account",
            "cloud up",
            limits=False,
            claims=True,
        ),
        Verb(
            "web apply",
            "playbooks/web_services.yml",
            "deploy the web services that the inventory declares, and prune the others",
            "",
            limits=False,
        ),
        Verb(
            "web rollback",
            "playbooks/web_rollback.yml",
            "roll a web service back to its previous version",
            "",
            report="table",
            limits=False,
        ),
        Verb(
            "reattach",
            "playbooks/reattach.yml",
            "reattach an inventory to its cluster after it was moved or its state directory was lost",
            "up",
            limits=False,
            claims=True,
            needs_cluster=False,
        ),
        Verb(
            "down",
            "playbooks/down.yml",
            "remove the cluster and restore its hosts",
            "up",
            limits=False,
            claims=True,
            needs_cluster=False,
        ),
    )
}
