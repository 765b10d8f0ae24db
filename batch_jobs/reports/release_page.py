"""The report on the newest release: what the gate found against the live one, and their lists side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from batch_jobs.console.wording import counted
from batch_jobs.release_gate.table import figure_text, interval_text
from batch_jobs.reports.page import NO_VALUE, NoRecordsError, Page, Records, ReportKind, ReportTable, moment
from batch_jobs.reports.plots import Bars, Chart, Estimate, bar_chart, interval_chart
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import shop_paths
from training.artifacts.gate_verdict import GATE, GATE_PASSED, verdict_text
from training.artifacts.release import list_releases

_KEPT = ("name", "created", "n_products", "live", GATE)


def read_release_records(config: Config) -> Records:
    """The manifests of all releases, newest first, and the lists in shadow."""
    paths = shop_paths(config)
    releases = list_releases(paths.releases)
    if not releases:
        raise NoRecordsError(f"{paths.releases} has no release yet; run `tawsiya refresh` first")
    has_lists = paths.shadow_lists.is_file()
    return {
        "releases": [{key: release.get(key) for key in _KEPT} for release in reversed(releases)],
        "shadow": read_json(paths.shadow_lists, "tawsiya refresh") if has_lists else None,
    }


def release_page(records: Records) -> Page:
    """The page."""
    releases, shadow = records["releases"], records["shadow"]
    newest = releases[0]
    gate = newest[GATE] or {}
    verdict = verdict_text(newest)
    return Page(
        subject=f"release {newest['name']}",
        time=newest["created"],
        figure=f"{verdict}{', live' if newest['live'] else ', not live'}",
        wrong=gate.get("verdict", GATE_PASSED) != GATE_PASSED,
        content={
            "verdict": verdict,
            "judged": bool(gate.get("rows")),
            "against": gate.get("against"),
            "window": _window(gate.get("window")),
            "forced": gate.get("forced"),
            "reasons": gate.get("reasons", []),
            "notes": gate.get("notes", []),
            "figures": _figures(gate.get("rows", [])),
            "chart": _differences(gate.get("rows", [])),
            # Older lists are of other releases.
            "shadow": _shadow(shadow) if shadow and shadow["candidate"] == newest["name"] else None,
            "releases": _releases(releases),
        },
    )


RELEASE_REPORT = ReportKind(
    "release", "Release", "The newest release against the one that was live: what the gate found, and their lists.",
    read_release_records, release_page,
)  # fmt: skip


def _window(window: Mapping[str, Any] | None) -> str | None:
    if window is None:
        return None
    return f"{counted(window['buyers'], 'buyer')} of {moment(window['from'])} to {moment(window['to'])}"


def _figures(rows: Sequence[Mapping[str, Any]]) -> ReportTable:
    cells = [
        [row["figure"], figure_text(row["live"]), figure_text(row["candidate"]), interval_text(row["interval"]),
         row["limit"], row["verdict"]]
        for row in rows
    ]  # fmt: skip
    heads = ("Figure", "Live", "Candidate", "Difference, 95% interval", "Limit", "Verdict")
    return ReportTable("What the gate measured", heads, cells, texts=True)


def _differences(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The differences that have an interval; None without any."""
    estimates = [
        Estimate(row["figure"].replace("new items", "new"), row["candidate"] - row["live"], row["interval"])
        for row in rows
        if row["interval"] is not None
    ]
    if not estimates:
        return None
    return interval_chart("Candidate minus live, with 95% intervals", estimates, x_label="difference", zero=True)


def _shadow(shadow: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "buyers": shadow["buyers"],
        "k": shadow["k"],
        "overlap": f"{shadow['overlap']:.0%}" if shadow["buyers"] else NO_VALUE,
        "rbo": f"{shadow['rbo']:.2f}" if shadow["buyers"] else NO_VALUE,
        "chart": _overlaps(shadow["steps"]) if shadow["buyers"] else None,
        "pairs": [_pair(pair) for pair in shadow["different"]],
    }


def _overlaps(steps: Sequence[int]) -> Chart:
    width = 100 // len(steps)
    labels = [f"{step * width} to {(step + 1) * width}%" for step in range(len(steps))]
    bars = Bars(list(steps), texts=[f"{count:,}" if count else "" for count in steps])
    return bar_chart("Buyers by their share of common products", labels, [bars], x_label="buyers")


def _pair(pair: Mapping[str, Any]) -> dict[str, Any]:
    """Both lists of a buyer, with the products that one of them has alone."""
    ids = {side: {product_id for product_id, _ in pair[side]} for side in ("live", "candidate")}
    lists = [
        (side, [(product_id, title, product_id not in ids[other]) for product_id, title in pair[side]])
        for side, other in (("live", "candidate"), ("candidate", "live"))
    ]
    return {"lists": lists, "overlap": f"{pair['overlap']:.0%}", "rbo": f"{pair['rbo']:.2f}"}


def _releases(releases: Sequence[Mapping[str, Any]]) -> ReportTable:
    rows = [
        [release["name"], moment(release["created"]), f"{release['n_products']:,}", verdict_text(release),
         "live" if release["live"] else ""]
        for release in releases
    ]  # fmt: skip
    return ReportTable("Releases, newest first", ("Release", "Made", "Products", "Verdict", "Live"), rows, texts=True)
