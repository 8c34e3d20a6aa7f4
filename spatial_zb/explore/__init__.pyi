"""The public names of this room, each once."""

from . import dynamics as dynamics
from .distance import Bands as Bands
from .distance import effects_by_distance as effects_by_distance
from .distance import moran_by_distance as moran_by_distance
from .local import local_bivariate_moran as local_bivariate_moran
from .local import local_g as local_g
from .local import local_moran as local_moran
from .others import esda_statistic as esda_statistic
from .others import residual_moran as residual_moran
from .overall import bivariate_moran as bivariate_moran
from .overall import geary as geary
from .overall import general_g as general_g
from .overall import lee as lee
from .overall import moran as moran
from .overall import pooled_moran as pooled_moran
