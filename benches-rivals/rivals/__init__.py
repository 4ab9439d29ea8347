"""What runs inside a rival's own environment: one module per loader and scenario, and the meter they share.

Nothing here imports from `harness`: the two halves meet only in the JSON they exchange.
"""
