"""Long, resumable runs made of solver, tasks and report."""

from __future__ import annotations

from arts_lite.experiments.extinct import ExtinctProgress, ExtinctRun
from arts_lite.experiments.progress import SdfProgress
from arts_lite.experiments.sdf import SdfConfig, SdfRun
from arts_lite.experiments.stats import DatasetStats, dataset_stats, tree_files

__all__ = [
    "DatasetStats",
    "ExtinctProgress",
    "ExtinctRun",
    "SdfConfig",
    "SdfProgress",
    "SdfRun",
    "dataset_stats",
    "tree_files",
]
