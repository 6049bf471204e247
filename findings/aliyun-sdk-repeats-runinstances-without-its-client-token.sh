#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# aliyun-python-sdk-core 2.16.1 with -ecs 4.24.83 and -vpc 3.0.48, seen 2026-11-29.
# Most people expect a call that creates something to be sent once, or to be repeated with one ClientToken: the SDK lists
# RunInstances under RetryableAPIsWithClientToken, and has code that sets a token which the caller left out.
# That code is never reached, as the condition for this list returns the flag for back-off instead of the one for a token. When
# the answer is lost, RunInstances is sent four times without any ClientToken, so a service that had carried out each would
# start four times the instances. The list has no product "vpc": a Describe call of it is sent once, one of ECS four times.
# A provisioning project must give a ClientToken to every call that creates, and repeat calls of the VPC itself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
  aliyun-python-sdk-core==2.16.1 aliyun-python-sdk-ecs==4.24.83 aliyun-python-sdk-vpc==3.0.48
cat > "$work/ask.py" <<'PYTHON'
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from aliyunsdkcore.acs_exception.exceptions import ClientException
from aliyunsdkcore.client import AcsClient
from aliyunsdkecs.request.v20140526.DescribeInstancesRequest import DescribeInstancesRequest
from aliyunsdkecs.request.v20140526.RunInstancesRequest import RunInstancesRequest
from aliyunsdkvpc.request.v20160428.DescribeVpcsRequest import DescribeVpcsRequest

logging.disable(logging.CRITICAL)
asked = []


class Lost(BaseHTTPRequestHandler):
    def do_POST(self):
        asked.append(parse_qs(urlsplit(self.path).query))
        self.close_connection = True  # carried out, and the answer is lost

    do_GET = do_POST

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Lost)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = AcsClient("example-id", "example-secret", "cn-hangzhou")
for kind in (RunInstancesRequest, DescribeInstancesRequest, DescribeVpcsRequest):
    request = kind()
    request.set_endpoint(f"127.0.0.1:{server.server_port}")
    request.set_protocol_type("http")
    asked.clear()
    try:
        client.do_action_with_exception(request)
    except ClientException as error:
        assert error.error_code == "SDK.HttpError", error
    tokens = sum("ClientToken" in one for one in asked)
    print(f"{request.get_action_name()} {len(asked)} {tokens}", end="; ")
PYTHON
for name in core ecs vpc; do
  echo "version: aliyun-python-sdk-$name $("$work/venv/bin/pip" list --disable-pip-version-check 2>/dev/null | sed -n "s/^aliyun-python-sdk-$name *//p")"
done
seen=$("$work/venv/bin/python" -W ignore "$work/ask.py")
echo "seen: action, requests sent, those with a ClientToken: $seen"
[[ $seen == "RunInstances 4 0; DescribeInstances 4 0; DescribeVpcs 1 0; " ]] || { echo "changed: what is repeated, or its token"; exit 1; }
