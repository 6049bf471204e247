"""What --help shows below the options: examples, and exit codes."""

OVERVIEW = """\
examples:
  ./scripts/deploy.py up                        a cluster on Docker hosts of this machine
  ./scripts/deploy.py up -i inventory/mine      the same on your own hosts
  ./scripts/deploy.py plan                      what would `up` change?
  ./scripts/deploy.py kubectl -- get nodes      kubectl of the cluster's own version
  ./scripts/deploy.py COMMAND --help            options and more examples

exit codes:
  0 done     1 a bug of Yunkube     2 wrong usage or configuration     3 a task failed
  4 a host is unreachable, and nothing else failed     5 `plan` or `status` found hosts that are not as declared
  6 `status` or `doctor` found something that is not healthy     124 timeout     130 interrupted
"""

EXAMPLES = {
    "up": """\
examples:
  ./scripts/deploy.py up
  ./scripts/deploy.py up -i inventory/mine --limit node3       one host of many
  ./scripts/deploy.py up -e cluster_dns_domain=k8s.example     a variable for this run
  ./scripts/deploy.py up --json | jq -r 'select(.type == "failure").message'

Safe to repeat: what is as it should be stays untouched, and a run that was cut short goes on.
""",
    "plan": """\
examples:
  ./scripts/deploy.py plan                     exit code 0: nothing to do; 5: there would be changes
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
With --watch it is that of the last look.
""",
    "doctor": """\
examples:
  ./scripts/deploy.py doctor                                 causes, evidence, and what would repair them
  ./scripts/deploy.py doctor --fix --dry-run                 which repairs would be done
  ./scripts/deploy.py doctor --fix                           what is safe, the lightest first
  ./scripts/deploy.py doctor --fix --only subnet-env-missing
  ./scripts/deploy.py doctor --fix --allow node-cordoned     also what is not safe, by its id
  ./scripts/deploy.py doctor --json | jq 'select(.type == "summary").doctor.findings'

Every fault has a page in docs/faults. Exit code 0: no fault of the cluster; 6: faults; 4: no host was reached.
""",
    "support-bundle": """\
examples:
  ./scripts/deploy.py support-bundle                         in the cluster's state directory
  ./scripts/deploy.py support-bundle --output ~/mine.tar.gz

Unpack it and open index.html. Keys and Secrets are not gathered, other secrets are replaced by [redacted].
""",
    "add": """\
examples:
  ./scripts/deploy.py add node3                once node3 stands in the inventory's hosts.yml
  ./scripts/deploy.py add node3 node4 -i inventory/mine

The control plane host is asked through the API; no other host of the cluster is touched.
""",
    "remove": """\
examples:
  ./scripts/deploy.py remove node3             asks first; pods leave as their disruption budgets allow
  ./scripts/deploy.py remove node3 --yes --drain-timeout 600
  ./scripts/deploy.py remove node3 --force     pods that would be lost, or that a budget keeps, are deleted
  ./scripts/deploy.py remove node3 --delete-emptydir-data      pods lose what they keep on this host alone
  ./scripts/deploy.py remove node3 --dead      it does not answer and never will

Then take its line out of the inventory's hosts.yml: the next `up` would add it again.
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
  ./scripts/deploy.py down --dead node3        node3 does not answer and never will; what is on it stays
  ./scripts/deploy.py down --force             delete the images in the cluster's registry, too
  ./scripts/deploy.py down --adopt             also a cluster that Yunkube did not make

It removes the whole cluster; a single host is removed by `remove HOST`. A host that does not answer stops it.
""",
    "dashboard": """\
examples:
  ./scripts/deploy.py dashboard                address and login; opens the browser where there is one
  ./scripts/deploy.py dashboard --print        opens nothing
  ./scripts/deploy.py dashboard --admin        Headlamp: a token that may change everything; without, one that may look
""",
    "image": """\
examples:
  ./scripts/deploy.py image push shop:1.4      an image of this machine's Docker engine, to the cluster's registry
  ./scripts/deploy.py image push team/shop:1.4 -i inventory/mine
""",
    "kubectl": """\
examples:
  ./scripts/deploy.py kubectl -- get nodes -o wide
  ./scripts/deploy.py kubectl -i inventory/mine -- logs -n kube-system ds/kube-proxy
""",
    "cloud": """\
examples:
  ./scripts/deploy.py cloud plan -i inventory/prod       what would be created, and what it costs an hour
  ./scripts/deploy.py cloud up -i inventory/prod
  ./scripts/deploy.py cloud COMMAND --help
""",
    "cloud up": """\
examples:
  ./scripts/deploy.py cloud up -i inventory/prod
  ./scripts/deploy.py cloud up -i inventory/prod --yes   where fewer hosts are declared than there are: do not ask

Safe to repeat: hosts are found again by their tags, and a run that was cut short goes on. Credentials come from
ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, the profile of the `aliyun` command, or the RAM role
of the instance on which this runs.
""",
    "cloud plan": """\
examples:
  ./scripts/deploy.py cloud plan -i inventory/prod       exit code 0: nothing to do; 5: there would be changes
""",
    "cloud status": """\
examples:
  ./scripts/deploy.py cloud status -i inventory/prod
  ./scripts/deploy.py cloud status -i inventory/prod --json | jq 'select(.type == "summary").table'
""",
    "cloud down": """\
examples:
  ./scripts/deploy.py cloud down -i inventory/prod       shows what is there, and asks
  ./scripts/deploy.py cloud down -i inventory/prod --yes
""",
    "web": """\
examples:
  ./scripts/deploy.py web apply                what cluster.yml says in web_services, and nothing else
  ./scripts/deploy.py web rollback shop -n shops
  ./scripts/deploy.py web COMMAND --help
""",
    "web apply": """\
examples:
  ./scripts/deploy.py web apply
  ./scripts/deploy.py web apply --yes          for scripts: removes without a question what is no longer declared
  ./scripts/deploy.py web apply -e 'web_services=[{"name": "shop", "image": "registry.example/shop:2"}]'

What web_services no longer names is shown and, after a question, removed. PersistentVolumeClaims, PersistentVolumes,
CustomResourceDefinitions and Namespaces stay without --prune-data. `up` applies the same list and removes nothing.
""",
    "web rollback": """\
examples:
  ./scripts/deploy.py web rollback shop        the version that ran before; again: back to the newer one
  ./scripts/deploy.py web rollback shop -n shops

Then change the image in cluster.yml, too: the next `up` brings what is declared there.
""",
    "import": """\
examples:
  ./scripts/deploy.py import kubespray ~/kubespray/inventory/prod -i inventory/prod
  ./scripts/deploy.py import kubeasz /etc/kubeasz/clusters/prod -i inventory/prod
  ./scripts/deploy.py import k3s-ansible ~/k3s-ansible/inventory.yml -i inventory/prod

It writes a new inventory and nothing else, and names what has no counterpart. It is for a new cluster on the same or
other hosts: a host that runs another project's cluster is refused by `plan` and `up`.
""",
    "completion": """\
examples:
  eval "$(./scripts/deploy.py completion bash)"        in ~/.bashrc, with the path to the checkout
  eval "$(./scripts/deploy.py completion zsh)"         in ~/.zshrc
  ./scripts/deploy.py completion fish | source         in ~/.config/fish/config.fish
""",
}
