# SPDX-License-Identifier: Apache-2.0
"""Collecting facts of a host: it ends soon and reports what it can, even on an empty host."""

from __future__ import annotations

import json
import socket
import sys
import time
import typing as t
from pathlib import Path

import doctor_host
import pytest
from ansible.module_utils.yunkube.doctor import collect_host, containers, probes, read_host
from ansible.module_utils.yunkube.doctor.diagnose import diagnose
from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Facts, HostFacts
from ansible.module_utils.yunkube.doctor.packet_filter import closed_ports, kube_chains
from ansible.module_utils.yunkube.doctor.saved_filter import read, save_all
from fake_kube_api import copy_certificates, kubeconfig

OPEN = "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n-A INPUT -j KUBE-FIREWALL\nCOMMIT\n"
SHUT = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"

RUNC = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]"


def test_a_bare_host_is_looked_at_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_host, "output", lambda *_argv: "")
    monkeypatch.setattr(probes, "probe", lambda _url: "Connection refused")
    facts = collect_host.collect_host("node1", master=True, root=tmp_path)
    assert (facts.host, facts.joined, facts.socket) == ("node1", False, False)
    assert facts.images is None
    assert facts.subnet_env is None
    assert facts.manifests["etcd"] == "is not there"
    assert facts.probes["kube-apiserver"] == "Connection refused"


def test_a_program_that_hangs_is_stopped() -> None:
    hangs = (sys.executable, "-c", "import time; time.sleep(120); print()")
    assert read_host.run(*hangs, seconds=0.2) == ""
    assert read_host.run("no-such-program", seconds=0.2) == ""
    with pytest.raises(read_host.ProgramTimeoutError, match=r"^python\S* -c import time; .* did not end in 0.2 s$"):
        read_host.output(*hangs, seconds=0.2)
    assert read_host.output("no-such-program") == ""


def test_what_hangs_is_asked_once_for_all() -> None:
    calls = []

    def look() -> str:
        calls.append("")
        raise read_host.ProgramTimeoutError("x did not end in 1 s")

    shared = read_host.once(look)
    for _ in range(2):
        with pytest.raises(read_host.ProgramTimeoutError):
            shared()
    assert calls == [""]


PROGRAM = """#!/bin/sh
echo "${0##*/} $*" >> %s/calls
case "${0##*/} $*" in
"iptables --version") echo "iptables v1.8.9 (%s)" ;;
*-save*) printf '*nat\\n:KUBE-SERVICES - [0:0]\\n*filter\\n:INPUT DROP [0:0]\\n' ;;
*) echo '[]' ;;
esac
"""


def programs(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a host have programs that note how they are called; return the notes."""
    for name in ("ip", "nft", "iptables", "iptables-save", "iptables-nft-save", "iptables-legacy-save"):
        (folder / name).write_text(PROGRAM % (folder, kind))
        (folder / name).chmod(0o755)
    monkeypatch.setattr(read_host, "SEARCH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(probes, "probe", lambda _url: "Connection refused")
    return folder / "calls"


@pytest.mark.parametrize(("kind", "other"), [("nf_tables", "iptables-legacy"), ("legacy", "iptables-nft")])
def test_a_look_asks_each_program_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, other: str) -> None:
    calls = programs(tmp_path, kind, monkeypatch)
    target = {"kind": "api", "node": "", "name": "the API", "address": "127.0.0.1", "port": 1}
    plan = {"address": "10.0.0.2", "peers": [], "targets": [target]}
    facts = collect_host.collect_host("node1", master=False, plan=plan, root=tmp_path / "root")
    assert {rule["port"] for rule in facts.drops} == {8472, 10250}
    made = sorted(line for line in calls.read_text().splitlines() if not line.startswith("nft"))
    addresses = ["ip -json -4 address show", "ip -json -4 route show"]
    assert made == [*addresses, "iptables --version", *sorted(["iptables-save -c", f"{other}-save -c"])]


HANGS = {
    "systemctl": "systemctl show",
    "journalctl": "journalctl --unit",
    "ip": "ip -json",
    "ss": "ss -H",
    "iptables": "iptables --version",
    "iptables-save": "iptables-save -c",
    "nft": "nft -j list tables",
    "openssl": "openssl pkey",
}


@pytest.mark.parametrize("program", HANGS)
def test_a_program_that_hangs_does_not_make_a_host_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    programs(tmp_path, "nf_tables", monkeypatch)
    (tmp_path / program).write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / program).chmod(0o755)
    monkeypatch.setattr(read_host, "PROGRAM", 2.0)
    target = {"kind": "api", "node": "", "name": "the API", "address": "127.0.0.1", "port": 1}
    plan = {"address": "10.0.0.2", "peers": [], "targets": [target]}
    facts = collect_host.collect_host("node1", master=True, plan=plan, root=tmp_path / "root")
    assert facts.unread, program
    assert all(line.startswith(HANGS[program]) and line.endswith(" did not end in 2 s") for line in facts.unread)
    found = [one.id for one in diagnose(Facts([facts], ClusterFacts(), time.time()))]
    assert "host-not-inspected" in found


@pytest.mark.parametrize("kind", ["nf_tables", "legacy"])
def test_chains_are_counted_in_both_packet_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    programs(tmp_path, kind, monkeypatch)
    assert kube_chains(save_all()) == {"iptables-nft": 1, "iptables-legacy": 1}


def test_a_host_whose_iptables_says_nothing_of_itself_is_asked_by_both_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path, "nf_tables", monkeypatch)
    (tmp_path / "iptables").write_text("#!/bin/sh\n")
    for name in ("iptables-save", "iptables-nft-save"):  # the same program, by two names
        (tmp_path / name).write_text("#!/bin/sh\nprintf '*nat\\n:KUBE-SERVICES - [0:0]\\n'\n")
    (tmp_path / "iptables-legacy-save").write_text("#!/bin/sh\n")
    assert kube_chains(save_all()) == {"iptables-nft": 1, "iptables-legacy": 0}


def test_iptables_may_take_as_long_to_say_which_it_is_as_to_list_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path, "nf_tables", monkeypatch)
    (tmp_path / "iptables").write_text("#!/bin/sh\nsleep 1\necho 'iptables v1.8.9 (nf_tables)'\n")
    monkeypatch.setattr(read_host, "PATIENCE", 0.3)
    assert list(save_all()) == ["iptables", "iptables-legacy"]


def test_a_containerd_that_answers_slowly_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crictl = tmp_path / "bin/crictl"
    crictl.parent.mkdir()
    crictl.write_text("#!/bin/sh\nsleep 1\necho '{}'\n")
    crictl.chmod(0o755)
    monkeypatch.setattr(read_host, "SEARCH", f"{crictl.parent}:{read_host.SEARCH}")
    monkeypatch.setattr(read_host, "PATIENCE", 0.3)
    path = tmp_path / "s" / containers.SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert containers.containers_and_images(tmp_path / "s") == (False, None, None)  # nobody listens
        server.listen()
        alive, found, _ = containers.containers_and_images(tmp_path / "s")
    assert (alive, found) == (True, [])


def test_an_endpoint_that_does_not_answer_is_no_error() -> None:
    assert "refused" in probes.probe("http://127.0.0.1:1/healthz")
    assert "refused" in probes.reach("https://127.0.0.1:1")
    assert probes.reach("") == ""


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    for path, text in {
        "etc/cni/net.d/10-flannel.conflist": json.dumps({"plugins": [{"type": "flannel"}, {"type": "portmap"}]}),
        "etc/cni/net.d/20-broken.conf": "{",
        "etc/kubernetes/manifests/etcd.yaml": "kind: Pod\nspec:\n  containers:\n  - name: etcd\n",
        "etc/kubernetes/manifests/kube-apiserver.yaml": "oops\n",
        "etc/kubernetes/manifests/kube-scheduler.yaml": "",
        "etc/containerd/config.toml": f'pinned_images.sandbox = "pause:1"\n{RUNC}\noptions.SystemdCgroup = true\n',
        "run/flannel/subnet.env": "FANNEL_NETWORK=10.244.0.0/16\nFLANNEL_MTU=1450\n",
        "etc/resolv.conf": "search x\nnameserver 127.0.0.53\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert collect_host.cni(tmp_path)["10-flannel.conflist"]["plugins"] == [
        "loopback", "flannel", "portmap", "bridge", "host-local",
    ]  # fmt: skip
    assert "is no CNI configuration" in collect_host.cni(tmp_path)["20-broken.conf"]["problem"]
    assert collect_host.manifests(tmp_path) == {
        "kube-apiserver": "does not parse: oops",
        "kube-controller-manager": "is not there",
        "kube-scheduler": "is empty",
        "etcd": "",
    }
    assert collect_host.runtime(tmp_path) == {"cgroupDriver": "systemd", "sandbox": "pause:1"}
    assert read_host.subnet_env(tmp_path / "run/flannel/subnet.env") == {
        "FANNEL_NETWORK": "10.244.0.0/16",
        "FLANNEL_MTU": "1450",
    }
    assert collect_host.nameservers(tmp_path, "/etc/resolv.conf") == ["127.0.0.53"]


def test_a_damaged_kubeconfig_does_not_hide_the_other_certificates(tmp_path: Path) -> None:
    folder = tmp_path / "etc/kubernetes"
    folder.mkdir(parents=True)
    (folder / "admin.conf").write_text("apiVersion: v1\n")
    (folder / "scheduler.conf").write_bytes(b"\xff")
    copy_certificates(tmp_path)
    (folder / "controller-manager.conf").write_text(kubeconfig(tmp_path, "https://10.0.0.1:6443"))
    found = collect_host.certificates(tmp_path)
    assert "the kubeconfig has no server" in found["/etc/kubernetes/admin.conf"]["problem"]
    assert "it is no text" in found["/etc/kubernetes/scheduler.conf"]["problem"]
    assert found["/etc/kubernetes/controller-manager.conf"]["ends"] > time.time()


@pytest.mark.parametrize(
    "imports", ["/etc/containerd/conf.d/*.toml", "conf.d/*.toml", "/mine/a.toml', '//etc/containerd/conf.d/*.toml"]
)
def test_what_containerd_imports_takes_precedence(tmp_path: Path, imports: str) -> None:
    folder = tmp_path / "etc/containerd"
    (folder / "conf.d").mkdir(parents=True)
    own = f"imports = ['{imports}']\ndisabled_plugins = ['a.one']\n{RUNC}\noptions.SystemdCgroup = true\n"
    (folder / "config.toml").write_text(own)
    other = RUNC.replace("runc]", "kata]") + "\noptions.SystemdCgroup = true\n"
    (folder / "conf.d/10.toml").write_text(f"disabled_plugins = ['a.two']\n{RUNC}\noptions.SystemdCgroup = false\n")
    (folder / "conf.d/20.toml").write_text(f"pinned_images.sandbox = 'pause:2'\n{other}")
    (folder / "conf.d/30.toml.old").write_text("options.SystemdCgroup = true\n")
    expected = {"cgroupDriver": "cgroupfs", "sandbox": "pause:2", "disabled": ["a.one", "a.two"]}
    assert collect_host.runtime(tmp_path) == expected
    (folder / "config.toml").write_text(own.replace("imports", "# imports"))
    assert collect_host.runtime(tmp_path)["cgroupDriver"] == "systemd"
    (folder / "config.toml").write_text(f"[{RUNC[1:-1]}.options]\n  SystemdCgroup = true\n")
    assert collect_host.runtime(tmp_path)["cgroupDriver"] == "systemd"


def test_who_listens_for_everybody() -> None:
    printed = (
        'LISTEN 0 4096 127.0.0.1:10248 0.0.0.0:* users:(("kubelet",pid=898,fd=23))\n'
        'LISTEN 0 5 0.0.0.0:31111 0.0.0.0:* users:(("python3",pid=9,fd=3))\nLISTEN 0 5 *:80 *:*\n'
    )
    assert collect_host.listeners(printed) == {"31111": "python3", "80": ""}


def test_the_newest_container_speaks(tmp_path: Path) -> None:
    folder = tmp_path / "var/log/pods/kube-system_etcd-m_u1/etcd"
    folder.mkdir(parents=True)
    (folder / "3.log").write_text("2026-11-25T00:00:00Z stderr F unknown flag: --oops\n")
    labels = {"name": "etcd-m", "namespace": "kube-system", "uid": "u1"}
    named = {f"io.kubernetes.pod.{key}": value for key, value in labels.items()} | {
        "io.kubernetes.container.name": "etcd"
    }
    listed = [
        {"createdAt": str(number * 10**9), "labels": named, "state": state, "metadata": {"attempt": number}}
        for number, state in ((3, "CONTAINER_EXITED"), (2, "CONTAINER_RUNNING"))
    ]
    (found,) = containers.containers({"containers": listed}, tmp_path)
    assert (found["state"], found["attempt"], found["last"]) == ("exited", 3, ["unknown flag: --oops"])


@pytest.mark.parametrize(
    ("saved", "master", "ports"),
    [
        (OPEN, True, []),
        (OPEN + "*filter\n-A INPUT -p udp -m udp --dport 8472 -j DROP\n", False, [8472]),
        (OPEN + "*filter\n-A INPUT -p tcp -m multiport --dports 6443,10250 -j REJECT\n", True, [10250, 6443]),
        (OPEN + "*filter\n-A INPUT -p tcp -m tcp --dport 6443 -j DROP\n", False, []),
        (OPEN + "*filter\n-A FORWARD -p tcp -m tcp --dport 10250 -j DROP\n", True, []),
        (SHUT, False, [8472, 10250]),
        (SHUT + "-A INPUT -s 10.0.0.0/24 -j ACCEPT\n", True, []),
        (SHUT + "-A INPUT -p udp -m udp --dport 8472 -j ACCEPT\n", False, [10250]),
        (OPEN + '*filter\n-A INPUT -m comment --comment "-p all the rest" -j DROP\n', False, [8472, 10250]),
        (OPEN + "*filter\n-A INPUT -p tcp -m tcp ! --dport 10250 -m limit --limit 1/s -j DROP\n", False, []),
        (OPEN + "*filter\n-A INPUT -p tcp -m tcp --dport 10000:10300 -j DROP\n", False, [10250]),
    ],
)
def test_rules_that_shut_a_port_are_found(saved: str, master: bool, ports: list[int]) -> None:
    assert [rule["port"] for rule in closed_ports(read(saved), "iptables", master=master)] == ports


def test_a_rule_names_the_source_that_it_blocks() -> None:
    rule = "-A INPUT ! -s 10.0.0.0/24 -p tcp -m tcp --dport 10250 -j DROP"
    (found,) = closed_ports(read(f"*filter\n{rule}\n"), "iptables", master=False)
    assert found["source"] == "!10.0.0.0/24"


def test_a_rule_is_undone_by_its_own_words() -> None:
    saved = read("*filter\n[3:180] -A INPUT -p udp -m udp --dport 8472 -j DROP\n")
    (found,) = closed_ports(saved, "iptables", master=False)
    assert found["rule"] == "-A INPUT -p udp -m udp --dport 8472 -j DROP"
    assert found["undo"] == "iptables -D INPUT -p udp -m udp --dport 8472 -j DROP"


def test_the_journal_lists_each_error_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = 'I1125 21:27:00.1 9 a.go:1] fine\nE1125 21:27:00.1 9 a.go:2] "bad"\nE1125 21:27:01.2 9 a.go:2] "bad"\n'
    monkeypatch.setattr(collect_host, "output", lambda *_argv: lines)
    assert collect_host.errors("kubelet") == ['a.go:2] "bad"']


def test_a_unit_that_says_much_does_not_hide_its_newest_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = [f'E1125 21:27:00.1 9 a.go:2] "bad {number}"' for number in range(1000)]

    def journalctl(*argv: str) -> str:
        """As systemd 252 does it: with --since, so many lines from there on, or backwards from the end."""
        limit = int(argv[argv.index("--lines") + 1])
        return "\n".join((journal[::-1] if "--reverse" in argv else journal)[:limit])

    monkeypatch.setattr(collect_host, "output", journalctl)
    assert collect_host.errors("kubelet") == [f'a.go:2] "bad {number}"' for number in range(988, 1000)]


def test_the_module_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        params: t.ClassVar[dict[str, t.Any]] = {"host": "n", "master": False, "plan": {}}

        def __init__(self, **_settings: t.Any) -> None:
            """Take any settings."""

        def exit_json(self, **result: t.Any) -> None:
            """Keep the result."""
            told.update(result)

    told: dict[str, t.Any] = {}
    monkeypatch.setattr(doctor_host, "AnsibleModule", Module)
    doctor_host.main()
    assert told["facts"]["host"] == "n"
    assert told["changed"] is False


@pytest.mark.parametrize(
    ("state", "crashes"),
    [
        ({"ActiveState": "active", "NRestarts": "0", "seconds": 1.0}, False),  # somebody has started it
        ({"ActiveState": "active", "NRestarts": "1", "seconds": 0.4}, True),  # about to fail for the second time
        ({"ActiveState": "active", "NRestarts": "1", "seconds": 0.0}, True),  # this very moment
        ({"ActiveState": "active", "NRestarts": "1", "seconds": 30.0}, False),
        ({"ActiveState": "active", "NRestarts": "9", "seconds": 15.0}, True),
        ({"ActiveState": "active", "NRestarts": "9", "seconds": 25.0}, False),
        ({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "0"}, True),
        ({"ActiveState": "activating", "SubState": "start", "NRestarts": "0"}, False),
        ({"ActiveState": "activating", "SubState": "start", "NRestarts": "1"}, True),
        ({"ActiveState": "failed", "NRestarts": "0"}, True),
    ],
)
def test_a_unit_crashes_also_while_it_runs_between_two_restarts(state: t.Mapping[str, t.Any], crashes: bool) -> None:
    assert HostFacts("node1", units={"kubelet": dict(state)}).crashes("kubelet") == crashes
