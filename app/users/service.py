"""Accounts: guests, staff, and the check that a token's user may still act."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pwdlib import PasswordHash
from sqlalchemy.exc import IntegrityError

from app.db.session import Database
from app.db.tables import UserRow
from app.errors import BadCredentials, BadRequest, Conflict, GuestsDisabled, NotFound, TokenInvalid
from app.identity import Clock, NewId, new_ulid, utc_now
from app.settings import AuthSettings
from app.users import repository
from app.users.roles import STAFF_ROLES, Identity, Role, UserKind
from app.users.tokens import TokenIssuer

ANONYMOUS_ID = "00000000000000000000000000"
NAME_PATTERN = re.compile(r"[\w.@-]{2,64}")
MIN_PASSWORD_CHARS = 12


@dataclass(frozen=True, slots=True)
class Issued:
    token: str
    expires_in_s: int
    user: UserRow


class UserService:
    """Creates accounts and tokens; every public method is one transaction."""

    def __init__(
        self,
        database: Database,
        issuer: TokenIssuer,
        settings: AuthSettings,
        *,
        clock: Clock = utc_now,
        new_id: NewId = new_ulid,
    ) -> None:
        self._database = database
        self._issuer = issuer
        self._settings = settings
        self._clock = clock
        self._new_id = new_id
        self._passwords = PasswordHash.recommended()
        self._dummy_hash = self._passwords.hash("no such account")

    async def guest(self) -> Issued:
        """A fresh guest.

        Raises:
            GuestsDisabled: guests are switched off by setting.
        """
        if not self._settings.guests:
            raise GuestsDisabled
        row = self._row(UserKind.GUEST, Role.PATIENT)
        async with self._database.begin() as session:
            session.add(row)
        return self._issued(row, self._settings.guest_ttl_s)

    async def anonymous(self) -> Identity:
        """The one shared identity of development, created on first use."""
        async with self._database.begin() as session:
            if await repository.get(session, ANONYMOUS_ID) is None:
                session.add(self._row(UserKind.GUEST, Role.PATIENT, user_id=ANONYMOUS_ID))
        return Identity(ANONYMOUS_ID, Role.PATIENT, "anonymous")

    async def add_staff(self, name: str, role: Role, password: str | None = None) -> UserRow:
        """A staff account; without a password only tokens printed on the machine work.

        Raises:
            BadRequest: the name, role or password is not acceptable.
            Conflict: the name is taken.
        """
        if not NAME_PATTERN.fullmatch(name):
            raise BadRequest("用户名须为2至64个字母、数字、汉字或 . _ @ -")
        if role not in STAFF_ROLES:
            raise BadRequest("角色须为 clinician、editor 或 operator")
        if password is not None and len(password) < MIN_PASSWORD_CHARS:
            raise BadRequest(f"密码至少{MIN_PASSWORD_CHARS}个字符")
        row = self._row(UserKind.STAFF, role, name=name)
        row.password_hash = self._passwords.hash(password) if password is not None else None
        try:
            async with self._database.begin() as session:
                session.add(row)
        except IntegrityError as error:
            raise Conflict("这个用户名已经存在") from error
        return row

    async def staff_token(self, name: str) -> Issued:
        """A token for an existing staff account, without its password (an operator on the machine asks)."""
        async with self._database.begin() as session:
            row = await repository.by_name(session, name)
        if row is None or row.disabled:
            raise NotFound("没有这个员工账号")
        return self._issued(row, self._settings.staff_ttl_s)

    async def login(self, name: str, password: str) -> Issued:
        """A token for name and password.

        Raises:
            BadCredentials: unknown name, no password set, wrong password or disabled; the time taken is alike.
        """
        async with self._database.begin() as session:
            row = await repository.by_name(session, name)
        known = row is not None and row.password_hash is not None and not row.disabled
        expected = (
            row.password_hash if row is not None and row.password_hash is not None else self._dummy_hash
        )
        if not self._passwords.verify(password, expected) or not known or row is None:
            raise BadCredentials
        return self._issued(row, self._settings.staff_ttl_s)

    async def revoke_tokens(self, name: str) -> None:
        """Makes every token of the account invalid at once."""
        async with self._database.begin() as session:
            row = await repository.by_name(session, name)
            if row is None:
                raise NotFound("没有这个员工账号")
            row.token_version += 1

    async def authenticate(self, token: str) -> Identity:
        """The identity of a bearer token; staff tokens are checked against their account each time.

        Raises:
            TokenExpired, TokenInvalid: the token does not (or no longer) prove an identity.
        """
        identity, version = self._issuer.verify(token)
        if identity.is_staff:
            async with self._database.begin() as session:
                row = await repository.get(session, identity.user_id)
            if row is None or row.disabled or row.token_version != version or row.role != identity.role:
                raise TokenInvalid
        return identity

    def _row(
        self, kind: UserKind, role: Role, *, user_id: str | None = None, name: str | None = None
    ) -> UserRow:
        return UserRow(
            id=user_id if user_id is not None else self._new_id(),
            kind=kind.value,
            role=role.value,
            name=name,
            token_version=0,
            disabled=False,
            created_at=self._clock(),
        )

    def _issued(self, row: UserRow, ttl_s: int) -> Issued:
        token = self._issuer.issue(row.id, Role(row.role), ttl_s=ttl_s, version=row.token_version)
        return Issued(token, ttl_s, row)
