"""The public names of this room, each once."""

from .convergence import beta_convergence as beta_convergence
from .convergence import growth_spec as growth_spec
from .convergence import sigma_convergence as sigma_convergence
from .densities import kernel_densities as kernel_densities
from .spread import dagum_decomposition as dagum_decomposition
from .spread import deviation_ellipses as deviation_ellipses
from .spread import theil_decomposition as theil_decomposition
