"""Bearer tokens: issues and verifies JWTs (HS256 or RS256). Knows no database."""

from __future__ import annotations

from datetime import timedelta

import jwt

from app.errors import TokenExpired, TokenInvalid
from app.identity import Clock, NewId, new_ulid, utc_now
from app.settings import AuthSettings
from app.users.roles import Identity, Role

REQUIRED_CLAIMS = ["sub", "role", "exp", "iat", "iss", "jti", "ver"]


class TokenIssuer:
    """Signs and checks tokens with the keys of the settings."""

    def __init__(self, settings: AuthSettings, *, clock: Clock = utc_now, new_id: NewId = new_ulid) -> None:
        self._algorithm = settings.algorithm
        self._issuer = settings.issuer
        self._clock = clock
        self._new_id = new_id
        if settings.algorithm == "HS256":
            self._sign_key = self._check_key = settings.secret.get_secret_value()
        else:
            self._sign_key = settings.private_key.get_secret_value()
            self._check_key = settings.public_key

    def issue(self, user_id: str, role: Role, *, ttl_s: int, version: int = 0) -> str:
        now = self._clock()
        claims = {
            "sub": user_id,
            "role": role.value,
            "iss": self._issuer,
            "iat": now,
            "exp": now + timedelta(seconds=ttl_s),
            "jti": self._new_id(),
            "ver": version,
        }
        return jwt.encode(claims, self._sign_key, algorithm=self._algorithm)

    def verify(self, token: str) -> tuple[Identity, int]:
        """The identity that the token proves and the token version it was issued under.

        Raises:
            TokenExpired: the token was valid once.
            TokenInvalid: anything else that is wrong with it.
        """
        try:
            claims = jwt.decode(
                token,
                self._check_key,
                algorithms=[self._algorithm],
                issuer=self._issuer,
                options={"require": REQUIRED_CLAIMS, "verify_exp": False, "verify_iat": False},
            )
            identity = Identity(str(claims["sub"]), Role(claims["role"]), str(claims["jti"]))
            expires, version = float(claims["exp"]), int(claims["ver"])
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise TokenInvalid from error
        if expires <= self._clock().timestamp():
            raise TokenExpired
        return identity, version
