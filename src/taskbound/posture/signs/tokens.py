"""Tokens: signatures that nobody checks, and OAuth flows that its own authors have taken out.

Sources: RFC 8725 (JWT best practice), RFC 9700 (OAuth security best practice: 2.1.1, 2.1.2, 2.4), the libraries' own
warnings: PyJWT, jsonwebtoken, jose, golang-jwt, ruby-jwt, jjwt, jose4j, Microsoft.IdentityModel, go-oidc.
"""

import re

from taskbound.posture.signs.sign import IS, NO, YES, Sign, Spot
from taskbound.posture.signs.where import is_trial

_SIGNED = "token-signature-not-verified"
_PASSWORD = "password-grant"  # the name of a case
_IMPLICIT = "implicit-flow"
_PKCE = "pkce-not-required"
_QUERY = "key-in-query-of-url"


def _not_trial(spot: Spot) -> bool:
    return not is_trial(spot)


def _believed(spot: Spot) -> bool:
    """Whether more is made of a token than to see whose it says it is, which is needed to find the key."""
    looked_up = re.search(r"""[\["'(.](?:iss|kid)["'\])]""", spot.after[:240])
    return not is_trial(spot) and not looked_up


_PLACEHOLDER = re.compile(r"your|xxx|example|demo|\.\.\.|changeme|<|test|insert|redacted|\*\*", re.I)


def _is_key(spot: Spot) -> bool:
    """A key that is handed over: a reference or a value, and no word that stands for one."""
    value = re.split(r"=", spot.found[0])[-1]
    return not is_trial(spot) and not _PLACEHOLDER.search(value + spot.after[:12])


SIGNS: tuple[Sign, ...] = (
    Sign(
        _SIGNED,
        r"\bverify_signature[\"']?\]?[ \t]*[:=][ \t]*(?:False|0)\b",
        "believes a token without checking its signature",
        only=_believed,
    ),
    Sign(
        _SIGNED,
        (
            r"\bjwt\.decode\([^\n]{0,160}\bverify[ \t]*=[ \t]*False\b|\bJWT\.decode\(?[^\n]{0,160},[ \t]*(?:nil"
            r"|false)[ \t]*,[ \t]*false\b"
        ),
        "believes a token without checking its signature",
        only=_not_trial,
        anchor=r"\bjwt\.decode",
    ),
    Sign(
        _SIGNED,
        r"\bParseUnverified\(|\bUnsafeAllowNoneSignatureType\b|\binsecure_disable_signature_validation\b"
        r"|\bdangerous_insecure_decode"
        r"|\bsetSkipSignatureVerification\b|\bsetDisableRequireSignature\b|\bsetSkipAllValidators\b"
        r"|\bSignatureAlgorithm\.NONE\b"
        r"|\bjwt\.ParseInsecure\(|\bjwt\.WithVerify\([ \t]*false|\.unsecured\(\)|\bparseClaimsJwt\("
        r"|\bparseUnsecuredClaims\("
        r"|\bUnsafeAllowAlgNone\b|\bdecode_complete_unverified\b|\bget_unverified_claims\(",
        "believes a token without checking its signature",
        none=r"^\s*(?:(?:export|public|static|async)\s+)*(?:func|const|type|def|class|function)\b",  # whose it is
        only=_believed,
        anchor=(
            r"ParseUnverified|UnsafeAllow|insecure_disable_sig|dangerous_insecure|setSkip|setDisableRequire"
            r"|SignatureAlgorithm\.NONE|_unverified|ParseInsecure|jwt\.WithVerify|\.unsecured\(\)|parseClaimsJwt"
            r"|parseUnsecuredClaims"
        ),
    ),
    Sign(
        _SIGNED,
        r"\b(?:RequireSignedTokens|ValidateIssuerSigningKey)[ \t]*=[ \t]*false\b",
        "believes a token without checking its signature",
        only=_not_trial,
    ),
    Sign(
        _SIGNED,
        rf"\balg(?:orithms?)?{IS}\[?[ \t]*[\"']?none[\"'\]\s,}}]",
        "takes tokens that nobody has signed (alg none)",
        only=lambda spot: (
            not is_trial(spot) and bool(re.search(r"jwt|jws|jose|token|oidc|oauth|typ\b", spot.around, re.I))
        ),
        anchor=r"alg(?:orithms?)?[\"'\]]{0,2}[ \t]{0,4}[=:,]>?[ \t]{0,4}\[?[\"']?none",
    ),
    Sign(
        _SIGNED,
        rf"(?:id_token_signed_response_alg|request_object_signing_alg|userinfo_signed_response_alg){IS}none\b",
        "takes tokens that nobody has signed (alg none)",
        only=_not_trial,
    ),
    Sign(
        _SIGNED,
        rf"(?:skip|disable|insecure[-_]?skip|bypass)[-_]?(?:jwt|token|signature)[-_]?(?:signature[-_]?)?"
        rf"(?:verification|verify|validation|check)s?{IS}{YES}"
        rf"|(?:jwt|token|signature)[-_.]?(?:signature[-_.]?)?(?:verify|verification|validation"
        rf"|validate)(?:[-_.]?enabled)?{IS}{NO}"
        rf"|(?:verify|validate|check)[-_]?(?:jwt|token|signature)s?{IS}{NO}",
        "believes a token without checking its signature",
        none=r"verify_signature",
        only=_not_trial,
        anchor=(
            r"(?:jwt|token|signature)[-_.]?(?:signature[-_.]?)?(?:verif|valid|check)|(?:verify|validate"
            r"|check)[-_]?(?:jwt|token|signature)"
        ),
    ),
    Sign(
        _SIGNED,
        rf"\bwant[-_]?(?:assertions|authn_?response|response|messages?)[-_]?signed{IS}{NO}",
        "takes SAML assertions that nobody has signed",
        only=_not_trial,
    ),
    Sign(
        _PASSWORD,
        r"\bgrant[-_]?types?[\"'\]]{0,2}\s{0,8}(?:=>|[:=,])[\s\[(\"'\w:/.,-]{0,120}[\"'\s,\[(=:-]password[\"'\s,\])&]",
        "asks for tokens with a user's password (password grant)",
        only=_not_trial,
        anchor=r"\bgrant[-_]?types?",
    ),
    Sign(
        _PASSWORD,
        r"\bgrant[-_]?type=password\b",
        "asks for tokens with a user's password (password grant)",
        only=_not_trial,
    ),
    Sign(
        _PASSWORD,
        r"\b(?:AuthorizationGrantType\.PASSWORD|GrantTypes?\.ResourceOwnerPassword\w*|PasswordCredentialsToken\("
        r"|LegacyApplicationClient\(|acquire_token_by_username_password|AcquireTokenByUsernamePassword"
        r"|(?:ALLOW_|ADMIN_)?USER_PASSWORD_AUTH"
        r"|ADMIN_NO_SRP_AUTH|UsernamePasswordCredential\()",
        "asks for tokens with a user's password (password grant)",
        none=r"^\s*(?:from|import|using)\s",
        only=_not_trial,
        anchor=(
            r"GrantType\.PASSWORD|ResourceOwnerPassword|PasswordCredentialsToken|LegacyApplicationClient"
            r"|by_?username_?password|USER_PASSWORD_AUTH|ADMIN_NO_SRP|UsernamePasswordCredential"
        ),
    ),
    Sign(
        _IMPLICIT,
        rf"\bresponse[-_]?types?{IS}[\[(]?[ \t]*[\"']?(?:id_token[ +]|code[ +])?token(?:[ +]id_token)?[\"'&\s,\])]",
        "is given access tokens in the address of a page (implicit flow)",
        only=_not_trial,
    ),
    Sign(
        _IMPLICIT,
        (
            r"\b(?:allowed_?o_?auth_?flows|grant[-_]?types?)[\"'\]]{0,2}\s{0,8}(?:=>"
            r"|[:=,])[\s\[(\"'\w:/.,-]{0,120}[\"'\s,\[(-]implicit[\"'\s,\])]"
        ),
        "is given access tokens in the address of a page (implicit flow)",
        only=_not_trial,
        anchor=r"\ballowed_?o_?auth_?flows|\bgrant[-_]?types?",
    ),
    Sign(
        _IMPLICIT,
        (
            r"\b(?:GrantTypes?\.Implicit\w*|AuthorizationGrantType\.IMPLICIT)\b"
            r"|\bAllowAccessTokensViaBrowser[ \t]*=[ \t]*true"
            rf"|\baccess_token_issuance_enabled[ \t]*=[ \t]*true|\bflow[\"']?:[ \t]*[\"']?implicit\b"
            rf"|\bimplicit_?flow(?:_?allowed)?{IS}true\b"
        ),
        "is given access tokens in the address of a page (implicit flow)",
        only=_not_trial,
        anchor=(
            r"GrantTypes?\.Implicit|AuthorizationGrantType\.IMPLICIT|AllowAccessTokensViaBrowser"
            r"|access_token_issuance_enabled|flow[\"']?:[ \t]*[\"']?implicit|implicit_?flow"
        ),
    ),
    Sign(
        _PKCE,
        (
            rf"\b(?:\w{{1,24}}[-_.])?(?:(?:use|require|enable|enforce|with)[-_]?(?:pkce|proof[-_]?key)"
            rf"|pkce[-_.]?(?:required|enabled|enforced)?){IS}{NO}"
            rf"|\bpkce:\s{{1,12}}(?:enforced|enabled|required):[ \t]*false|\bdisable[-_]?pkce{IS}{YES}"
            rf"|requireProofKey\(false\)"
        ),
        "lets a code be made into a token without PKCE",
        only=_not_trial,
        anchor=r"pkce|proof[-_]?key",
    ),
    Sign(
        _QUERY,
        r"\b(?:https?|wss?)://[^\s\"'`<>]{3,160}[?&](?:api[-_]?key|apikey|access[-_]token|auth[-_]token"
        r"|client[-_]secret|secret"
        r"|password|api[-_]token|token|subscription-key)=[\w${<%{\[-][^\s\"'`&<>]{3}",
        "sends a key in the query of a URL",
        # What is mailed to somebody works once.
        none=r"(?:reset|forgot|verif|confirm|activat|magic|onboard)[\w/-]*\?|\*\*\*|maps\.googleapis|codecov\.io|/badge|/shield|\.svg|invite|unsubscribe|localhost|127\.0\.0\.1",
        only=_is_key,
        anchor=(
            r"[?&](?:api[-_]?key|access[-_]token|auth[-_]token|client[-_]secret|secret|password|api[-_]token"
            r"|token|subscription-key)="
        ),
    ),
)
