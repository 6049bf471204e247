# SPDX-License-Identifier: Apache-2.0
"""Machines as people have them: what is done at the first boot, what an inventory then needs, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from laboratory import Json
from machine_image import SELINUX, Recipe

PACKAGES = (
    "ufw", "firewalld", "nftables", "network-manager", "systemd-resolved", "unattended-upgrades", "util-linux-extra",
)  # fmt: skip
DISABLED = ("ufw.service", "firewalld.service", "nftables.service", "NetworkManager.service",
            "systemd-resolved.service", "unattended-upgrades.service")  # fmt: skip
IMAGE = Recipe(more=PACKAGES, disabled=DISABLED)
ENFORCING = Recipe(more=(SELINUX, "policycoreutils", "auditd"))
PASSWORD = "battery-staple-4711"


@dataclass(frozen=True)
class Condition:
    """One thing that is otherwise than on a machine as installed."""

    name: str
    first_boot: str = ""  # shell, as root, before the network starts
    booted: str = ""  # shell, as root, once it answers
    variables: Json = field(default_factory=dict)  # what its line in the inventory needs
    before: dict[str, str] = field(default_factory=dict)  # script: what it prints, so that the condition is real
    joined: dict[str, str] = field(default_factory=dict)  # likewise, once it is a node
    left: dict[str, str] = field(default_factory=dict)  # likewise, once it has left: as it was
    found: tuple[str, ...] = ()  # what the doctor is right to report of it


UFW = Condition(
    "ufw",
    booted="ufw allow 22/tcp; ufw allow 8090/tcp comment mine; ufw --force enable",
    before={"ufw status | head -1": "Status: active"},
    joined={"ufw status | head -1": "Status: active", "ufw show added | grep -c 10250": "1"},
    left={
        "ufw status | head -1": "Status: active",
        "ufw show added | grep -c Yunkube || true": "0",
        "ufw show added | grep -c 8090": "1",
    },
)
OPEN = "firewall-cmd --zone=internal --list-rich-rules | grep -c 10250 || true"  # for the hosts' network alone
FIREWALLD = Condition(
    "firewalld, its backend nftables, the interface in a zone of its own",
    booted="""
systemctl enable --now firewalld
firewall-cmd --quiet --permanent --zone=internal --add-interface=ens3
firewall-cmd --quiet --permanent --zone=internal --add-port=8090/tcp
firewall-cmd --quiet --reload
""",
    before={"firewall-cmd --state": "running", "firewall-cmd --get-active-zones | head -1": "internal"},
    joined={"firewall-cmd --state": "running", OPEN: "1"},
    left={
        "firewall-cmd --zone=internal --list-ports": "8090/tcp",
        OPEN: "0",
    },
)
RULES = """table inet mine {
  chain in {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    ip protocol icmp accept
    tcp dport { 22, 10250, 30000-32767 } accept
    udp dport 8472 accept
    ip saddr 10.244.0.0/16 accept
  }
}
"""
NFTABLES = Condition(
    "rules of its own for nftables alone, which drop what they do not name",
    booted=f"printf '%s' '{RULES}' > /etc/nftables.conf; systemctl enable --now nftables",
    before={"nft list table inet mine | grep -c 'policy drop'": "1"},
    joined={"nft list table inet mine | grep -c 'policy drop'": "1"},
    left={"nft list table inet mine | grep -c dport": "2", "nft list tables": "table inet mine"},
)
SWAP = Condition(
    "swap on a partition",
    "mkswap -q /dev/vdc 2>/dev/null; echo '/dev/vdc none swap defaults 0 0' >> /etc/fstab; swapon /dev/vdc",
    before={"swapon --noheadings --show=NAME": "/dev/vdc"},
    joined={"swapon --noheadings --show=NAME": "", "grep -c '^/dev/vdc' /etc/fstab || true": "0"},
    left={"grep -c '^/dev/vdc none swap defaults 0 0' /etc/fstab": "1"},
)
ZRAM = Condition(
    "swap in compressed memory",
    booted="modprobe zram; echo 256M > /sys/block/zram0/disksize; mkswap -q /dev/zram0; swapon /dev/zram0",
    before={"swapon --noheadings --show=NAME": "/dev/zram0"},
    joined={"swapon --noheadings --show=NAME": ""},
)
VAR = Condition(
    "/var on its own file system",
    """
mkfs.ext4 -q /dev/vdd
mount /dev/vdd /media
for _ in 1 2 3; do cp -a /var/. /media/ && break; done  # AppArmor's cache is being written
umount /media
echo '/dev/vdd /var ext4 defaults 0 2' >> /etc/fstab
mount /var
""",
    before={"findmnt --noheadings --output SOURCE /var": "/dev/vdd"},
    joined={"findmnt --noheadings --output SOURCE --target /var/lib/containerd": "/dev/vdd"},
)
NOEXEC = Condition(
    "/tmp without programs",
    "echo 'tmpfs /tmp tmpfs noexec,nosuid,nodev 0 0' >> /etc/fstab; mount /tmp",
    before={"findmnt --noheadings --output OPTIONS /tmp | grep -o noexec": "noexec"},
)
UMASK = Condition(
    "umask 077 for every login",
    "sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs; echo 'session optional pam_umask.so umask=077' >> "
    "/etc/pam.d/common-session; echo 'session optional pam_umask.so umask=077' >> "
    "/etc/pam.d/common-session-noninteractive",
    before={"umask": "0077"},
    joined={"stat --format %a /opt/cni /opt/cni/bin /etc/containerd | sort -u": "755"},
)
DOMAIN = Condition(
    "a host name with a domain",
    "echo worker.example.net > /etc/hostname; hostname worker.example.net; "
    "printf '127.0.0.1 localhost\\n127.0.1.1 worker.example.net worker\\n' > /etc/hosts",
    before={"hostname": "worker.example.net"},
    left={"hostname": "worker.example.net"},
)
SUDO = Condition(
    "sudo that asks for a password",
    f"echo ops:{PASSWORD} | chpasswd; echo 'ops ALL=(ALL) ALL' > /etc/sudoers.d/ops",
    variables={"ansible_become_password": PASSWORD},
)
SSHD = Condition(
    "an sshd that was hardened",
    "printf 'MaxSessions 4\\nMaxStartups 4:50:8\\nPermitRootLogin no\\nPasswordAuthentication no\\n"
    "AllowTcpForwarding no\\nX11Forwarding no\\n"
    "AllowAgentForwarding no\\nMaxAuthTries 3\\n' > /etc/ssh/sshd_config.d/10-hardened.conf",
    before={"/usr/sbin/sshd -T | grep -i ^maxsessions": "maxsessions 4"},
)
RESOLVED = Condition(
    "systemd-resolved at 127.0.0.53",
    "ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf; systemctl enable systemd-resolved; "
    "systemctl start --no-block systemd-resolved; echo 'DNS=10.67.0.1' >> /etc/systemd/network/10-lab.network",
    before={"grep ^nameserver /etc/resolv.conf": "nameserver 127.0.0.53"},
    joined={
        "grep resolvConf /var/lib/kubelet/config.yaml": "resolvConf: /run/systemd/resolve/resolv.conf",
        "grep ^nameserver /etc/resolv.conf": "nameserver 127.0.0.53",
    },
)
MTU = Condition(
    "an MTU of 1450",
    "printf '[Link]\\nMTUBytes=1450\\n' >> /etc/systemd/network/10-lab.network",
    before={"cat /sys/class/net/ens3/mtu": "1450"},
    joined={"cat /sys/class/net/flannel.1/mtu": "1400"},
    found=("mtu-differs",),  # from the master's
)
TWO = Condition(
    "two interfaces, the default route on the other one",
    "sed -i '/^Gateway=/d' /etc/systemd/network/10-lab.network; ip link add other type dummy; "
    "ip address add 192.0.2.9/24 dev other; ip link set other up; ip route add default via 192.0.2.1 dev other",
    variables={"cluster_node_ip": "10.67.0.32", "prepare_host_firewall_sources": ["10.67.0.0/24"]},
    before={"ip -o -4 route show default | grep -o 'dev [a-z]*'": "dev other"},
    joined={"ip -d link show flannel.1 | grep -o 'local [0-9.]*'": "local 10.67.0.32"},
)
IPV6 = Condition(
    "IPv6 beside IPv4",
    "printf '[Address]\\nAddress=fd00:66::32/64\\n' >> /etc/systemd/network/10-lab.network",
    before={"ip -o -6 address show dev ens3 | grep -c fd00:66::32": "1"},
)
APPARMOR = Condition(
    "AppArmor",
    before={"cat /sys/module/apparmor/parameters/enabled": "Y"},
    joined={"grep -c cri-containerd.apparmor.d /sys/kernel/security/apparmor/profiles": "1"},
)
MANAGER = Condition(
    "NetworkManager",
    """
rm /etc/systemd/network/10-lab.network
cat > /etc/NetworkManager/system-connections/lab.nmconnection <<END
[connection]
id=lab
type=ethernet
[ethernet]
[ipv4]
method=manual
address1=10.67.0.33/24,10.67.0.1
END
chmod 600 /etc/NetworkManager/system-connections/lab.nmconnection
systemctl disable systemd-networkd  # else whatever waits for a network waits two minutes for one of its
systemctl stop --no-block systemd-networkd
systemctl enable NetworkManager
systemctl start --no-block NetworkManager
""",
    before={"nmcli --get-values STATE --colors no general": "connected"},
    joined={"nmcli --terse --fields DEVICE,STATE device | grep -c '^cni0:connected$' || true": "0"},  # externally
)
PROXY = Condition(
    "a proxy in the environment of every login, which does not answer",
    "printf 'http_proxy=%s\\nhttps_proxy=%s\\n' http://192.0.2.5:3128 http://192.0.2.5:3128 >> /etc/environment; "
    "echo 'Defaults env_keep += \"http_proxy https_proxy\"' > /etc/sudoers.d/proxy",
    before={"echo $https_proxy": "http://192.0.2.5:3128"},
    joined={"grep -l 192.0.2.5 -r /etc/kubernetes /etc/systemd /var/lib/kubelet/config.yaml || true": ""},
)
UPGRADES = Condition(
    "an upgrade that runs, and holds the lock of dpkg for a minute",
    booted="""
systemd-run --quiet --unit=upgrade python3 -c '
import fcntl, time
for name in ("lock-frontend", "lock"):
    globals()[name] = open("/var/lib/dpkg/" + name, "w")
    fcntl.lockf(globals()[name], fcntl.LOCK_EX)
time.sleep(60)'
""",
    before={"systemctl is-active upgrade": "active"},
)
LABELS = Condition(
    "SELinux, which enforces the distribution's policy",
    before={"getenforce": "Enforcing"},
    joined={"getenforce": "Enforcing", "matchpathcon -V /usr/local/bin/kubelet": "/usr/local/bin/kubelet verified."},
    left={"getenforce": "Enforcing"},
)


@dataclass(frozen=True)
class Variant:
    """One machine, and all that is otherwise there; conditions that do not touch each other share a boot."""

    name: str
    conditions: tuple[Condition, ...]
    disks: tuple[str, ...] = ()
    image: Recipe = IMAGE
    kernel: str = ""


VARIANTS = (
    Variant("ufw", (UFW, SWAP, VAR, NOEXEC, UMASK, DOMAIN, SUDO, SSHD), ("512M", "8G")),
    Variant("firewalld", (FIREWALLD, ZRAM, RESOLVED, MTU, TWO, IPV6)),
    Variant("nftables", (NFTABLES, APPARMOR, MANAGER, PROXY, UPGRADES)),
    Variant("selinux", (LABELS,), image=ENFORCING, kernel="security=selinux"),
)
