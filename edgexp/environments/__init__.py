"""Environments by name: those that come with edgexp, entry points of the group `edgexp.environments`, and `module:attribute`."""
