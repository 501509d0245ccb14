"""What the commands of `anxin` do with the service's parts; `cli.py` only parses."""

from __future__ import annotations

from rich.console import Console

from app.chat.pipeline import Ask
from app.container import built
from app.db.session import Database, make_engine
from app.safety.types import Audience
from app.settings import Settings
from app.users.service import UserService
from app.users.tokens import TokenIssuer


def database(settings: Settings) -> Database:
    return Database(make_engine(settings.database_url))


def user_service(settings: Settings) -> UserService:
    return UserService(database(settings), TokenIssuer(settings.auth), settings.auth)


async def ask_once(settings: Settings, question: str, audience: str, console: Console) -> None:
    """Answers one question through the whole line and prints it as it comes."""
    async with built(settings) as parts:
        caller = await parts.users.anonymous()
        asked = Ask(caller.user_id, question, audience=Audience(audience))
        opened = await parts.pipeline.open(asked)
        async for event in parts.pipeline.answer(asked, opened):
            if event.name == "notice":
                console.print(f"[bold red]{event.data['title']}[/bold red]\n{event.data['text']}\n")
            elif event.name == "delta":
                console.print(event.data["text"], end="", markup=False, highlight=False)
            elif event.name == "done":
                console.print()
                for cited in event.data["citations"]:
                    console.print(
                        f"\\[{cited['n']}] {cited['title']} · {cited['source']}（{cited['year']}）",
                        highlight=False,
                    )
                console.print(event.data["disclaimer"], highlight=False)
            elif event.name == "error":
                console.print(event.data["error"]["message"], markup=False)
