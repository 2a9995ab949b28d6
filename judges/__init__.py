"""The ways of asking: one style a file, and how a pair is judged."""

DISTRIBUTION = "closecall"
"""marks this package as ours: another project on PyPI installs a `judges`"""
