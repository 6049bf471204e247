# SPDX-License-Identifier: Apache-2.0
"""The kubelet configuration of the cluster is written once, with a record of what was declared."""

from __future__ import annotations

import typing as t

import kubelet_configmap
import pytest
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.cluster_values import DECLARED, KUBELET_CONFIGMAP
from kube_api_server import ApiServer

CONFIGMAP = "maxPods: 110\n"


@pytest.fixture
def api(server: ApiServer) -> t.Iterator[KubeApi]:
    """An API with the ConfigMap."""
    server.put(KUBELET_CONFIGMAP, data={"kubelet": CONFIGMAP})
    with KubeApi(parse_kubeconfig(server.kubeconfig)) as api:
        yield api


def test_the_configmap_is_written_once_with_its_record(api: KubeApi) -> None:
    arguments = ("maxPods: 77\n", '{"maxPods": 77}', CONFIGMAP)
    assert kubelet_configmap.bring(api, *arguments, check_mode=True)
    assert api.get(KUBELET_CONFIGMAP)["data"]["kubelet"] == CONFIGMAP
    assert kubelet_configmap.bring(api, *arguments, check_mode=False)
    there = api.get(KUBELET_CONFIGMAP)
    assert there["data"]["kubelet"] == "maxPods: 77\n"
    assert there["metadata"]["annotations"][DECLARED] == '{"maxPods": 77}'
    assert not kubelet_configmap.bring(api, *arguments, check_mode=False)


def test_what_somebody_wrote_meanwhile_is_not_overwritten(api: KubeApi) -> None:
    with pytest.raises(KubeError, match="was changed during this run"):
        kubelet_configmap.bring(api, "maxPods: 77\n", "{}", "maxPods: 1\n", check_mode=False)
    assert api.get(KUBELET_CONFIGMAP)["data"]["kubelet"] == CONFIGMAP
