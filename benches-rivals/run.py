#!/usr/bin/env python3
"""Measures data loaders against each other: `python benches-rivals/run.py SCENARIO --help`."""

import sys

from harness.cli import main

sys.exit(main())
