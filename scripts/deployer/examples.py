"""What --help shows below the options: examples, and exit codes."""

OVERVIEW = """\
examples:
  ./scripts/deploy.py up                        create a cluster on Docker hosts on this machine
  ./scripts/deploy.py up -i inventory/mine      the same on your own hosts
  ./scripts/deploy.py plan                      show what `up` would change
  ./scripts/deploy.py kubectl -- get nodes      kubectl in the cluster's own version
  ./scripts/deploy.py COMMAND --help            options and more examples

exit codes:
  0 success     1 a bug in Yunkube     2 wrong usage or configuration     3 a task failed
  4 a host is unreachable; nothing else failed     5 `plan` found changes, or `status` hosts not as declared
  6 `status` or `doctor` found faults     124 timeout     130 interrupted
"""

EXAMPLES = {
    "up": """\
examples:
  ./scripts/deploy.py up
  ./scripts/deploy.py up -i inventory/mine --limit node3       a single host
  ./scripts/deploy.py up -e cluster_dns_domain=k8s.example     a variable for this run
  ./scripts/deploy.py up --json | jq -r 'select(.type == "failure").message'

Safe to repeat: what already matches is not touched, and an interrupted run resumes.
""",
    "plan": """\
examples:
  ./scripts/deploy.py plan                     exit code 0: no changes; 5: changes pending
  ./scripts/deploy.py plan -v                  every change with its diff
  ./scripts/deploy.py plan --json | jq 'select(.type == "summary").plan'
  ./scripts/deploy.py plan -i inventory/mine --limit node3
""",
    "verify": """\
examples:
  ./scripts/deploy.py verify
  ./scripts/deploy.py verify --json | jq 'select(.type == "summary").table'
""",
    "status": """\
examples:
  ./scripts/deploy.py status
  ./scripts/deploy.py status --watch           again every 5 seconds, until Ctrl-C
  ./scripts/deploy.py status --json | jq 'select(.type == "summary").status.pods'

Exit code 0: healthy, and hosts are as declared; 6: not healthy; 5: healthy, but hosts are not as declared.
With --watch, the exit code is that of the last refresh.
""",
    "doctor": """\
examples:
  ./scripts/deploy.py doctor                                 causes, evidence, and how to repair them
  ./scripts/deploy.py doctor --fix --dry-run                 list the repairs
  ./scripts/deploy.py doctor --fix                           apply safe repairs, least disruptive first
  ./scripts/deploy.py doctor --fix --only subnet-env-missing
  ./scripts/deploy.py doctor --fix --allow node-cordoned     also an unsafe repair, by fault id
  ./scripts/deploy.py doctor --json | jq 'select(.type == "summary").doctor.findings'

Every fault has a page in docs/faults. Exit code 0: no cluster faults; 6: faults found; 4: no host was reachable.
""",
    "support-bundle": """\
examples:
  ./scripts/deploy.py support-bundle                         in the cluster's state directory
  ./scripts/deploy.py support-bundle --output ~/mine.tar.gz

Unpack it and open index.html. Keys and Secrets are not collected; other secrets are replaced by [redacted].
""",
    "add": """\
examples:
  ./scripts/deploy.py add node3                node3 must be listed in the inventory's hosts.yml
  ./scripts/deploy.py add node3 node4 -i inventory/mine

Existing hosts are not touched; the cluster is queried through the API.
""",
    "remove": """\
examples:
  ./scripts/deploy.py remove node3             asks first; evicts pods within their disruption budgets
  ./scripts/deploy.py remove node3 --yes --drain-timeout 600
  ./scripts/deploy.py remove node3 --force     also deletes unmanaged pods and ignores budgets
  ./scripts/deploy.py remove node3 --delete-emptydir-data      pods lose their data on this host
  ./scripts/deploy.py remove node3 --dead      permanently unreachable

Then remove it from the inventory's hosts.yml; otherwise the next `up` adds it again.
""",
    "reattach": """\
examples:
  ./scripts/deploy.py reattach -i inventory/mine

Takes the cluster's id from the hosts, which must all agree, and gives hosts in Docker new keys. Then `up` brings the
kubeconfig back. For a state directory that was lost, an inventory that was moved or renamed, and hosts of before
clusters had ids.
""",
    "down": """\
examples:
  ./scripts/deploy.py down                     asks first
  ./scripts/deploy.py down --yes               for scripts
  ./scripts/deploy.py down --dead node3        node3 is permanently unreachable; it is not cleaned up
  ./scripts/deploy.py down --force             also delete the images in the cluster's registry
  ./scripts/deploy.py down --adopt             also a cluster that Yunkube did not create

Removes the whole cluster; to remove a single host, use `remove HOST`. An unreachable host stops the run.
""",
    "dashboard": """\
examples:
  ./scripts/deploy.py dashboard                address and login; opens a browser if there is one
  ./scripts/deploy.py dashboard --print        does not open a browser
  ./scripts/deploy.py dashboard --admin        Headlamp: a token with full access; the default is read-only
""",
    "image": """\
examples:
  ./scripts/deploy.py image push shop:1.4      from the local Docker engine to the cluster's registry
  ./scripts/deploy.py image push team/shop:1.4 -i inventory/mine
""",
    "kubectl": """\
examples:
  ./scripts/deploy.py kubectl -- get nodes -o wide
  ./scripts/deploy.py kubectl -i inventory/mine -- logs -n kube-system ds/kube-proxy
""",
    "cloud": """\
examples:
  ./scripts/deploy.py cloud plan -i inventory/prod       what would be created, and its hourly cost
  ./scripts/deploy.py cloud up -i inventory/prod
  ./scripts/deploy.py cloud COMMAND --help
""",
    "cloud up": """\
examples:
  ./scripts/deploy.py cloud up -i inventory/prod
  ./scripts/deploy.py cloud up -i inventory/prod --yes   where fewer hosts are declared than there are: do not ask

Safe to repeat: hosts are found by their tags, and an interrupted run resumes. Credentials come from
ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, the profile of the `aliyun` command, or the RAM role
of the instance on which this runs.
""",
    "cloud plan": """\
examples:
  ./scripts/deploy.py cloud plan -i inventory/prod       exit code 0: no changes; 5: changes pending
""",
    "cloud status": """\
examples:
  ./scripts/deploy.py cloud status -i inventory/prod
  ./scripts/deploy.py cloud status -i inventory/prod --json | jq 'select(.type == "summary").table'
""",
    "cloud down": """\
examples:
  ./scripts/deploy.py cloud down -i inventory/prod       lists the resources and asks first
  ./scripts/deploy.py cloud down -i inventory/prod --yes
""",
    "web": """\
examples:
  ./scripts/deploy.py web apply                deploys web_services of cluster.yml, prunes the others
  ./scripts/deploy.py web rollback shop -n shops
  ./scripts/deploy.py web COMMAND --help
""",
    "web apply": """\
examples:
  ./scripts/deploy.py web apply
  ./scripts/deploy.py web apply --yes          for scripts: prunes without asking
  ./scripts/deploy.py web apply -e 'web_services=[{"name": "shop", "image": "registry.example/shop:2"}]'

Objects no longer declared in web_services are listed and, once confirmed, removed. PersistentVolumeClaims,
PersistentVolumes, CustomResourceDefinitions and Namespaces are kept unless --prune-data is given.
`up` applies the same list and removes nothing.
""",
    "web rollback": """\
examples:
  ./scripts/deploy.py web rollback shop        to the previous version; run again to go forward
  ./scripts/deploy.py web rollback shop -n shops

Then change the image in cluster.yml too; otherwise the next `up` deploys the declared version again.
""",
    "import": """\
examples:
  ./scripts/deploy.py import kubespray ~/kubespray/inventory/prod -i inventory/prod
  ./scripts/deploy.py import kubeasz /etc/kubeasz/clusters/prod -i inventory/prod
  ./scripts/deploy.py import k3s-ansible ~/k3s-ansible/inventory.yml -i inventory/prod

Writes a new inventory, changes nothing else, and lists settings without a counterpart. For a new cluster on the same or
other hosts: `plan` and `up` refuse a host that runs another project's cluster.
""",
    "completion": """\
examples:
  eval "$(./scripts/deploy.py completion bash)"        in ~/.bashrc, with the path to the checkout
  eval "$(./scripts/deploy.py completion zsh)"         in ~/.zshrc
  ./scripts/deploy.py completion fish | source         in ~/.config/fish/config.fish
""",
}
