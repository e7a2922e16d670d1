"""The catalogue of composers: one small file each, built from Stretto's public names alone."""

from stretto_composers._average import average
from stretto_composers._calibrate import calibrate
from stretto_composers._calibration import Calibration
from stretto_composers._cascade import cascade
from stretto_composers._each import each
from stretto_composers._fallback import fallback
from stretto_composers._flatten import flatten
from stretto_composers._loop import loop
from stretto_composers._race import race
from stretto_composers._rename import rename
from stretto_composers._select import select
from stretto_composers._split import split
from stretto_composers._sure import agreement, confidence
from stretto_composers._switch import switch
from stretto_composers._tap import tap
from stretto_composers._vote import vote

__all__ = [
    "Calibration",
    "agreement",
    "average",
    "calibrate",
    "cascade",
    "confidence",
    "each",
    "fallback",
    "flatten",
    "loop",
    "race",
    "rename",
    "select",
    "split",
    "switch",
    "tap",
    "vote",
]
