"""Every error that leaves the service, as one tree with one JSON shape.

    AnxinError
    ├── BadRequest (400)             ├── NotFound (404)            ├── Conflict (409)
    │   └── InvalidCursor            │   ├── ConversationNotFound  │   ├── ConversationBusy
    ├── Unauthenticated (401)        │   ├── MessageNotFound       │   ├── AnswerInProgress
    │   ├── TokenInvalid             │   ├── DocumentNotFound      │   └── StateConflict
    │   └── TokenExpired             │   ├── EntityNotFound        ├── PayloadTooLarge (413)
    ├── Forbidden (403)              │   ├── AdapterNotFound       ├── UnsupportedFile (415)
    │   └── GuestsDisabled           │   └── BuildNotFound         ├── InvalidPayload (422)
    ├── RateLimited (429)
    └── Unavailable (503)
        ├── StorageUnavailable  ├── KnowledgeUnavailable  ├── ModelUnavailable  └── ServiceBusy

Third-party errors are translated at their boundary (`raise … from`); one handler renders what arrives here.
Messages are Chinese because client developers show them to patients as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from app.safety.types import Notice


class AnxinError(Exception):
    """Base of all; a class declares `status` (HTTP), `code` (stable, snake case) and its default `message`."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    message: str = "服务出现问题，请稍后再试。"

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_s: int | None = None,
        details: Mapping[str, Any] | None = None,
        notices: Sequence[Notice] = (),
    ) -> None:
        if message is not None:
            self.message = message
        self.retry_after_s = retry_after_s
        self.details = dict(details) if details is not None else {}
        self.notices = tuple(notices)
        super().__init__(self.message)

    def body(self, request_id: str) -> dict[str, Any]:
        """The one JSON shape. Notices of a recognised emergency travel with the error and lead its message."""
        message = self.message
        if self.notices:
            message = f"{self.notices[0].title}\n{self.notices[0].text}\n{message}"
        error: dict[str, Any] = {"code": self.code, "message": message, "request_id": request_id}
        if self.details:
            error["details"] = self.details
        if self.notices:
            error["notices"] = [asdict(notice) for notice in self.notices]
        return {"error": error}


class BadRequest(AnxinError):
    status, code, message = 400, "bad_request", "请求有误，请检查后再试。"


class InvalidCursor(BadRequest):
    code, message = "invalid_cursor", "翻页参数无效，请从第一页重新开始。"


class Unauthenticated(AnxinError):
    status, code, message = 401, "unauthenticated", "请先登录。"


class TokenInvalid(Unauthenticated):
    code, message = "token_invalid", "登录信息无效，请重新登录。"


class TokenExpired(Unauthenticated):
    code, message = "token_expired", "登录已过期，请重新登录。"


class BadCredentials(Unauthenticated):
    code, message = "bad_credentials", "用户名或密码不正确。"


class Forbidden(AnxinError):
    status, code, message = 403, "forbidden", "您没有权限进行此操作。"


class GuestsDisabled(Forbidden):
    code, message = "guests_disabled", "本服务未开放游客使用，请登录。"


class NotFound(AnxinError):
    status, code, message = 404, "not_found", "没有找到您要的内容。"


class ConversationNotFound(NotFound):
    code, message = "conversation_not_found", "没有找到这段对话。"


class MessageNotFound(NotFound):
    code, message = "message_not_found", "没有找到这条消息。"


class DocumentNotFound(NotFound):
    code, message = "document_not_found", "没有找到这篇文章。"


class EntityNotFound(NotFound):
    code, message = "entity_not_found", "图谱中没有这个条目。"


class AdapterNotFound(NotFound):
    code, message = "adapter_not_found", "没有找到这个适配器。"


class BuildNotFound(NotFound):
    code, message = "build_not_found", "没有找到这个索引版本。"


class Conflict(AnxinError):
    status, code, message = 409, "conflict", "操作与当前状态冲突，请刷新后再试。"


class ConversationBusy(Conflict):
    code, message = "conversation_busy", "上一个问题还在回答中，请稍候再发。"


class AnswerInProgress(Conflict):
    code, message = "answer_in_progress", "回答还在生成，请稍后再取。"


class StateConflict(Conflict):
    code = "state_conflict"


class PayloadTooLarge(AnxinError):
    status, code, message = 413, "payload_too_large", "内容太大，请缩短或拆分后再试。"


class UnsupportedFile(AnxinError):
    status, code, message = 415, "unsupported_file", "不支持这种文件。"


class InvalidPayload(AnxinError):
    status, code, message = 422, "invalid_payload", "提交的内容不符合要求。"


class RateLimited(AnxinError):
    status, code, message = 429, "rate_limited", "请求太频繁，请稍后再试。如有紧急情况请直接拨打120。"


class Unavailable(AnxinError):
    status, code, message = 503, "unavailable", "服务暂时不可用，请稍后再试。如有紧急情况请直接拨打120。"


class StorageUnavailable(Unavailable):
    code, message = "storage_unavailable", "暂时无法保存对话，请稍后再试。如有紧急情况请直接拨打120。"


class KnowledgeUnavailable(Unavailable):
    code, message = "knowledge_unavailable", "知识库暂时不可用，请稍后再试。如有紧急情况请直接拨打120。"


class ModelUnavailable(Unavailable):
    code, message = "model_unavailable", "回答服务暂时不可用，请稍后再试。如有紧急情况请直接拨打120。"


class ServiceBusy(Unavailable):
    code, message = "service_busy", "现在提问的人较多，请稍后再试。如有紧急情况请直接拨打120。"
