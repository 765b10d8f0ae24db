"""The metrics as Prometheus reads them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from online_api.observability.metrics import Metrics


def samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def rendered(metrics: Metrics) -> dict[str, float]:
    return samples(metrics.render()[0].decode())


def test_observations_land_in_their_series() -> None:
    metrics = Metrics()
    metrics.stage_seconds("search").observe(0.0003)
    metrics.stage_seconds("search").observe(0.04)
    metrics.events("accepted").inc(3)
    metrics.breaker_state.set(2)
    seen = rendered(metrics)
    assert seen['tawsiya_stage_seconds_bucket{le="0.0002",stage="search"}'] == 0
    assert seen['tawsiya_stage_seconds_bucket{le="0.0005",stage="search"}'] == 1
    assert seen['tawsiya_stage_seconds_bucket{le="0.05",stage="search"}'] == 2
    assert seen['tawsiya_stage_seconds_sum{stage="search"}'] == pytest.approx(0.0403)
    assert seen['tawsiya_events_total{outcome="accepted"}'] == 3
    assert seen["tawsiya_breaker_state"] == 2


def test_content_type_is_that_of_the_text_format() -> None:
    assert Metrics().render()[1].startswith("text/plain; version=")


def test_known_series_exist_before_anything_happens() -> None:
    seen = rendered(Metrics())
    for reason in ("overload", "rate_limit", "unauthorised", "too_large", "too_slow"):
        assert seen[f'tawsiya_rejected_total{{reason="{reason}"}}'] == 0
    for stage in ("queue", "features", "encode", "search", "rank"):
        assert seen[f'tawsiya_stage_seconds_count{{stage="{stage}"}}'] == 0


def test_two_applications_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.answers("session").inc()
    other.answers("session").inc(5)
    assert rendered(one)['tawsiya_answers_total{source="session"}'] == 1
    assert rendered(other)['tawsiya_answers_total{source="session"}'] == 5


def test_one_release_is_live() -> None:
    metrics = Metrics()
    metrics.release_is_live("r1", created=1_700_000_000)
    metrics.release_is_live("r2", created=1_700_000_500)
    seen = rendered(metrics)
    assert seen['tawsiya_release_info{release="r1"}'] == 0
    assert seen['tawsiya_release_info{release="r2"}'] == 1
    assert seen["tawsiya_release_created_seconds"] == 1_700_000_500
    metrics.release_is_live("r2", created=1_700_000_500)
    assert rendered(metrics)['tawsiya_release_info{release="r2"}'] == 1


def test_values_stay_in_memory_where_a_library_has_set_the_folder(tmp_path: Path) -> None:
    script = """
from online_api.observability.metrics import Metrics
metrics = Metrics()
metrics.answers("popular").inc()
print(metrics.render()[0].decode())
"""
    # Importing Feast does so.
    seen = samples(_run(script, os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}))
    assert seen['tawsiya_answers_total{source="popular"}'] == 1
    assert list(tmp_path.iterdir()) == []


def test_the_documentation_lists_every_metric() -> None:
    text = Metrics().render()[0].decode()
    page = (Path(__file__).parents[3] / "docs" / "observability.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(tawsiya_\w+)`", page, re.MULTILINE)) == set(re.findall("# TYPE (\\w+)", text))


WORKER = """
import os
from pathlib import Path
from prometheus_client import Counter
from online_api.observability.metrics import Metrics
Counter("feast_pushes", "A library's own")
metrics = Metrics(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
metrics.answers("session").inc()
metrics.queue_depth.set(4)
metrics.breaker_state.set({state})
metrics.release_is_live("r{state}", created={state})
print(metrics.render()[0].decode())
"""


def test_one_worker_answers_for_all_of_them(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    first = samples(_run(WORKER.format(state=2), environment))
    assert first["tawsiya_breaker_state"] == 2
    second = samples(_run(WORKER.format(state=1), environment))
    assert second['tawsiya_answers_total{source="session"}'] == 2
    assert second["tawsiya_release_created_seconds"] == 1
    assert not any(name.startswith("feast") for name in second)
    # What the first worker counted stays counted; what it was like ended with it.
    assert second["tawsiya_breaker_state"] == 1
    assert second["tawsiya_queue_depth"] == 4
    assert 'tawsiya_release_info{release="r2"}' not in second


def test_live_workers_add_up(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    waiting = WORKER.format(state=2) + "print(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", waiting], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        while other.stdout.readline() != "\n":
            pass
        seen = samples(_run(WORKER.format(state=1), environment))
        other.communicate("\n")
    assert seen["tawsiya_queue_depth"] == 8
    assert seen["tawsiya_breaker_state"] == 2
    assert seen['tawsiya_release_info{release="r1"}'] == seen['tawsiya_release_info{release="r2"}'] == 1


def test_a_shared_folder_that_comes_too_late_is_refused(tmp_path: Path) -> None:
    Metrics()  # makes sure that this process keeps values in memory
    with pytest.raises(AssertionError, match="too late"):
        Metrics(tmp_path)


def _run(script: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
