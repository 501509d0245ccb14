"""Who may act: kinds of user, roles, and the identity that a valid token proves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UserKind(StrEnum):
    GUEST = "guest"
    WECHAT = "wechat"
    STAFF = "staff"


class Role(StrEnum):
    PATIENT = "patient"
    CLINICIAN = "clinician"
    EDITOR = "editor"
    OPERATOR = "operator"


STAFF_ROLES = frozenset({Role.CLINICIAN, Role.EDITOR, Role.OPERATOR})


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of one request. `token_id` separates rate limits of several tokens of one user."""

    user_id: str
    role: Role
    token_id: str

    @property
    def is_staff(self) -> bool:
        return self.role in STAFF_ROLES
