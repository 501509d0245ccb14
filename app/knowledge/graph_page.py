"""The graph page at `/graph`: static files built from `web/graph`, served from this machine only."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static" / "graph"
router = APIRouter()


@router.get("/graph", include_in_schema=False)
async def graph_page() -> FileResponse:
    return FileResponse(FOLDER / "index.html", headers={"Cache-Control": "no-cache"})


def mount(app: FastAPI) -> None:
    """Adds the page and its files."""
    app.include_router(router)
    app.mount("/graph/static", StaticFiles(directory=FOLDER), name="graph-page")
