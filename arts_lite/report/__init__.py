"""Pictures: the page of a tree, plots of an evaluation and of a training run."""

from __future__ import annotations

from arts_lite.report.html import tree_page, write_tree_page

__all__ = ["tree_page", "write_tree_page"]
