"""Long, resumable runs made of solver, tasks and report."""

from __future__ import annotations

from arts_lite.experiments.progress import SdfProgress
from arts_lite.experiments.sdf import SdfConfig, SdfRun
from arts_lite.experiments.stats import DatasetStats, dataset_stats, tree_files

__all__ = ["DatasetStats", "SdfConfig", "SdfProgress", "SdfRun", "dataset_stats", "tree_files"]
