"""The catalogue of composers: one small file each, built from Stretto's public names alone."""

from stretto_composers._average import average
from stretto_composers._cache import cache
from stretto_composers._calibrate import Calibration, calibrate
from stretto_composers._cascade import cascade
from stretto_composers._cascades.tiers import agreement, confidence
from stretto_composers._circuit_breaker import Circuit, circuit_breaker
from stretto_composers._default import default
from stretto_composers._each import each
from stretto_composers._fallback import fallback
from stretto_composers._flatten import flatten
from stretto_composers._hedge import hedge
from stretto_composers._limit import limit
from stretto_composers._loop import loop
from stretto_composers._median import median
from stretto_composers._quorum import quorum
from stretto_composers._race import race
from stretto_composers._rename import rename
from stretto_composers._retry import retry
from stretto_composers._select import select
from stretto_composers._shadow import Example, Report, shadow
from stretto_composers._split import split
from stretto_composers._stack import stack
from stretto_composers._switch import switch
from stretto_composers._tap import tap
from stretto_composers._timeout import timeout
from stretto_composers._vote import vote
from stretto_composers._weighted import weighted

guard = circuit_breaker
"""The name that `circuit_breaker` had before."""

__all__ = [
    "Calibration",
    "Circuit",
    "Example",
    "Report",
    "agreement",
    "average",
    "cache",
    "calibrate",
    "cascade",
    "circuit_breaker",
    "confidence",
    "default",
    "each",
    "fallback",
    "flatten",
    "hedge",
    "limit",
    "loop",
    "median",
    "quorum",
    "race",
    "rename",
    "retry",
    "select",
    "shadow",
    "split",
    "stack",
    "switch",
    "tap",
    "timeout",
    "vote",
    "weighted",
]
