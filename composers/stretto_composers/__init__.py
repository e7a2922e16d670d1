"""The catalogue of composers: one small file each, built from Stretto's public names alone."""

from stretto_composers._average import average
from stretto_composers._fallback import fallback
from stretto_composers._median import median
from stretto_composers._quorum import quorum
from stretto_composers._race import race
from stretto_composers._stack import stack
from stretto_composers._switch import switch
from stretto_composers._vote import vote
from stretto_composers._weighted import weighted

__all__ = ["average", "fallback", "median", "quorum", "race", "stack", "switch", "vote", "weighted"]
