#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring web services to what is declared, and remove those that are not declared any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: web_services
short_description: Deploy, change and remove web services
description:
  - Applies every declared service on the API server's side and waits until its pods answer, and until no ready node
    refuses its node port; one that still does is in RV(notices). What it applied before and is no longer declared is
    removed or kept, as O(prune) says. Other objects are never touched.
  - The cluster rolls out a Deployment; this module rolls out a ReplicationController, pod by pod.
  - Pods whose image is in the cluster's registry get a Secret to pull with; its password is read from the API here.
  - Fails with a line for each service that does not run, saying why and what to do.
author: [Yunkube]
options:
  services:
    description: All services of the cluster.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Its name., type: str, required: true}
      image: {description: Its image., type: str, default: ""}
      manifests:
        description: In place of O(services[].image), files with manifests. The action plugin reads them.
        type: list
        elements: str
      namespace: {description: Its namespace; created if it does not exist., type: str, default: default}
      kind:
        description: The controller of its pods.
        type: str
        choices: [Deployment, ReplicationController]
        default: Deployment
      replicas: {description: How many pods., type: int, default: 2}
      port: {description: The port on which the program listens., type: int, default: 8080}
      node_port: {description: The node port, on which every host answers., type: int}
      architecture:
        description: The processor that the image is for. Without it, pods run on nodes of any.
        type: str
        choices: [amd64, arm64]
      cpu: {description: The CPU request of a pod., type: str, default: 500m}
      memory: {description: The memory request and limit of a pod., type: str, default: 600Mi}
      pull_policy:
        description: When a node pulls the image.
        type: str
        choices: [IfNotPresent, Always, Never]
        default: IfNotPresent
      env:
        description:
          - Environment variables. A value may be a dictionary of C(secret) or C(config_map), a name, and C(key).
        type: dict
        default: {}
      env_from:
        description: Secrets and ConfigMaps of the namespace, all of whose keys are environment variables.
        type: list
        elements: dict
        default: []
        suboptions:
          secret: {description: A Secret's name., type: str}
          config_map: {description: A ConfigMap's name., type: str}
      probe:
        description: How to check that a pod works.
        type: dict
        default: {}
        suboptions:
          path: {description: "The path of an HTTP probe. Empty: an open port is enough.", type: str, default: ""}
          startup_seconds: {description: Seconds until the program must have started., type: int, default: 60}
      resources:
        description: Manifests in place of all that, from the action plugin; image is empty then.
        type: list
        elements: dict
        default: []
  registry_secret:
    description: namespace/name of the registry's login; it may be missing.
    type: str
    default: registry/registry-login
  prune:
    description:
      - What to do with objects that are no longer declared. C(keep) keeps them and warns. C(services) removes them,
        except for PersistentVolumeClaims, PersistentVolumes, CustomResourceDefinitions and Namespaces. C(data) removes
        those, too; a Namespace only if it contains nothing else.
    type: str
    choices: [keep, services, data]
    default: keep
  ask:
    description: Fail before the first change, with C(kind) C(removals), when anything would be removed.
    type: bool
    default: false
  timeout: {description: Seconds until all services must run., type: int, default: 180}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  kubeconfig: {description: The kubeconfig for the API, type: path, default: /etc/kubernetes/admin.conf}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full, details: [A dry run on the server. Without a server everything would be applied.]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Deploy two web services
  web_services:
    services:
      - name: shop
        image: registry.example.com/shop:1.4.0
        replicas: 3
        node_port: 30080
        env:
          LANG: C.UTF-8
          DB_PASSWORD: {secret: shop-db, key: password}
        probe: {path: /healthz}
      - name: blog
        manifests: [manifests/blog.yaml]
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true

- name: Remove the services that are no longer declared, and keep their data
  web_services:
    services:
      - name: shop
        image: registry.example.com/shop:1.4.0
    prune: services
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
kept:
  description: "What stays although it is no longer declared, every object as C(kind namespace/name)"
  returned: success
  type: list
  elements: str
notices: {description: The same in a sentence that names the first ones., returned: success, type: list, elements: str}
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
faults:
  description: Services that do not run, in the form that docs/events.md describes; C(host) is namespace/name.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.node_ports import refused_in_words
from ansible.module_utils.yunkube.kube.objects import as_diff
from ansible.module_utils.yunkube.result import Report
from ansible.module_utils.yunkube.web.deploy import Deploy, NotAgreedError, without_api
from ansible.module_utils.yunkube.web.ownership import kept_in_words
from ansible.module_utils.yunkube.web.service import SPEC, secret_values


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            **SPEC,
            **identity.OPTIONS,
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    params, services = module.params, module.params["services"]
    # The journal has its line; names and ports are no secrets, and a message without them would be of no use.
    module.no_log_values = secret_values(services)
    options = {"dry_run": module.check_mode, "prune": params["prune"], "ask": params["ask"]}
    identity.refuse_another(module)
    host_lock.take(module, last=host_lock.verb(module).startswith("web"))
    try:
        with KubeApi.from_file(params["kubeconfig"]) as api:
            deploy = Deploy(api, services, params["registry_secret"], **options)
            deploy.run(params["timeout"])
        changes, words, faults, kept = deploy.changes, deploy.in_words(), deploy.faults, deploy.kept
        refused = deploy.refused
    except NotAgreedError as error:
        module.fail_json(**error.report.as_failure(f"{error.WORDS}: {', '.join(error.names)}"))
    except KubeError as error:
        if not (module.check_mode and error.silent):
            module.fail_json(msg=str(error), status=error.status)
        changes, words, faults, kept, refused = *without_api(services), [], [], []
    notices = [*([kept_in_words(kept, params["prune"])] if kept else []), *refused_in_words(refused)]
    for notice in notices:
        module.warn(notice)
    diff: Json = {"diff": as_diff(changes)} if module._diff else {}  # noqa: SLF001
    if faults:
        module.fail_json(**Report(tuple(faults)).as_failure(), changed=bool(words), changes=words, **diff)
    module.exit_json(changed=bool(words), changes=words, kept=kept, notices=notices, **diff)


if __name__ == "__main__":
    main()
