"""The public names, each once: ``__init__.py`` loads them from here on first use, and type checkers read them."""

from .distribution import correlogram as correlogram
from .distribution import density as density
from .distribution import effects_by_distance as effects_by_distance
from .estimates import Look as Look
from .estimates import coefficients as coefficients
from .estimates import effects as effects
from .estimates import regimes as regimes
from .moran import moran_scatter as moran_scatter
from .orders import effects_by_order as effects_by_order
from .orders import effects_path as effects_path
from .specification import specification_curve as specification_curve
from .studies import power as power
from .studies import probabilities as probabilities
