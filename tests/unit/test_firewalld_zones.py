# SPDX-License-Identifier: Apache-2.0
"""firewalld's files are as before once the rules are removed, unless somebody else changed them too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import firewalld_zones, originals
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.teardown import filters

ZONE = '<?xml version="1.0"?>\n<zone{}>\n <short>{}</short>\n{}</zone>\n'
OWN = ZONE.format("", "Public", '\n\n <service name="ssh"/>\n <!-- by hand --><port protocol="tcp" port="80"/>')
REWRITTEN = ZONE.format("", "Public", '<port port="80" protocol="tcp"/>\n <service name="ssh"/>')
TRUSTED = ZONE.format(' target="ACCEPT"', "Trusted", "")
PODS = '<source address="10.244.0.0/16"/>'


@pytest.fixture
def zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of zones, with one of the host's own that somebody wrote."""
    folder, built_in = tmp_path / "etc", tmp_path / "lib"
    for path in (folder, built_in):
        path.mkdir()
    monkeypatch.setattr(firewalld_zones, "ZONES", folder)
    monkeypatch.setattr(firewalld_zones, "BUILT_IN", built_in)
    monkeypatch.setattr(originals, "WRITTEN_BY_OTHERS", f"{str(folder).lstrip('/')}/")
    (built_in / "trusted.xml").write_text(TRUSTED)
    (folder / "public.xml").write_text(OWN)
    (folder / "public.xml").chmod(0o640)
    return folder


def written(zone: Path, text: str) -> None:
    """Write a zone as firewalld does."""
    if zone.exists():
        shutil.copy2(zone, f"{zone}.old")
    zone.write_text(text)


def opened_and_closed(zones: Path, meanwhile: Callable[[], None] = lambda: None) -> dict[str, tuple[str, int]]:
    """Open and close the firewall; return the files, each with its mode."""
    recorded = {str(path): host_state.about(path, contents=True) for path in zones.iterdir()}
    host_state.write_record({"trees": [], "files": recorded})
    firewalld_zones.keep()
    written(zones / "public.xml", REWRITTEN.replace("<service", '<port port="6443" protocol="tcp"/><service'))
    firewalld_zones.keep()
    written(zones / "trusted.xml", TRUSTED.replace("</zone>", f"{PODS}</zone>"))
    meanwhile()
    for zone, ours in (("public.xml", '<port port="6443" protocol="tcp"/>'), ("trusted.xml", PODS)):
        written(zones / zone, (zones / zone).read_text().replace(ours, ""))
    assert originals.kept() == {}
    firewalld_zones.restore(recorded)
    return {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in zones.iterdir()}


def test_what_firewalld_wrote_is_what_it_was(zones: Path) -> None:
    assert opened_and_closed(zones) == {"public.xml": (OWN, 0o640)}


def test_a_former_copy_of_firewalld_is_there_again(zones: Path) -> None:
    (zones / "public.xml.old").write_text("<zone/>")
    (zones / "public.xml.old").chmod(0o600)
    assert opened_and_closed(zones) == {"public.xml": (OWN, 0o640), "public.xml.old": ("<zone/>", 0o600)}


def test_what_somebody_opened_meanwhile_stays_open(zones: Path) -> None:
    def meanwhile() -> None:
        for zone, more in (("public.xml", '<port port="9/>'), ("trusted.xml", '<source address="192.0.2.0/24"/>')):
            written(zones / zone, (zones / zone).read_text().replace("</zone>", f"{more}</zone>"))

    files = opened_and_closed(zones, meanwhile)
    assert set(files) == {"public.xml", "public.xml.old", "trusted.xml", "trusted.xml.old"}
    assert 'port="9/>' in files["public.xml"][0]
    assert "192.0.2.0/24" in files["trusted.xml"][0]


def test_chains_of_a_zone_to_which_nothing_leads_are_no_difference() -> None:
    before = [
        'nft chain inet firewalld {"hook": "input", "name": "filter_INPUT"}',
        'nft chain inet firewalld {"name": "filter_IN_public"}',
        'nft rule inet firewalld filter_INPUT {"expr": [{"goto": {"target": "filter_IN_public"}}]}',
        'nft rule ip own filter_INPUT {"expr": [{"goto": {"target": "filter_IN_trusted"}}]}',
    ]
    zone = [
        'nft chain inet firewalld {"name": "filter_IN_trusted"}',
        'nft chain inet firewalld {"name": "filter_IN_trusted_pre"}',
        'nft rule inet firewalld filter_IN_trusted {"expr": [{"jump": {"target": "filter_IN_trusted_pre"}}]}',
        'nft rule inet firewalld filter_IN_trusted_pre {"expr": [{"accept": null}]}',
    ]
    assert filters.without_idle_zones(before + zone, before) == before
    assert filters.without_idle_zones(before + zone, [*before, *zone]) == before + zone
    used = 'nft rule inet firewalld filter_IN_public {"expr": [{"goto": {"target": "filter_IN_trusted"}}]}'
    assert filters.without_idle_zones([*before, *zone, used], before) == [*before, *zone, used]
