"""The compiler: check, share, defer, place and fuse, each a function from plan to plan that keeps its meaning."""

from stretto._compile.check import check
from stretto._compile.defer import defer
from stretto._compile.explain import Explanation, explain
from stretto._compile.fuse import fuse
from stretto._compile.optimize import optimize
from stretto._compile.place import Placement, Profile, place
from stretto._compile.share import share
from stretto._compile.whole import PipelinePlan, compile_plan

__all__ = [
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
