"""What MkDocs asks while it builds the site (`hooks` of mkdocs.yml): pages from outside docs/, and lists of folders."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Files of the repository that the site has too, by their place in the site.
OUTSIDE: Mapping[str, str] = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "python-client.md": "client/README.md",
    "images/logo.svg": "online_api/static/icon.svg",
    "config/rules.example.yaml": "config/rules.example.yaml",
    "config/synonyms.example.yaml": "config/synonyms.example.yaml",
}
# Folders that pages link to; a Git host lists their files, and so does the site.
FOLDERS: Mapping[str, str] = {"adr": "Decision records", "examples": "Examples of schedulers"}
RECORDS = FOLDERS["adr"]
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?![a-z]+:|#)(?P<target>[^)#\s]+)(?=[)#])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts every decision record into the navigation."""
    records = [f"adr/{path.name}" for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    for section in config.nav or ():
        for entry in next(iter(section.values())):
            if isinstance(entry, dict) and RECORDS in entry:
                entry[RECORDS] = ["adr/index.md", *records]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files from outside docs/ and the lists of folders."""
    for place, path in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    for folder, title in FOLDERS.items():
        content = "\n".join([f"# {title}", "", *_entries(ROOT / "docs" / folder)])
        files.append(File.generated(config, f"{folder}/index.md", content=content + "\n"))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Leads links that hold in the repository to the same files in the site."""
    place = page.file.src_uri
    source = posixpath.dirname(OUTSIDE.get(place, f"docs/{place}"))

    def lead(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(source, link["target"]))
        text = _title(ROOT / target) if link["text"] == posixpath.basename(target) else link["text"]
        return f"[{text}]({posixpath.relpath(_place(target), posixpath.dirname(place) or '.')}"

    return LINK.sub(lead, markdown)


def _place(path: str) -> str:
    """Where the site has a file or folder of the repository."""
    places = {path: place for place, path in OUTSIDE.items()} | {"README.md": "index.md"}
    found = places.get(path) or path.removeprefix("docs/")
    return f"{found}/index.md" if found in FOLDERS else found


def _title(path: Path) -> str:
    """The title of a page; the name of any other file."""
    if path.suffix != ".md" or not path.is_file():
        return path.name
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _entries(folder: Path) -> Iterator[str]:
    """A line for each file of a folder; a page is called by its title."""
    # Files only: Python leaves a folder of byte code beside an example that a test has imported.
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        yield f"- [{_title(path)}]({path.name})"
