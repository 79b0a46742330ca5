"""Fusion: an imported model becomes @main of calls and views, plus one private function a region."""

from __future__ import annotations

from passes.fusion.fuse import Decide, FusePass, Summary, fuse, summarise

__all__ = ["Decide", "FusePass", "Summary", "fuse", "summarise"]
