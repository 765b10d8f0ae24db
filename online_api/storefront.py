"""The storefront demo: a page at `/` that uses the API like a shop's own page."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

STATIC_FOLDER = Path(__file__).parent / "static"
# Scripts and styles from this server only, and none inline, so that a title or id that became markup could still run
# nothing. Photos may come from any server.
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'self'; img-src *; base-uri 'none'; frame-ancestors 'none'"}


def add_storefront(app: FastAPI) -> None:
    """Adds the page at `/` and its assets under `/static/`."""
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER))

    @app.get("/", include_in_schema=False)
    def storefront() -> FileResponse:
        return FileResponse(STATIC_FOLDER / "index.html", headers=PAGE_HEADERS)
