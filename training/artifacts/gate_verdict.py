"""The verdict of the gate before promote, as the entry `gate` of a release's manifest keeps it.

    {"verdict": "pending" | "passed" | "refused", "judged_at", "against": name of the live release or null,
     "reasons": [why it was refused], "notes": [what could not be judged, and warnings],
     "window": {"from", "to", "buyers"} or null, "rows": [the table, see batch_jobs.release_gate.table],
     "forced": {"at", "by", "reason"}, if someone promoted it all the same,
     "sha256": of the rest, because the release's name holds no hash of it}

A release without the entry was made by an older version, or not by `publish`; it is not held back.
"""

import datetime as dt
import getpass
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from typing import Any, Final

GATE = "gate"  # key of the manifest
GATE_PENDING, GATE_PASSED, GATE_REFUSED = "pending", "passed", "refused"
# What a candidate is written with: a run that is killed while it judges must not leave a release that counts as good.
NOT_JUDGED: Final[Mapping[str, Any]] = {"verdict": GATE_PENDING}
_SUM = "sha256"


def sealed(gate: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with its hash."""
    content = {key: value for key, value in gate.items() if key != _SUM}
    return content | {_SUM: hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def is_sealed(gate: Any) -> bool:
    """Whether the entry is as it was written."""
    return isinstance(gate, dict) and sealed(gate) == gate


def refusal(manifest: Mapping[str, Any]) -> str | None:
    """Why the release of a manifest must not go live without force; None if it may."""
    gate = manifest.get(GATE)
    if gate is None or gate["verdict"] == GATE_PASSED or "forced" in gate:
        return None
    if gate["verdict"] == GATE_PENDING:
        return "was not judged: its run ended before; run `tawsiya refresh` again"
    return f"was refused: {'; '.join(gate['reasons'])}"


def verdict_text(manifest: Mapping[str, Any]) -> str:
    """The verdict in one or two words, for lists."""
    gate = manifest.get(GATE)
    if gate is None:
        return "not judged"
    return f"{gate['verdict']}, forced" if "forced" in gate else str(gate["verdict"])


def forced(reason: str) -> dict[str, str]:
    """The record of a promotion by force: when, by whom and why."""
    return {"at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "by": _user(), "reason": reason}


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number without a name
        name = f"uid {os.getuid()}"
    return f"{name}@{platform.node()}"
