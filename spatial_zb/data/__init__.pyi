"""The public names of this room, each once."""

from .cells import without_marks as without_marks
from .gate import build_panel as build_panel
from .read import read_table as read_table
from .regions import join_regions as join_regions
from .regions import read_regions as read_regions
from .regions import select_regions as select_regions
from .units import constant_units as constant_units
from .units import match_report as match_report
