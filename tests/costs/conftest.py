from tests.metrics_of_ones_own import activations as activations
from tests.metrics_of_ones_own import cold_start as cold_start
