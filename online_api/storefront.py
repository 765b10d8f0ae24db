"""The storefront demo: a page on `/` that uses the API as a shop's own page would."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
# Scripts and styles from this server only, none of them inline. Photos lie wherever the shop keeps them.
HEADERS = {"Content-Security-Policy": "default-src 'self'; img-src *; base-uri 'none'; frame-ancestors 'none'"}


def add_storefront(app: FastAPI) -> None:
    """Puts the page on `/` and its assets under `/static/`."""
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    def storefront() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=HEADERS)
