"""Training of proposers and flow verifiers: the only room that may import torch. Installed as `arts_lite.train`."""

from __future__ import annotations

import os
from importlib.util import find_spec

# Read by OpenMP when torch loads it. Threads that spin while they wait lose nine tenths of the speed as soon as another
# process is busy on the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Read by huggingface_hub when it loads: TRL would else tell its makers of every run.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

for _package in ("torch", "gguf"):
    if find_spec(_package) is None:
        raise ImportError(
            f"arts_lite.train needs {_package}, which is not installed. Run: pip install 'arts-lite[train]'"
        )
