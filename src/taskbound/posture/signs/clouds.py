"""Clouds: static keys with which jobs of a pipeline sign in, in their commands and in the stores that hand them over.

Sources: `aws configure set`, `gcloud auth activate-service-account`, `az login --service-principal`, and kin of other
clouds; Jenkins' credentials binding; `from_secret` of Drone and Woodpecker; orbs of CircleCI; secretKeyRef of Tekton.
A session's token beside the key, a federated token, and the pipeline's own registry make it none.
"""

import re

from taskbound.posture.signs.sign import Sign, Spot
from taskbound.posture.signs.where import PIPELINE

_CASE = "static-cloud-key-in-pipeline"
_TEMPORARY = re.compile(
    r"session[-_]?token|federated[-_]?token|assume-role|id[-_]token|web[-_]identity|workload[-_]?identity"
    r"|oidc|--identity\b|endpoint[-_]url"
    r"|localstack|minio|external_account|\.aud\b",
    re.I,
)
_SECRETS = (
    "AWS_SECRET_ACCESS_KEY|AWS_SECRET_KEY|ARM_CLIENT_SECRET|AZURE_CLIENT_SECRET|GCP_SA_KEY|GCLOUD_SERVICE_KEY"
    "|GOOGLE_CREDENTIALS|DIGITALOCEAN_(?:ACCESS_)?TOKEN|ALICLOUD_SECRET_KEY"
)
_CLOUDS = (
    (re.compile(r"aws", re.I), "AWS"),
    (re.compile(r"az\b|azure|arm_", re.I), "Azure"),
    (re.compile(r"gc(?:loud|p)|google", re.I), "Google Cloud"),
)


def _in_pipeline(spot: Spot) -> str:
    if not PIPELINE.search(spot.path) or _TEMPORARY.search(spot.around):
        return ""
    cloud = next((name for named, name in _CLOUDS if named.search(spot.found[0])), "a cloud")
    return f"signs in at {cloud} with a key that never ends: what reads it once can use it from anywhere"


SIGNS: tuple[Sign, ...] = (
    Sign(
        _CASE,
        (
            r"\baws[ \t]{1,4}configure[ \t]{1,4}(?:set[ \t]{1,4}(?:[\w.-]{0,40}\.)?aws_(?:secret_access_key"
            r"|access_key_id)|import[ \t]{1,4}--csv)"
        ),
        "signs in at AWS with a key that never ends",
        only=_in_pipeline,
        anchor=r"aws[ \t]{1,4}configure[ \t]{1,4}(?:set|import)",
    ),
    Sign(
        _CASE,
        r"\bgcloud[ \t]{1,4}auth[ \t]{1,4}activate-service-account\b|[\"']activate-service-account[\"']",
        "signs in at Google Cloud with a key that never ends",
        only=_in_pipeline,
    ),
    Sign(
        _CASE,
        (
            r"\baz[ \t]{1,4}login\b[^\n]{0,200}[ \t](?:-p|--password)[= \t]|\bConnect-AzAccount\b[^\n"
            r"]{0,160}-Credential\b"
        ),
        "signs in at Azure with a secret that lasts",
        only=_in_pipeline,
        anchor=r"\baz[ \t]{1,4}login\b|Connect-AzAccount",
    ),
    Sign(
        _CASE,
        (
            r"\bdoctl[ \t]{1,4}auth[ \t]{1,4}init\b|\bibmcloud[ \t]{1,4}login\b[^\n]{0,120}--apikey"
            r"|\baliyun[ \t]{1,4}configure[ \t]{1,4}set\b[^\n]{0,160}--access-key-secret"
            r"|\bscw[ \t]{1,4}init\b[^\n]{0,120}secret-key|\byc[ \t]{1,4}config[ \t]{1,4}set[ \t]{1,4}(?:token"
            r"|service-account-key)\b|\boci[ \t]{1,4}setup[ \t]{1,4}repair"
        ),
        "signs in at a cloud with a key that never ends",
        only=_in_pipeline,
        anchor=(
            r"doctl[ \t]{1,4}auth|ibmcloud[ \t]{1,4}login|aliyun[ \t]{1,4}configure|scw[ \t]{1,4}init"
            r"|yc[ \t]{1,4}config"
        ),
    ),
    Sign(
        _CASE,
        (
            rf"(?:\bexport[ \t]{{1,4}}|::set-env name=|\$env:|\bENV\[['\"]"
            rf"|^[ \t-]{{0,12}})(?:{_SECRETS})[\"'\]]{{0,2}}[ \t]{{0,2}}=[ \t]{{0,2}}[\"']?(?:\$|%|credentials\()"
        ),
        "signs in at a cloud with a key that never ends",
        only=_in_pipeline,
        anchor=rf"(?:{_SECRETS})[\"'\]]{{0,2}}[ \t]{{0,2}}=",
    ),
    Sign(
        _CASE,
        rf"\b(?:{_SECRETS}|secret_key|aws_secret_access_key)[\"']?:\s{{1,40}}(?:from_secret|valueFrom|secretKeyRef)\b",
        "signs in at a cloud with a key that never ends",
        only=_in_pipeline,
        anchor=r"from_secret|valueFrom",
    ),
    Sign(
        _CASE,
        rf"\bname:[ \t]*[\"']?(?:{_SECRETS})[\"']?\s{{1,40}}valueFrom:",
        "signs in at a cloud with a key that never ends",
        only=_in_pipeline,
        anchor="valueFrom:",
    ),
    Sign(
        _CASE,
        (
            r"\b(?:aws[-_]secret[-_]access[-_]key|gcloud[-_]service[-_]key"
            r"|aws[-_]access[-_]key[-_]id):[ \t]*[\"']?(?:\$\{?)?[A-Z][A-Z0-9_]{5,60}\}?[\"']?[ \t\r]*$"
        ),
        "signs in at a cloud with a key that never ends",
        only=lambda spot: _in_pipeline(spot) if ".circleci" in spot.path else "",
        anchor=r"aws[-_](?:secret[-_]access[-_]key|access[-_]key[-_]id):|gcloud[-_]service[-_]key:",
    ),
    Sign(
        _CASE,
        (
            r"AmazonWebServicesCredentialsBinding|\bazureServicePrincipal\(|\bwithAWS\([^\n)]{0,120}credentials"
            rf"|\bgoogleServiceAccountPrivateKey\b|\bvariable:[ \t]*['\"](?:{_SECRETS})['\"]"
            r"|\bGOOGLE_APPLICATION_CREDENTIALS[\"']?[ \t]{0,4}=[ \t]{0,4}credentials\(|\bfile\([^\n"
            r")]{0,120}GOOGLE_APPLICATION_CREDENTIALS"
        ),
        "signs in at a cloud with a key that never ends",
        only=_in_pipeline,
        anchor=(
            rf"AmazonWebServicesCredentialsBinding|azureServicePrincipal|withAWS|googleServiceAccountPrivateKey"
            rf"|variable:[ \t]{{0,4}}['\"](?:{_SECRETS})"
            r"|GOOGLE_APPLICATION_CREDENTIALS"
        ),
    ),
    Sign(
        _CASE,
        (
            r"\b(?:echo|printf|printenv|cat[ \t]{0,4}<<<?)[^\n|>]{0,120}(?:GCP_SA_KEY|GCLOUD_SERVICE_KEY"
            r"|GOOGLE_CREDENTIALS|SERVICE_ACCOUNT_KEY|GCP_CREDENTIALS|GKE_SA_KEY)\b[^\n]{0,60}>"
        ),
        "signs in at Google Cloud with a key that never ends",
        only=_in_pipeline,
        anchor=r"(?:GCP_SA_KEY|GCLOUD_SERVICE_KEY|GOOGLE_CREDENTIALS|SERVICE_ACCOUNT_KEY|GCP_CREDENTIALS|GKE_SA_KEY)",
    ),
)
