"""Makers of data sets, run in the torch environment because they need Pillow, scikit-image and pyarrow."""
