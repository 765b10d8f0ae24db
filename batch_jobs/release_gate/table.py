"""The table of a judgement: a row for each figure, and how it reads on the console."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from batch_jobs.console.tables import table_lines
from training.artifacts.gate_verdict import GATE_PASSED, GATE_REFUSED

if TYPE_CHECKING:
    # It imports torch, and the console prints tables without.
    from training.artifacts.recommender import Recommender

RowVerdict = Literal["ok", "refused", "warning"]


@dataclass(frozen=True)
class FigureRow:
    """One figure of both releases.

    Attributes:
        figure: Its name.
        live, candidate: Its values; None where it could not be measured.
        limit: What the candidate is held to, in words.
        verdict: What came of it.
        interval: Of the difference candidate - live, for figures that are means over buyers.
    """

    figure: str
    live: float | None
    candidate: float | None
    limit: str
    verdict: RowVerdict
    interval: tuple[float, float] | None = None


@dataclass
class Judgement:
    """What the gate found so far.

    Attributes:
        against: Name of the live release, None without one.
        rows: The table.
        reasons: Why the candidate is refused; none if it passes.
        notes: What could not be judged, and warnings.
        window: The days that both were measured on.
        comparable: The live release and the candidate, loaded, if their lists can be compared.
    """

    against: str | None
    rows: list[FigureRow] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    window: dict[str, Any] | None = None
    comparable: "tuple[Recommender, Recommender] | None" = None

    def add(self, row: FigureRow, message: str) -> None:
        """Adds a row; `message` says what is wrong with it, and counts only if its verdict is not ok."""
        self.rows.append(row)
        if row.verdict == "refused":
            self.reasons.append(message)
        elif row.verdict != "ok":
            self.notes.append(message)

    def as_json(self) -> dict[str, Any]:
        """The entry `gate` of the manifest (training.artifacts.gate_verdict)."""
        return {
            "verdict": GATE_REFUSED if self.reasons else GATE_PASSED,
            "judged_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "against": self.against,
            "window": self.window,
            "rows": [asdict(row) for row in self.rows],
            "reasons": self.reasons,
            "notes": self.notes,
        }


def gate_lines(gate: Mapping[str, Any]) -> list[str]:
    """A judgement as lines: the table, on which days it was measured, reasons and notes."""
    head = ["figure", "live", "candidate", "difference", "limit", "verdict"]
    cells = [head, *(_cells(row) for row in gate["rows"])]
    window = gate["window"]
    days = [] if window is None else [f"{window['buyers']:,} buyers of {window['from'][:16]} to {window['to'][:16]}"]
    return [
        *table_lines(cells, right=[1, 2]),
        *days,
        *(f"refused: {reason}" for reason in gate["reasons"]),
        *(f"note: {note}" for note in gate["notes"]),
    ]


def figure_text(value: float | None) -> str:
    """A value of a row: whole numbers with separators, others with four digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4g}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    values = [figure_text(row["live"]), figure_text(row["candidate"])]
    return [row["figure"], *values, interval_text(row["interval"]), row["limit"], row["verdict"]]


def interval_text(interval: Sequence[float] | None) -> str:
    """The interval of a difference; empty without one."""
    return "" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
