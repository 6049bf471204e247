#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Make the bundle of a lock, or see that it is there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_build
short_description: Make the bundle that hosts install from, and serve it to them
description:
  - A bundle is a folder with C(manifest.json) and, under C(files/), one file per sha256 that the manifest names.
  - It is named by the digest of its manifest, and so by its content. C(<cache>/locks/) holds a link to it, named by the
    digest of the lock and of the packages pinned beside it. If it is complete, only sizes and times are compared.
  - A file that changed since it was made is found that way, checked, and made again.
  - C(origins.json) beside the manifest says where each file came from, a URL, C(debian) or C(source).
  - With O(port) it is served over HTTP as C(/<sha256>), and nothing else, at the addresses on the routes to
    O(hosts) or at O(address), until the process O(run) and those of all other runs of the same cache are gone.
author: [The maintainers]
options:
  lock: {description: The lock file of a Kubernetes release, type: path, required: true}
  project: {description: The folder that holds C(components/), type: path, required: true}
  cache: {description: Where results, tools and bundles are kept, type: path, required: true}
  origin:
    description: >-
      Where the parts come from if they are not in the cache. C(release) downloads them from upstream and C(mirror) from
      mirrors, both only what the lock has a digest of; C(source) builds them. C(auto) downloads what it can, from
      upstream or else from mirrors, and builds the rest.
    type: str
    choices: [auto, source, release, mirror]
    default: auto
  architectures:
    description: What hosts there are, a bundle for each. The action plugin gives C(cluster_architecture) of the hosts.
    type: list
    elements: str
    default: [amd64]
  programs_link: {description: A link to the bundle's programs for the control machine, type: path}
  port: {description: TCP port to serve the cache's bundles at; 0 serves nothing, type: int, default: 0}
  address: {description: Address to serve at; empty means those on the routes to O(hosts), type: str, default: ""}
  hosts:
    description: Addresses of the hosts that fetch. The action plugin gives those of the inventory's masters and nodes.
    type: list
    elements: str
    default: []
  mirrors:
    description: >-
      Mirrors for a build, C(go), C(pip), C(debian) and C(debian_security), if neither the environment nor the
      tools' own files on this machine name others than the defaults. C(downloads) and C(registries) are those of
      releases and images, as O(download_mirrors).
    type: dict
    default: {}
  download_mirrors:
    description: >-
      Mirrors of downloads, lists of URLs by the name of the server or registry whose files they have, such as
      C(dl.k8s.io). They are asked before those of O(mirrors).
    type: dict
    default: {}
  run: {description: Process with which the server stops. The action plugin gives Ansible's., type: int}
attributes:
  check_mode: {support: full, details: [Builds and serves nothing; says whether it would build.]}
"""
EXAMPLES = r"""
- name: Build the bundle and serve it to the hosts
  bundle_build:
    lock: components/kubernetes-1.37.2.yml
    project: .
    cache: ~/.cache/yunkube
    programs_link: ~/.local/state/yunkube/prod/bin
    port: 8742
  delegate_to: localhost

- name: Build the bundle and serve it nowhere
  bundle_build:
    lock: components/kubernetes-1.37.2.yml
    project: .
    cache: ~/.cache/yunkube
  delegate_to: localhost
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
directory: {description: "The first bundle's folder; in check mode the path of the link", returned: always, type: path}
manifests:
  description: Paths of the bundles' manifests, C(amd64) first.
  returned: always
  type: list
  elements: path
served: {description: Addresses at which it is served, returned: always, type: list, elements: str}
seconds: {description: Build time of each component, returned: when something was, type: dict}
rebuilt:
  description: Digests of files that were damaged and built again.
  returned: when something was built
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.build.bundle import bring_bundles, serve


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "lock": {"type": "path", "required": True},
            "project": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
            "origin": {"choices": ["auto", "source", "release", "mirror"], "default": "auto"},
            "architectures": {"type": "list", "elements": "str", "default": ["amd64"]},
            "programs_link": {"type": "path"},
            "port": {"type": "int", "default": 0},
            "address": {"type": "str", "default": ""},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "mirrors": {"type": "dict", "default": {}},
            "download_mirrors": {"type": "dict", "default": {}},
            "run": {"type": "int"},
        },
        supports_check_mode=True,
    )
    made = bring_bundles(module)
    changes = [change for one in made for change in one.changes]
    built = [one for one in made if one.seconds is not None]
    times = {step: seconds for one in built for step, seconds in (one.seconds or {}).items()}
    rebuilt = [digest for one in built for digest in one.rebuilt]
    module.exit_json(
        changed=bool(changes),
        changes=changes,
        directory=str(made[0].directory),
        manifests=[f"{one.link}/manifest.json" for one in made],
        served=serve(module, bool(changes)),
        **({"seconds": times, "rebuilt": rebuilt} if built else {}),
    )


if __name__ == "__main__":
    main()
