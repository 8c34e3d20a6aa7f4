"""The public names of this room, each once."""

from .layouts.effects import effects_table as effects_table
from .layouts.effects import scenario_table as scenario_table
from .layouts.effects import sets_table as sets_table
from .layouts.exploration import coordination_table as coordination_table
from .layouts.exploration import entropy_table as entropy_table
from .layouts.exploration import moran_table as moran_table
from .layouts.regression import regression as regression
from .layouts.regression import regression_table as regression_table
from .layouts.sample import correlations_table as correlations_table
from .layouts.sample import definitions_table as definitions_table
from .layouts.sample import descriptives_table as descriptives_table
from .layouts.sample import missing_table as missing_table
from .layouts.tests import chain_table as chain_table
from .layouts.tests import identification_table as identification_table
from .table import TableLook as TableLook
from .table import TableStyle as TableStyle
