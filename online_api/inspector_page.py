"""The inspector: a page at `/inspect` for ML engineers, which shows what the inspection routes answer.

The page is open, as it holds nothing of the shop: its calls carry the key that the person enters.
"""

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

SHARED_FOLDER = Path(__file__).parent / "static"
SHARED_FILES = ("look.css", "icon.svg")  # of every page
INSPECTOR_FOLDER = SHARED_FOLDER / "inspect"
# Scripts, styles and calls of this server only, and none inline, so that a title or id that became markup could run
# nothing and send nothing away. Photos may come from any server.
INSPECTOR_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src *; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
}


def add_inspector_page(app: FastAPI) -> None:
    """Adds the page at `/inspect` and its assets under `/inspect/assets/`."""

    @app.get("/inspect", include_in_schema=False)
    def inspector() -> FileResponse:
        return FileResponse(INSPECTOR_FOLDER / "index.html", headers=INSPECTOR_HEADERS)

    for name in SHARED_FILES:  # before the folder, which has all other names
        app.get(f"/inspect/assets/{name}", include_in_schema=False)(_shared(name))
    app.mount("/inspect/assets", StaticFiles(directory=INSPECTOR_FOLDER))


def _shared(name: str) -> Callable[[], FileResponse]:
    """A route of a file that other pages have, too."""

    def file() -> FileResponse:
        return FileResponse(SHARED_FOLDER / name)

    return file
