"""Buyer tokens: what a shop's page carries instead of an API key, signed by the shop's server for one buyer.

A token is a JSON Web Token (RFC 7519) signed with HMAC-SHA-256, so the shop's server can sign it in any language. It
names the buyer (`sub`), the shop (`aud`, the name of its folder) and its end (`exp`). The secrets come from the
environment: tokens signed with any of them are valid, and a rotation has two for a while.
"""

import datetime as dt
from collections.abc import Mapping, Sequence

import jwt

from feature_repo.common.config_loading import environment
from feature_repo.common.errors import ConfigError

SECRETS_VARIABLE = "TAWSIYA_BUYER_TOKEN_SECRETS"
ALGORITHM = "HS256"
LEAST_SECRET_BYTES = 32  # as long as the hash (RFC 7518, section 3.2)
CLOCK_SKEW_SECONDS = 60


class InvalidTokenError(ValueError):
    """The token is not valid; the message says why, without the token's content."""


def token_secrets(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The secrets of $TAWSIYA_BUYER_TOKEN_SECRETS, separated by blanks; the first one signs.

    Args:
        environ: The environment; None takes the process's, over the `.env` file.

    Raises:
        ConfigError: A secret is too short.
    """
    variables = environment() if environ is None else environ
    secrets = tuple(variables.get(SECRETS_VARIABLE, "").split())
    for number, secret in enumerate(secrets, 1):
        if len(secret.encode()) < LEAST_SECRET_BYTES:
            raise ConfigError(
                f"secret {number} of ${SECRETS_VARIABLE} has {len(secret.encode())} bytes; it needs at least "
                f"{LEAST_SECRET_BYTES}, such as those of `openssl rand -hex 32`"
            )
    return secrets


class BuyerTokens:
    """Signs and checks the tokens of one shop's buyers."""

    def __init__(self, secrets: Sequence[str], shop: str) -> None:
        """Signs with the first of the secrets, and accepts tokens of all; `shop` is the name of the shop's folder."""
        self._secrets, self._shop = secrets, shop

    def sign(self, buyer_id: str, expires: dt.datetime) -> str:
        """A token for a buyer, valid until `expires`, which has a time zone.

        Raises:
            ConfigError: There is no secret.
        """
        if not self._secrets:
            raise ConfigError(f"${SECRETS_VARIABLE} is not set; set it to the output of `openssl rand -hex 32`")
        return jwt.encode({"sub": buyer_id, "aud": self._shop, "exp": expires}, self._secrets[0], ALGORITHM)

    def buyer_of(self, token: str) -> str:
        """The buyer whom a valid token names.

        Raises:
            InvalidTokenError: No secret signed it, it has expired, or it is of another shop.
        """
        if not self._secrets:
            raise InvalidTokenError("buyer tokens are not set up on this server")
        for secret in self._secrets:
            try:
                return self._subject(token, secret)
            except jwt.InvalidSignatureError:
                continue  # perhaps the next one's
            except jwt.ExpiredSignatureError:
                raise InvalidTokenError("the buyer token has expired") from None
            except jwt.InvalidAudienceError:
                raise InvalidTokenError("the buyer token is of another shop") from None
            except jwt.PyJWTError:
                raise InvalidTokenError("the buyer token is not valid") from None
        raise InvalidTokenError("the buyer token is not signed with a secret of this shop")

    def _subject(self, token: str, secret: str) -> str:
        claims = jwt.decode(
            token,
            secret,
            # One algorithm: a token must not choose `none`, or a public key as the secret (RFC 8725, section 3.1).
            algorithms=[ALGORITHM],
            audience=self._shop,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["sub", "aud", "exp"]},
        )
        return str(claims["sub"])
