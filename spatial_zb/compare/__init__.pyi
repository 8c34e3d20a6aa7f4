"""The public names of this room, each once."""

from .battery import Changes as Changes
from .battery import robustness as robustness
from .bayes import Prior as Prior
from .bayes import model_probabilities as model_probabilities
from .curve import curve_test as curve_test
from .family import compare_fits as compare_fits
from .family import spec_family as spec_family
from .family import subsets as subsets
from .grid import Choices as Choices
from .grid import specification_grid as specification_grid
