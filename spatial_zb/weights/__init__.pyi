"""The public names of this room, each once."""

from .build.adjacency import block as block
from .build.adjacency import contiguity as contiguity
from .build.economic import bridges as bridges
from .build.economic import combine as combine
from .build.economic import economic_distance as economic_distance
from .build.economic import unit_means as unit_means
from .build.nearness import distance_band as distance_band
from .build.nearness import exponential_decay as exponential_decay
from .build.nearness import gravity as gravity
from .build.nearness import inverse_distance as inverse_distance
from .build.nearness import kilometres as kilometres
from .build.nearness import knn as knn
from .compare import compare_weights as compare_weights
from .files import read as read
from .files import write as write
from .matrix import as_weights as as_weights
from .periods import PeriodWeights as PeriodWeights
from .periods import by_period as by_period
from .periods import report_by_period as report_by_period
