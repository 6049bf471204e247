"""The declared table: causes before what follows from them, symptoms last.

To add a fault: one entry in the file of its area, one change of facts in tests/unit/test_doctor_faults.py, and, where
a laboratory can be broken that way, one injection in tests/lifecycle/test_doctor.py.
"""

from __future__ import annotations

from ansible.module_utils.yunkube.doctor import of_cloud, of_control_plane, of_hosts, of_network, of_workloads
from ansible.module_utils.yunkube.doctor.fault import Fault

# What is found where nothing else explains a symptom.
UNKNOWN = Fault(
    "unknown",
    "Not healthy, cause unknown",
    "Something does not work, and no known fault explains it.",
    lambda _facts: (),
    "check the logs of what the evidence names",
)

TABLE: tuple[Fault, ...] = (
    *of_control_plane.JOINING,
    *of_hosts.FAULTS,
    *of_control_plane.FAULTS,
    *of_network.FAULTS[:1],
    *of_control_plane.SYMPTOMS,
    *of_workloads.FAULTS[:1],
    *of_network.FAULTS[1:],
    *of_cloud.FAULTS,
    *of_workloads.FAULTS[1:],
    *of_workloads.SYMPTOMS,
)
BY_ID = {fault.id: fault for fault in (*TABLE, UNKNOWN)}
