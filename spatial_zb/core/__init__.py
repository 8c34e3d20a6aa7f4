"""Arrays in, frozen results out: the mathematics of the package, without labels, files or plots.

Here live NumPy, SciPy and this package's errors; not pandas, not words for a reader.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = float | Array
