"""The catalogue of composers: one small file each, built from Stretto's public names alone."""

from stretto_composers._average import average
from stretto_composers._fallback import fallback
from stretto_composers._race import race
from stretto_composers._switch import switch
from stretto_composers._vote import vote

__all__ = ["average", "fallback", "race", "switch", "vote"]
