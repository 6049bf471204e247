# SPDX-License-Identifier: Apache-2.0
"""Many hosts that are one: each an sshd of its own on a lab's host, whose kubeadm only notes what it was given."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from laboratory import ROOT, Lab

PLACE = "/root/many"
# It joins nothing, and fails on the host that is called like the file.
KUBEADM = rf"""#!/bin/sh
for file; do :; done
name=$(sed -n 's/^  name: "*\([^"]*\)"*$/\1/p' "$file")
sed -n 's/^    token: //p' "$file" > {PLACE}/tokens/$name
sleep 0.3
if test -e {PLACE}/fails/$name; then echo "error: this host was told to fail"; exit 1; fi
"""
# Each has the folders of a host that has not joined for itself.
START = f"""
mkdir -p {PLACE}/tokens {PLACE}/fails /run/yunkube
cat > {PLACE}/kubeadm
chmod 755 {PLACE}/kubeadm
for number in $(seq 1 COUNT); do
  setsid unshare --mount sh -c '
    for folder in /etc/kubernetes /run/yunkube /var/lib/kubelet; do mount -t tmpfs tmpfs $folder; done
    mount --bind {PLACE}/kubeadm /usr/local/bin/kubeadm
    exec /usr/sbin/sshd -D -o PidFile=none -p $0' $((2200 + number)) > /dev/null 2>&1 < /dev/null &
  echo $! >> {PLACE}/pids
done
"""


@dataclass(frozen=True)
class ManyHosts:
    """The hosts sim1, sim2, ... on a host of the lab."""

    lab: Lab
    host: str
    inventory: Path

    def join(self, *options: str, root: Path = ROOT, seconds: int = 300) -> subprocess.CompletedProcess[str]:
        """Run the stage that joins nodes on all of them."""
        argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(self.lab.inventory), "-i", str(self.inventory)]
        argv += [str(root / "playbooks/nodes.yml"), "--limit", "sim*", *options]
        return subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False, timeout=seconds)

    def tokens(self) -> dict[str, str]:
        """Return the token that each kubeadm was given."""
        said = self.lab.run(self.host, f"cd {PLACE}/tokens && grep . *")
        return dict(line.split(":", 1) for line in said.splitlines())

    def fail(self, name: str) -> None:
        """Make kubeadm fail on one of them."""
        self.lab.run(self.host, f"touch {PLACE}/fails/{name}")


@contextlib.contextmanager
def many_hosts(lab: Lab, host: str, address: str, count: int, folder: Path) -> Iterator[ManyHosts]:
    """Start them on a host of the lab, and end them."""
    hosts = {
        f"sim{number}": {
            "ansible_host": address,
            "ansible_port": 2200 + number,
            "ansible_ssh_extra_args": f"-o HostKeyAlias={address}",
        }
        for number in range(1, count + 1)
    }
    inventory = folder / "many.json"
    inventory.write_text(json.dumps({"all": {"children": {"nodes": {"hosts": hosts}}}}))
    container = f"yunkube-{lab.name}-{host}"
    argv = ["docker", "exec", "-i", container, "sh", "-c", START.replace("COUNT", str(count))]
    subprocess.run(argv, input=KUBEADM, text=True, check=True, capture_output=True, timeout=60)
    try:
        yield ManyHosts(lab, host, inventory)
    finally:
        lab.run(host, f"kill $(cat {PLACE}/pids); rm -r {PLACE}")
