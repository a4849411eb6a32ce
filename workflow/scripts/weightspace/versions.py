"""The version of each stage, among the params of its rules and in its files.

Raise a stage's number when its results change, in the same commit as tests/golden.
"""

NUMBERS = {"images": 2, "zoo": 1, "autoencoder": 1, "evaluation": 2, "recovery": 5, "predictor": 5, "report": 2}
VERSION = {stage: f"{stage} {number}" for stage, number in NUMBERS.items()}
