"""The reasoning reward model: candidates in, outcome out."""

DISTRIBUTION = "closecall"
"""marks this package as ours; `serving.origin` looks for it"""
