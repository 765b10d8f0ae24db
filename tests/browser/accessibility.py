"""What axe-core finds wrong on a page (https://github.com/dequelabs/axe-core)."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

GRAVE = {"serious", "critical"}


def grave_violations(page: Page) -> list[str]:
    """The violations of serious and critical impact, each with its rule and where it is; empty is right."""
    grave = [found for found in Axe().run(page).response["violations"] if found["impact"] in GRAVE]
    return [f"{found['id']}: {found['help']} at {[node['target'] for node in found['nodes']]}" for found in grave]
