"""Putting derivations into jobs: what they cost, what is cut, joined or repeated, and how long it all takes."""

from pipelinegen.plan.packing.costs import Costs
from pipelinegen.plan.packing.pack import Group, pack

__all__ = ["Costs", "Group", "pack"]
