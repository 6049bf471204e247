# SPDX-License-Identifier: Apache-2.0
"""The kernel's values of a host are set back, in a network namespace of this test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host.sysctls import sysctls

ROOT = Path(__file__).resolve().parents[2]
START = f"""
import runpy, subprocess
from pathlib import Path
runpy.run_path({str(ROOT / "plugins/rooms.py")!r})
from ansible.module_utils.yunkube.host.sysctls import restore_sysctls, sysctls
def put(name, value): Path("/proc/sys/net/ipv4", name).write_text(value)
subprocess.run(["ip", "link", "add", "mine.100", "type", "bridge"], check=True)
put("ip_forward", "0")
"""
END = """
before = sysctls(Path("/proc/sys"))
put("ip_forward", "1")
restore_sysctls(before, ["net.ipv4.ip_forward"], ["kernel.*", "vm.*", "net.netfilter.*"])
after = sysctls(Path("/proc/sys"))
print([name for name in before if name.startswith("net.ipv4.") and after[name] != before[name]])
"""


@pytest.mark.parametrize("name", ["conf/all/accept_redirects", "conf/mine.100/forwarding", "conf/default/forwarding"])
@pytest.mark.parametrize("value", ["0", "1"])
def test_what_follows_ip_forward_is_as_it_was(name: str, value: str) -> None:
    script = f"{START}put({name!r}, {value!r}){END}"
    argv = ["unshare", "--net", sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_of_single_interfaces_only_forwarding_counts(tmp_path: Path) -> None:
    for path in ("ipv4/ip_forward", "ipv4/conf/eth0.7/forwarding", "ipv4/conf/eth0.7/rp_filter", "ipv4/conf/all/mtu",
                 "ipv6/conf/eth0.7/forwarding", "ipv6/conf/all/forwarding", "ipv4/neigh/eth0.7/gc"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1\n")
    assert set(sysctls(tmp_path)) == {
        "ipv4.ip_forward", "ipv4.conf.eth0/7.forwarding", "ipv4.conf.all.mtu", "ipv6.conf.all.forwarding"
    }  # fmt: skip


def test_a_value_that_was_named_with_slashes_is_set_back_too() -> None:
    end = END.replace('["net.ipv4.ip_forward"]', '["net/ipv4/ip_forward"]')
    argv = ["unshare", "--net", sys.executable, "-c", f"{START}{end}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_a_shared_ip_forward_keeps_what_follows_it() -> None:
    end = END.replace('["kernel.*"', '["net.ipv4.ip_forward", "kernel.*"')
    script = f"{START}{end}\nprint(Path('/proc/sys/net/ipv4/ip_forward').read_text().strip())"
    argv = ["unshare", "--net", sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.endswith("\n1\n"), done.stdout + done.stderr
