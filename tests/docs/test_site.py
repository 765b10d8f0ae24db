"""The site builds without a warning, and its pages need nothing from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Elements that a browser loads by itself, and the attribute that says from where; links are followed by readers.
LOADED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}
OUTSIDE = re.compile(r"(?:[a-z]+:)?//")
LOADED_BY_CSS = re.compile(r"(?:url\(|@import\s*)[\"']?((?:https?:)?//[^\"')]+)")


class Assets(HTMLParser):
    """What a page loads, and its pictures without a text for those who do not see them."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.without_text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return
        if address := values.get(LOADED.get(tag, "")):
            self.loaded.append(address)
        if tag == "img" and values.get("alt") is None:
            self.without_text.append(str(values.get("src")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. The build is strict: a warning, such as one about a broken link, ends it."""
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    # As after a test that imports an example: byte code beside it is none of the pages.
    (ROOT / "docs" / "examples" / "__pycache__").mkdir(exist_ok=True)
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


def pages(site: Path) -> Iterator[Path]:
    return site.rglob("*.html")


def test_every_document_is_a_page(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert documents - {path.relative_to(site) for path in pages(site)} == set()
    assert (site / "changelog.html").is_file()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in pages(site):
        assets = Assets()
        text = page.read_text(encoding="utf-8")
        assets.feed(text)
        assert [address for address in assets.loaded if OUTSIDE.match(address)] == [], page
        assert assets.without_text == [], page
        # The theme would fetch what draws these from another host.
        assert 'class="mermaid"' not in text, page
    for sheet in site.rglob("*.css"):
        assert LOADED_BY_CSS.findall(sheet.read_text(encoding="utf-8")) == [], sheet


def test_the_arabic_page_runs_from_right_to_left(site: Path) -> None:
    page = (site / "start" / "quick-start-ar.html").read_text(encoding="utf-8")
    assert '<div dir="rtl" lang="ar">' in page


def shell_blocks(page: str) -> list[str]:
    return re.findall(
        r"^```bash\n(.*?)^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_quick_starts_have_the_same_commands() -> None:
    assert shell_blocks("start/quick-start-ar.md") == shell_blocks("start/quick-start.md")
