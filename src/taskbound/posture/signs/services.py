"""Services of clouds, as Terraform, CloudFormation, Bicep and Pulumi declare them: encryption not asked for, and
keys that never end. The names are those of the providers' resources, with or without signs between their words.
"""

import re

from taskbound.posture.signs.sign import IS, NO, YES, Sign, Spot
from taskbound.posture.signs.where import is_trial

_OFF = "connection-without-tls"
_ENDLESS = "credential-made-without-end"


def _not_trial(spot: Spot) -> bool:
    return not is_trial(spot)


def _not_rotated(spot: Spot) -> bool:
    return not is_trial(spot) and not re.search(r"time_rotating|rotat", spot.around, re.I)


SIGNS: tuple[Sign, ...] = (
    Sign(
        _OFF,
        (
            r"\b(?:ssl_?enforcement(?:_?enabled)?|require_?ssl|transit_?encryption_?enabled"
            r"|in_?transit_?encryption|require_?secure_?transport"
            rf"|rds\.force_ssl|(?:enable_)?https_?traffic_?only(?:_enabled)?|supports_?https_?traffic_?only"
            rf"|force_?ssl){IS}{NO}"
        ),
        "takes connections without encryption",
        only=_not_trial,
        anchor=(
            r"ssl_?enforcement|require_?ssl|transit_?encryption|require_?secure_?transport|force_?ssl"
            r"|https_?traffic_?only"
        ),
    ),
    Sign(
        _OFF,
        (
            rf"\b(?:enable_?)?non_?ssl_?port(?:_?enabled)?{IS}{YES}|\bclient_?broker{IS}(?:TLS_)?PLAINTEXT\b"
            rf"|\bALLOW_UNENCRYPTED_AND_ENCRYPTED\b"
        ),
        "takes connections without encryption",
        only=_not_trial,
        anchor=r"non_?ssl_?port|client_?broker|ALLOW_UNENCRYPTED",
    ),
    Sign(
        _ENDLESS,
        r"\bresource[ \t]{1,4}\"(?:google_service_account_key|aws_iam_access_key)\""
        r"|\bType:[ \t]*[\"']?AWS::IAM::AccessKey\b|\"Type\":[ \t]*\"AWS::IAM::AccessKey\""
        r"|\bnew[ \t]{1,4}(?:aws\.)?iam\.(?:Cfn)?AccessKey\(|\baws\.iam\.AccessKey\(|\bserviceaccount\.Key\(",
        "makes a key of a service that never ends, and keeps it in its state",
        only=_not_rotated,
        anchor=(
            r"google_service_account_key\"|aws_iam_access_key\"|IAM::AccessKey|iam\.(?:Cfn)?AccessKey"
            r"|serviceaccount\.Key"
        ),
    ),
)
