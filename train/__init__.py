"""Training of proposers and flow verifiers: the only room that may import torch. Installed as `arts_lite.train`."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ImportError("arts_lite.train needs torch, which is not installed. Run: pip install 'arts-lite[train]'")
