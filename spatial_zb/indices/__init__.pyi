"""The public names of this room, each once."""

from .composite import coupling_coordination as coupling_coordination
from .composite import entropy_weights as entropy_weights
from .composite import topsis as topsis
from .concentration import coagglomeration as coagglomeration
from .concentration import ellison_glaeser as ellison_glaeser
from .concentration import locational_gini as locational_gini
from .concentration import pairwise_coagglomeration as pairwise_coagglomeration
from .specialisation import density as density
from .specialisation import herfindahl as herfindahl
from .specialisation import krugman_specialisation as krugman_specialisation
from .specialisation import location_quotients as location_quotients
from .specialisation import shares as shares
