"""Jobs that need no model start without loading torch."""

import subprocess
import sys


def test_building_features_does_not_import_torch() -> None:
    script = "import sys, batch_jobs.feature_build.build_features; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
