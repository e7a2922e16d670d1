"""The compiler: check, share, defer, place and fuse, each a function from plan to plan that keeps its meaning."""

from stretto.compiler.check import check
from stretto.compiler.compile import PipelinePlan, compile_plan
from stretto.compiler.defer import defer
from stretto.compiler.explain import explain
from stretto.compiler.fuse import fuse
from stretto.compiler.optimize import optimize
from stretto.compiler.picture import Explanation
from stretto.compiler.place import TOGETHER, Placement, Profile, place
from stretto.compiler.share import share

__all__ = [
    "TOGETHER",
    "Explanation",
    "PipelinePlan",
    "Placement",
    "Profile",
    "check",
    "compile_plan",
    "defer",
    "explain",
    "fuse",
    "optimize",
    "place",
    "share",
]
