"""The mathematics of the package: arrays in, frozen results out, with NumPy, SciPy and this package's errors only.

No labels, no pandas, no files, no words for a reader.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = float | Array
