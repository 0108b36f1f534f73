"""Chronograd from Python: results as tables, and leaderboards. Imports `scoring`.

    import chronograd

    results = chronograd.read("results/demo")
    results.trials()          # a row per trial, with hyperparameters: a pyarrow.Table
    results.evaluations()     # a row per evaluation
    board = chronograd.score(results)
    board                     # in a notebook: ranks, scores and times
    board.to_pandas()
    board.plot_profiles()

Names and arguments here are stable. The functions are those of the command line: `chronograd score
DIR` is `chronograd.score(chronograd.read(DIR))`.
"""

from chronograd.board import Board, FixedStepBoard, score
from chronograd.results import Results, read
from scoring.records import UserError

__all__ = ["Board", "FixedStepBoard", "Results", "UserError", "read", "score"]
