"""The process of a job that runs a Python function: ``python -m zenith._job_process FOLDER``."""

import sys
from pathlib import Path

from ._run_function import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
