"""The test kit for authors of composers: an oracle, and a check that a composer has one meaning however it runs.

Nothing here needs pytest.
"""

from stretto.testing.check import check_composer
from stretto.testing.clock import virtual_clock
from stretto.testing.http_server import serving
from stretto.testing.oracle import oracle, oracle_outcome, same

__all__ = ["check_composer", "oracle", "oracle_outcome", "same", "serving", "virtual_clock"]
