#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# aliyun-python-sdk-core 2.16.1, seen 2026-11-29.
# Most people expect the error_code of a ServerException to be the Code that the service answered.
# If a SignatureDoesNotMatch quotes the text that the client has signed, an RpcRequest fails with the code
# InvalidAccessKeySecret, which no service sent; the same answer to a CommonRequest keeps its code, because the text is kept
# in the request that it is turned into; and a message without a colon raises an IndexError, not one of the SDK's exceptions.
# A provisioning project must know both codes of a wrong secret, and catch more than the SDK's exceptions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install aliyun-python-sdk-core==2.16.1
cat > "$work/ask.py" <<'PYTHON'
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, quote, urlsplit

from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest, RpcRequest

logging.disable(logging.CRITICAL)


def signed(query):
    pairs = sorted(pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "Signature")
    encoded = "&".join(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in pairs)
    return f"POST&%2F&{quote(encoded, safe='-_.~')}"


class Service(BaseHTTPRequestHandler):
    words = ""

    def do_POST(self):
        message = self.words.replace("THE TEXT", signed(urlsplit(self.path).query))
        body = json.dumps({"Code": "SignatureDoesNotMatch", "Message": message, "RequestId": "R-1"}).encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = AcsClient("example-id", "example-secret", "cn-hangzhou")
QUOTED = "It does not match. String to sign is:THE TEXT"
for kind, Service.words in (("Rpc", QUOTED), ("Common", QUOTED), ("Rpc", "It does not match")):
    if kind == "Rpc":
        request = RpcRequest("Ecs", "2014-05-26", "DescribeRegions")
        request.set_endpoint(f"127.0.0.1:{server.server_port}")
    else:
        address = f"127.0.0.1:{server.server_port}"
        request = CommonRequest(domain=address, version="2014-05-26", action_name="DescribeRegions")
    request.set_protocol_type("http")
    request.set_method("POST")
    try:
        client.do_action_with_exception(request)
    except ServerException as error:
        print(error.error_code)
    except Exception as error:
        print(type(error).__name__)
PYTHON
echo "version: aliyun-python-sdk-core $("$work/venv/bin/pip" list --disable-pip-version-check 2>/dev/null | sed -n 's/^aliyun-python-sdk-core *//p')"
seen=$("$work/venv/bin/python" -W ignore "$work/ask.py" | paste -sd ' ')
echo "seen: one Code of the service, for an RpcRequest, a CommonRequest, and without a colon: $seen"
[[ $seen == "InvalidAccessKeySecret SignatureDoesNotMatch IndexError" ]] || { echo "changed: codes of a wrong secret"; exit 1; }
