# SPDX-License-Identifier: Apache-2.0
"""Call the API of Alibaba Cloud, through footmark: the only place that knows it.

Of footmark come the names of parameters, of the SDK below it the connections and the signature. Footmark's objects are
left alone: their lists end at ten, and what reads them recurses on answers that are valid. So are its calls: each makes
a client of the SDK, which reads a table of all regions first.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

from ansible.module_utils.yunkube.cloud.credentials import Credentials
from ansible.module_utils.yunkube.cloud.errors import CloudError, passes

Json = dict[str, Any]

PRODUCTS: Final = {"ecs": "Ecs", "vpc": "Vpc"}  # as footmark and as the SDK's endpoints call them
PATIENCE = 120.0  # seconds in which a call that is refused for a moment is made again
ANSWER = 30.0  # seconds until a connection, or an answer
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
PAGE = {"token": 100, "number": 50}  # the most that one answer holds


class Client:
    """One region, with the credentials of one account."""

    def __init__(
        self,
        region: str,
        credentials: Callable[[], Credentials],
        endpoints: dict[str, str] | None = None,
        ca: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Name the region; `credentials` finds them, and is asked again when those of a role end.

        `endpoints` are other addresses of `ecs` and `vpc`, such as those inside of a VPC, and `ca` is a PEM file with
        the authority of their certificates.
        """
        self.region, self.calls = region, 0
        self._find, self._sleep = credentials, sleep
        self._found: Credentials | None = None
        self._connections: dict[str, Any] = {}
        self._sdk: Any = None
        # Process-wide in the SDK, as are its endpoints: a module is a process of its own.
        from aliyunsdkcore import request  # noqa: PLC0415 - slow, and not on every control machine's path
        from aliyunsdkcore.profile import region_provider  # noqa: PLC0415

        request.set_default_protocol_type("https")
        # The SDK logs whole requests, with the token of STS in them, and errors to stderr.
        logging.getLogger("aliyunsdkcore").propagate = False
        if ca:
            os.environ["ALIBABA_CLOUD_CA_BUNDLE"] = ca
        self._endpoints = {product: endpoints[product] for product in PRODUCTS if product in (endpoints or {})}  # type: ignore[index]
        for product, address in self._endpoints.items():  # another one is that of OSS
            region_provider.add_endpoint(PRODUCTS[product], region, address)

    def call(self, product: str, action: str, **parameters: Any) -> Json:
        """Return the answer of one action, made again while it is refused for a moment only.

        Parameters are the API's in snake_case; TypeError for one that the action does not have. Actions that make
        something get one client token for all tries, so that none makes it twice. CloudError where it fails for good.
        """
        deadline = time.monotonic() + PATIENCE
        built = self._build(product, action, parameters)
        wait = FIRST_WAIT
        while True:
            try:
                return self._once(product, action, built)
            except _PassingError as error:
                if time.monotonic() + wait > deadline:
                    raise error.final from error
                self._sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret, but not all at once again
                wait = min(2 * wait, LONGEST_WAIT)

    def pages(self, product: str, action: str, outer: str, inner: str, **parameters: Any) -> Iterator[Json]:
        """Yield the entries `outer.inner` of all pages of a list, by whichever way of paging the action has."""
        if self._has(product, action, "NextToken"):
            token: Json = {}
            while True:
                answer = self.call(product, action, max_results=PAGE["token"], **token, **parameters)
                yield from _entries(action, answer, outer, inner)
                if not answer.get("NextToken"):
                    return
                token = {"next_token": answer["NextToken"]}
        seen, number = 0, 1
        while True:
            answer = self.call(product, action, page_number=number, page_size=PAGE["number"], **parameters)
            entries = _entries(action, answer, outer, inner)
            yield from entries
            seen, number = seen + len(entries), number + 1
            if not entries or seen >= int(answer.get("TotalCount") or 0):
                return

    def _connection(self, product: str) -> Any:
        if clear_text(address := self._endpoints.get(product, "")):  # for the SDK its scheme counts
            remedy = "write a host name or an https URL in alicloud_endpoints"
            raise CloudError("endpoints", product, f"{address} is not https", remedy=remedy)
        if self._found is None or not self._found.fresh:
            self._found = self._find()
            self._connections.clear()
            self._sdk = self._make_sdk(self._found)
        if product not in self._connections:
            import footmark  # noqa: PLC0415

            connect = {"ecs": footmark.connect_ecs, "vpc": footmark.connect_vpc}[product]
            self._connections[product] = connect(
                self._found.key_id, self._found.secret, security_token=self._found.token or None, region=self.region
            )
        return self._connections[product]

    def _make_sdk(self, found: Credentials) -> Any:
        from aliyunsdkcore.auth.credentials import AccessKeyCredential, StsTokenCredential  # noqa: PLC0415
        from aliyunsdkcore.client import AcsClient  # noqa: PLC0415

        key: Any = AccessKeyCredential(found.key_id, found.secret)
        if found.token:
            key = StsTokenCredential(found.key_id, found.secret, found.token)
        return AcsClient(region_id=self.region, credential=key)

    def _send(self, product: str, action: str, built: Json) -> Any:
        request = self._connection(product).import_request(action)
        request.set_accept_format("json")
        request.set_read_timeout(ANSWER)
        request.set_connect_timeout(ANSWER)
        for name, value in built.items():
            if name != "Action":  # all others are named by the request's setters
                getattr(request, name)(value)
        return self._sdk.do_action_with_exception(request)

    def _has(self, product: str, action: str, parameter: str) -> bool:
        return hasattr(self._connection(product).import_request(action), f"set_{parameter}")

    def _build(self, product: str, action: str, parameters: Json) -> Json:
        """Return the parameters as the SDK's setters; TypeError for one that there is not."""
        given = {name: value for name, value in parameters.items() if value is not None}
        if self._has(product, action, "ClientToken") and not action.startswith("Describe"):
            given.setdefault("client_token", str(uuid.uuid4()))
        connection = self._connection(product)
        built: Json = connection.build_request_params({"Action": action, **given})
        if len(built) != len(given) + 1:
            for name, value in given.items():
                if len(connection.build_request_params({"Action": action, name: value})) != 2:
                    raise TypeError(f"{action} has no parameter {name}")
            raise TypeError(f"{action} has the same parameter twice: {', '.join(given)}")
        return built

    def _once(self, product: str, action: str, built: Json) -> Json:
        from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException  # noqa: PLC0415

        self.calls += 1
        try:
            answer: Json = json.loads(self._send(product, action, built))
        except ServerException as error:
            code, status = str(error.error_code), error.http_status
            final = CloudError(action, code, str(error.message), str(error.request_id or ""), product=product)
            if passes(code, status):
                raise _PassingError(final) from error
            raise final from error
        except ClientException as error:
            final = CloudError(action, str(error.error_code), str(error.message), product=product)
            if error.error_code == "SDK.HttpError":  # no answer: it may have been carried out, see call()
                raise _PassingError(final) from error
            raise final from error
        except IndexError as error:  # of the SDK's own, where a refused signature is explained without a colon
            raise CloudError(action, "SignatureDoesNotMatch", "the signature was refused", product=product) from error
        except ValueError as error:
            message = "the answer is not JSON; something between this machine and the API answers in its place"
            raise CloudError(action, "InvalidAnswer", message, product=product) from error
        if not isinstance(answer, dict):
            raise CloudError(action, "InvalidAnswer", "the answer is not a JSON object", product=product)
        return answer


def clear_text(address: str) -> bool:
    """Say whether an address is one to which keys of hosts and tokens would go for everybody to read."""
    return "://" in address and not address.startswith("https://")


def _entries(action: str, answer: Json, outer: str, inner: str) -> list[Json]:
    """Return a page's entries; CloudError where the answer has no list: that is not the same as an empty one."""
    found = answer.get(outer)
    entries = found.get(inner) if isinstance(found, dict) else None
    if isinstance(entries, list):
        return entries
    raise CloudError(
        action, "InvalidAnswer", f"the answer has no list {outer}.{inner}", str(answer.get("RequestId", ""))
    )


class _PassingError(Exception):
    def __init__(self, final: CloudError) -> None:
        super().__init__(str(final))
        self.final = final
