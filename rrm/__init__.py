"""The reasoning reward model: candidates in, outcome out."""

__version__ = "0.1.0"
DISTRIBUTION = "closecall"
"""marks this package as ours; `serving.import_check` looks for it"""
