"""``python -m zenith.bench gpu``: what needs a GPU to be measured, in one command that needs the package and torch.

The benchmark program of the repository, ``zenith-bench``, measures what needs none. Nothing here is imported by the
rest of the package.
"""
