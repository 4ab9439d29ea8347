"""The questions: each module turns the command line's options into a `Scenario`."""

from harness.scenarios import accuracy, overhead, pictures, starve, tabular

SCENARIOS = {
    "pictures": pictures,
    "tabular": tabular,
    "overhead": overhead,
    "starve": starve,
    "accuracy": accuracy,
}
