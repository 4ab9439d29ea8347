"""The measuring side: starts every rival in its own environment, watches it from outside, writes the record.

Standard library only, so that it runs on any Python >= 3.10 without an environment of its own.
"""
