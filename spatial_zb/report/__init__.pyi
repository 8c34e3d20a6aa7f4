"""The public names of this room, each once."""

from . import figures as figures
from . import maps as maps
from . import tables as tables
