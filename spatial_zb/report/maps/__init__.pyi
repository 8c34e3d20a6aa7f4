"""The public names, each once: ``__init__.py`` loads them from here on first use, and type checkers read them."""

from .ellipse import ellipses as ellipses
from .links import links as links
from .results import changes as changes
from .results import effect as effect
from .results import effects as effects
from .results import influence as influence
from .shaded import Look as Look
from .shaded import bivariate as bivariate
from .shaded import choropleth as choropleth
from .shaded import clusters as clusters
