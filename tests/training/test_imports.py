"""Jobs that need neither a model nor the feature store start without what takes seconds to load."""

import subprocess
import sys


def test_building_features_imports_neither_torch_nor_feast() -> None:
    script = "import sys, batch_jobs.feature_build.build_features; print({'torch', 'feast'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
