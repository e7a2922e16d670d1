"""The catalogue of composers: one small file each, built from Stretto's public names alone."""

from stretto_composers._average import average
from stretto_composers._cache import cache
from stretto_composers._default import default
from stretto_composers._fallback import fallback
from stretto_composers._guard import Circuit, guard
from stretto_composers._hedge import hedge
from stretto_composers._limit import limit
from stretto_composers._race import race
from stretto_composers._retry import retry
from stretto_composers._shadow import Example, Report, shadow
from stretto_composers._switch import switch
from stretto_composers._timeout import timeout
from stretto_composers._vote import vote

__all__ = [
    "Circuit",
    "Example",
    "Report",
    "average",
    "cache",
    "default",
    "fallback",
    "guard",
    "hedge",
    "limit",
    "race",
    "retry",
    "shadow",
    "switch",
    "timeout",
    "vote",
]
