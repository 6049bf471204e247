# SPDX-License-Identifier: Apache-2.0
"""Errors of Alibaba Cloud's API, and what to do about them."""

from __future__ import annotations

import re

# Codes begin with these; the first that fits counts. Of the error centre, https://api.alibabacloud.com/troubleshoot,
# and the pages of the actions, such as https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-runinstances.
REMEDIES = (
    ("InvalidAccessKeyId", "the access key does not exist or is disabled: see RAM, Users, AccessKey"),
    # Of the SDK, where the server signed the same text: it is the secret that differs.
    ("InvalidAccessKeySecret", "the secret does not belong to the access key: set both again"),
    ("SignatureDoesNotMatch", "the secret does not belong to the access key: set both again"),
    ("IncompleteSignature", "the secret does not belong to the access key: set both again"),
    ("InvalidSecurityToken.Expired", "the STS token has expired: get new credentials"),
    ("InvalidSecurityToken", "the STS token does not belong to the access key: get new credentials"),
    ("InvalidTimeStamp", "the clock of this machine is wrong: set it by NTP"),
    ("Forbidden.RAM", "allow {permission} to this user in RAM, see docs/alicloud.md"),
    ("Forbidden.SubUser", "allow {permission} to this user in RAM, see docs/alicloud.md"),
    ("NoPermission", "allow {permission} to this user in RAM, see docs/alicloud.md"),
    ("OperationDenied.NoStock", "this instance type is out of stock in this zone: choose another type or zone"),
    ("InvalidResourceType.NotSupported", "this zone does not offer this instance type: choose another type or zone"),
    ("Zone.NotOnSale", "this zone is sold out: choose another zone"),
    ("InvalidSpotPriceLimit", "raise the price limit of spot instances, or leave it out"),
    ("QuotaExceed", "raise the quota at https://quotas.console.aliyun.com, or use fewer"),
    ("Account.Arrearage", "the account is in arrears: pay the outstanding balance"),
    ("InvalidAccountStatus.NotEnoughBalance", "the account's balance is too low: top it up"),
    ("DependencyViolation", "something still uses it: remove that first"),
    # Of OSS: https://www.alibabacloud.com/help/en/oss/how-to-troubleshoot-403-status-code-when-you-access-oss
    ("NoSuchBucket", "create the bucket in this region, or set another one in cluster_bundle_url"),
    ("SecurityTokenExpired", "the STS token has expired: get new credentials"),
    ("AccessKeyIdAndSecurityTokenNotMatch", "the STS token does not belong to the access key: get new credentials"),
    ("RequestTimeTooSkewed", "the clock of this machine is wrong: set it by NTP"),
    ("BucketNotBelongTo", "it is a bucket of another account: set one of your own in cluster_bundle_url"),
    ("AccessDenied", "allow {permission} to this user in RAM, see docs/alicloud.md"),
    ("Throttling", "too many calls at once for this account: wait a minute, then run the same command again"),
)
# What passes by itself; the call is made again.
PASSING = re.compile(
    r"Throttling(\..*)?|ServiceUnavailable|InternalError|SystemBusy|TaskConflict(\..*)?|OperationConflict"
    r"|LastTokenProcessing|IncorrectVpcStatus|IncorrectRouteEntryStatus|IncorrectVSwitchStatus"
    r"|IncorrectStatus\.RouteTableStatus|OperationFailed\.DistibuteLock"  # spelt so
    r"|IncorretSnatEntryStatus|IncorrectStatus\.(NATGW|NatGateway|SnatEntry)"  # spelt so
)
# What uses a thing that is to be removed.
IN_USE = ("DependencyViolation", "IncorrectEipStatus", "InvalidOperation", "IncorrectInstanceStatus")


class CloudError(Exception):
    """A call that failed for good."""

    def __init__(
        self, action: str, code: str, message: str, request_id: str = "", *, product: str = "ecs", remedy: str = ""
    ) -> None:
        """Take what the API answered; `code` is that of the SDK where no answer came, `remedy` goes before its own."""
        self.action, self.code, self.message, self.request_id = action, code, message, request_id
        permission = f"{product}:{action}"
        known = (words for start, words in REMEDIES if code.startswith(start) or start in code.split("."))
        self.remedy = (remedy or next(known, "")).format(permission=permission)
        asked = f" (request {request_id})" if request_id else ""
        message = message.partition("server string to sign")[0]  # which holds the token of STS
        words = f"{action}: {code}: {message.rstrip('. ')}{asked}"
        super().__init__(f"{words}; {self.remedy}" if self.remedy else words)

    @property
    def denied(self) -> bool:
        """Whether RAM refused it."""
        return self.code.startswith(("Forbidden.RAM", "Forbidden.SubUser", "NoPermission"))


def passes(code: str, status: int | None) -> bool:
    """Say whether the same call may well succeed in a moment."""
    return bool(PASSING.fullmatch(code)) or (status is not None and status >= 500)
