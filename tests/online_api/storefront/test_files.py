"""The files of the demo shop: how they are served, what they must not hold, and their texts in each language."""

import re
from pathlib import Path
from typing import get_args

import httpx
import pytest

from feature_repo.transforms.events import EVENT_TYPE_NAMES
from online_api.schemas.responses import Source, SuggestedText
from online_api.storefront import STATIC_FOLDER

pytestmark = pytest.mark.store

ASSETS = sorted(path for path in STATIC_FOLDER.rglob("*") if path.is_file())
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in (STATIC_FOLDER / "shop").glob("*.js")}
# The inspector is in English alone.
STYLES = [path for path in ASSETS if path.suffix == ".css" and path.parent.name != "inspect"]
HTML = (STATIC_FOLDER / "index.html").read_text(encoding="utf-8")
CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "javascript", ".svg": "image/svg+xml"}
SVG_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'


@pytest.mark.parametrize("path", ASSETS, ids=lambda path: path.name)
def test_assets_have_their_content_type(client: httpx.Client, path: Path) -> None:
    answer = client.get(f"/static/{path.relative_to(STATIC_FOLDER)}")
    assert answer.status_code == 200
    assert CONTENT_TYPES[path.suffix] in answer.headers["content-type"]


def test_page_is_served_under_a_strict_policy(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"  # the page's address names the buyer
    assets = {asset for asset in re.findall(r'(?:src|href)="([^"]+)"', answer.text) if not asset.startswith("#")}
    assert {"docs", "static/look.css", "static/shop/main.js"} <= assets
    for asset in assets:
        assert client.get(f"/{asset}").status_code == 200


@pytest.mark.parametrize("path", ASSETS, ids=lambda path: path.name)
def test_files_need_nobody_else_and_inject_nothing(path: Path) -> None:
    content = path.read_text(encoding="utf-8").replace(SVG_NAMESPACE, "")
    assert not re.search(r"https?:|//\w+\.|@import", content)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", content)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", content)


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_layout_turns_with_the_direction(path: Path) -> None:
    rules = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"(?<!-)\b(left|right)\b", rules)


def test_every_text_exists_in_every_language() -> None:
    languages = texts()
    assert set(languages) == {"en", "ar"}
    english, arabic = languages["en"], languages["ar"]
    assert english.keys() == arabic.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", arabic[key])), key
        assert re.search(r"[؀-ۿ]", arabic[key]), key


def test_the_texts_are_those_that_are_asked_for() -> None:
    scripts = "".join(SCRIPTS.values())
    used = set(re.findall(r'data-(?:text|label|hint)="(\w+)"', HTML))
    used |= set(re.findall(r'"(\w+)"', "".join(script for name, script in SCRIPTS.items() if name != "texts.js")))
    used |= {f"{kind}_{source}" for kind in ("source", "hint") for source in get_args(Source)}
    used |= {f"degraded_{part}" for part in ("feature_store", "text_encoder", "timeout", "release")}
    used |= {f"{kind}_{event_type}" for kind in ("did", "act") for event_type in EVENT_TYPE_NAMES}
    used |= {f"kind_{kind}" for kind in get_args(SuggestedText.model_fields["kind"].annotation)}
    used |= {f"{kind}_{count}" for kind in ("because", "goes_with") for count in ("one", "two")}
    known = texts()["en"].keys()
    assert known <= used
    asked = set(re.findall(r'(?:text\(|key: |ApiError\()"(\w+)"', scripts)) | set(
        re.findall(r'data-text="(\w+)"', HTML)
    )
    assert asked <= known


def test_each_drawing_is_of_some_category_and_has_a_colour() -> None:
    drawings = set(
        re.findall(r'<symbol id="(\w+)"', (STATIC_FOLDER / "shop" / "pictures.svg").read_text(encoding="utf-8"))
    )
    named = set(re.findall(r'^  \["(\w+)", /', SCRIPTS["pictures.js"], re.MULTILINE))
    (hues,) = re.findall(r"const HUES = \{(.*?)\};", SCRIPTS["pictures.js"], re.DOTALL)
    assert named | {"basket"} == set(re.findall(r"(\w+): \d", hues)) == drawings - {"cart"}


def texts() -> dict[str, dict[str, str]]:
    """The dictionaries of texts.js, which holds one text per line."""
    languages = re.findall(r"^  (\w+): \{\n(.*?)^  \},$", SCRIPTS["texts.js"], re.DOTALL | re.MULTILINE)
    return {language: dict(re.findall(r'^    (\w+): "(.+)",$', body, re.MULTILINE)) for language, body in languages}
