"""The inspector: a page at `/inspect` for ML engineers, which shows what the inspection routes answer.

The page is open, as it holds nothing of the shop: its calls carry the key that the person enters.
"""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

LOOK = Path(__file__).parent / "static" / "look.css"
INSPECTOR_FOLDER = Path(__file__).parent / "static" / "inspect"
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

    @app.get("/inspect/assets/look.css", include_in_schema=False)
    def look() -> FileResponse:
        return FileResponse(LOOK)

    app.mount("/inspect/assets", StaticFiles(directory=INSPECTOR_FOLDER))
