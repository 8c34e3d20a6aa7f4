"""Stage report: one page with what all stages of the run made."""

from __future__ import annotations

from spatial_zb.pipeline.job import Job
from spatial_zb.text import Text

__all__ = ["write_page"]


def write_page(job: Job) -> list[Text]:
    """Put the offline report together."""
    return []
