"""Chronograd from Python: trials, tables of results, leaderboards. Imports `scoring`, `harness`.

    import chronograd

    chronograd.run(torch.optim.AdamW, "digits", hparams={"lr": 1e-3})
    chronograd.sweep(["nadamw", "adamw"], suite="demo", ruleset="demo", out="results/demo")
    results = chronograd.read("results/demo")
    results.trials()          # a row per trial, with hyperparameters: a pyarrow.Table
    results.evaluations()     # a row per evaluation
    board = chronograd.score(results)
    board                     # in a notebook: ranks, scores and times
    board.to_pandas()
    board.plot_profiles()

Names and arguments here are stable. The functions are those of the command line: `chronograd score
DIR` is `chronograd.score(chronograd.read(DIR))`. `run` and `sweep` need what
`pip install 'chronograd[run]'` installs; everything else needs neither PyTorch nor Ray.
"""

from chronograd.board import Board, FixedStepBoard, score
from chronograd.results import Results, read
from chronograd.trials import run, sweep
from scoring.records import UserError

__all__ = ["Board", "FixedStepBoard", "Results", "UserError", "read", "run", "score", "sweep"]
