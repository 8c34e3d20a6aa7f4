"""The public names of this room, each once."""

from .planning import Plan as Plan
from .planning import power as power
from .single import Process as Process
from .single import durbin as durbin
from .single import panel as panel
from .systems import Truth as Truth
from .systems import system as system
