"""Chat over HTTP: JSON answers, server-sent events, and resuming a dropped stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.chat.events import Event
from app.chat.pipeline import Ask
from app.chat.schemas import ChatIn, ChatOut
from app.chat.stream import Run, Runs, replay
from app.conversations.endpoints import MessageId
from app.dependencies import Caller, Parts
from app.errors import AnxinError, Forbidden
from app.http import error_response, request_id
from app.openapi import ErrorOut, errors
from app.safety.types import Audience

router = APIRouter(tags=["chat"])
STREAM_EXAMPLE = (
    'id: 1\nevent: meta\ndata: {"conversation_id": "…", "message_id": "…", "department": "cardiology"}\n\n'
    'id: 2\nevent: delta\ndata: {"text": "…[1]。"}\n\nid: 3\nevent: citations\ndata: {"citations": []}\n\n'
    'id: 4\nevent: done\ndata: {"message_id": "…"}\n\n'
)
STREAM_EVENT = {
    "type": "object",
    "description": "one event of the stream; `data` is JSON",
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["meta", "notice", "delta", "citations", "done", "error"]},
        "data": {"type": "string"},
    },
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream` true (or `Accept: text/event-stream`) as server-sent events.",
        "content": {"text/event-stream": {"schema": STREAM_EVENT, "example": STREAM_EXAMPLE}},
    }
}


@router.post(
    "/chat",
    summary="Ask a question",
    response_model=ChatOut,
    responses={**errors(401, 403, 404, 409, 413, 422, 429, 500, 503), **STREAM},
)
async def chat(
    request: Request,
    caller: Caller,
    parts: Parts,
    body: ChatIn,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Any:
    """Answers from the department's reviewed knowledge, with sources, after triage and before nothing unreviewed.

    In an emergency the `notices` come first and the answer is a reviewed instruction. Joining the `delta` texts of a
    stream gives exactly the stored answer.
    """
    if body.audience is Audience.CLINICIAN and not (caller.is_staff or parts.settings.development):
        raise Forbidden("临床版回答只对本院医务人员开放")
    ask = Ask(
        user_id=caller.user_id,
        message=body.message,
        audience=body.audience,
        conversation_id=body.conversation_id,
        department=None if body.department is None else body.department.value,
        request_id=request_id(request),
    )
    opened = await parts.pipeline.open(ask)
    run = parts.runs.start(opened.message_id, caller.user_id, parts.pipeline.answer(ask, opened))
    if body.stream or "text/event-stream" in accept:
        return event_stream(parts.runs, run, 0, parts.settings.stream.ping_s)
    return await whole_answer(request, parts.runs, run)


@router.get(
    "/chat/{message_id}/events",
    summary="Resume a stream",
    responses={**errors(401, 404, 409, 422, 429, 503), **STREAM},
    response_class=EventSourceResponse,
)
async def resume(
    caller: Caller,
    parts: Parts,
    message_id: MessageId,
    last_event_id: Annotated[int, Header(ge=0, le=1_000_000, description="the last `id` received")] = 0,
) -> EventSourceResponse:
    """The events after `Last-Event-ID`, live while the answer runs, from the stored message afterwards."""
    run = parts.runs.find(message_id, caller.user_id)
    if run is not None:
        return event_stream(parts.runs, run, last_event_id, parts.settings.stream.ping_s)
    stored = await parts.conversations.message(caller.user_id, message_id)
    events = replay(stored)

    async def rest() -> AsyncIterator[ServerSentEvent]:
        for number, event in enumerate(events, start=1):
            if number > last_event_id:
                yield sse(number, event)

    return EventSourceResponse(rest(), ping=parts.settings.stream.ping_s, sep="\n")


def sse(number: int, event: Event) -> ServerSentEvent:
    return ServerSentEvent(
        json.dumps(event.data, ensure_ascii=False), event=event.name, id=str(number), sep="\n"
    )


def event_stream(runs: Runs, run: Run, after: int, ping_s: int) -> EventSourceResponse:
    async def live() -> AsyncIterator[ServerSentEvent]:
        async for number, event in runs.read(run, after):
            yield sse(number, event)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(live(), ping=ping_s, sep="\n", headers=headers)


async def whole_answer(request: Request, runs: Runs, run: Run) -> Any:
    """The run as one JSON answer; its error event becomes the HTTP error it stands for."""
    text: list[str] = []
    async for _, event in runs.read(run):
        if event.name == "delta":
            text.append(event.data["text"])
        elif event.name == "done":
            return ChatOut.model_validate({**event.data, "answer": "".join(text)})
        elif event.name == "error":
            response = error_response(AnxinError(), request_id(request))
            body = ErrorOut.model_validate(event.data)
            response.body = json.dumps(event.data, ensure_ascii=False).encode()
            response.headers["content-length"] = str(len(response.body))
            response.status_code = status_of(body.error.code)
            if body.error.details is not None and "retry_after_s" in body.error.details:
                response.headers["retry-after"] = str(body.error.details["retry_after_s"])
            return response
    raise AnxinError


def status_of(code: str) -> int:
    def kinds(kind: type[AnxinError]) -> list[type[AnxinError]]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in kinds(child))]

    return next((kind.status for kind in kinds(AnxinError) if kind.code == code), 500)
