"""Serves a leaderboard's page while its sweep runs: one process, on this machine, read-only."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from typing import Any

from harness.progress.board import (
    describe_driver,
    describe_goal,
    describe_hours,
    describe_trials,
    describe_used,
)
from harness.progress.status import NOT_STARTED, UNDER_WAY, SweepStatus, read_status
from harness.sweep.preparation import read_preparation
from scoring.escaping import one_line
from scoring.fixed_step import make_board
from scoring.leaderboard import make_leaderboard
from scoring.reading.fixed_step import fixed_step_ruleset, read_runs
from scoring.reading.read import read
from scoring.records import UserError
from scoring.report import fixed_step_page
from scoring.report.page import About, render
from scoring.tree import EXPERIMENT_FILE

STATUS = "/status.json"
_PREPARING = -1  # the version of the page while a sweep is being prepared


class LivePage:
    """The current page of a results tree, or of a sweep that is being prepared.

    The page is scored and rendered again after a trial has ended. The running trials are read from
    the ledger at every call of `status`.

    Args:
        out: The results tree.
        title: Title of the page; "" for the default.

    Raises:
        UserError: `out` is not a results tree, and no sweep is being prepared there.
    """

    def __init__(self, out: Path, title: str = "") -> None:
        self._out, self._title = out, title
        self._sweep = None if _preparation(out) else read_status(out)
        self._lock = Lock()
        self._drawn: tuple[int, str] | None = None

    def status(self) -> dict[str, Any]:
        """Returns the sweep's status; its `version` changes when the page does."""
        with self._lock:
            sweep = self._read()
            if isinstance(sweep, str):
                return {"version": _PREPARING, "lines": [sweep], "running": []}
            lines = [describe_trials(sweep), describe_hours(sweep), describe_driver(sweep)]
            return {
                "version": _version(sweep),
                "lines": [*lines, *sweep.notices],
                "running": [_running(sweep, name) for name in sweep.running],
            }

    def page(self) -> str:
        """Returns the page, or one that explains why there is no leaderboard yet."""
        with self._lock:
            sweep = self._read()
            if isinstance(sweep, str):
                return _no_leaderboard(sweep)
            version = _version(sweep)
            if self._drawn is None or self._drawn[0] != version:
                self._drawn = version, self._draw(version)
            return self._drawn[1]

    def _read(self) -> SweepStatus | str:
        """Returns the sweep as it is now, or why there is none."""
        if self._sweep is None:
            if preparation := _preparation(self._out):
                return preparation
            try:
                self._sweep = read_status(self._out)
            except UserError as error:
                return str(error)
        self._sweep.refresh()
        return self._sweep

    def _draw(self, version: int) -> str:
        about = About(title=self._title, status=STATUS, version=str(version))
        try:
            if (ruleset := fixed_step_ruleset([self._out], None)) is not None:
                runs = read_runs([self._out], ruleset, given=False)
                return fixed_step_page.render(make_board(runs), about)
            return render(make_leaderboard(read([self._out])), about)
        except UserError as error:
            return _no_leaderboard(str(error))


def _preparation(out: Path) -> str:
    """Returns what is being prepared, if there is no plan of a sweep yet; else ""."""
    preparation = read_preparation(out)
    return str(preparation) if preparation and not (out / EXPERIMENT_FILE).is_file() else ""


def _version(sweep: SweepStatus) -> int:
    """Returns the number of trials that have ended."""
    return sum(t.state not in (NOT_STARTED, UNDER_WAY) for t in sweep.trials.values())


def _running(sweep: SweepStatus, name: str) -> dict[str, str]:
    """Describes a running trial: its name and its latest evaluation."""
    trial = sweep.trials[name]
    if trial.row is None:
        return {"trial": one_line(name), "latest": "starting"}
    goal = sweep.experiment.workloads[trial.workload].goal
    value = trial.row.metrics.get(f"validation/{goal.metric}", math.nan)
    used, budget = describe_used(sweep, trial, digits=1)
    latest = describe_goal(goal, goal.metric, value)
    return {
        "trial": one_line(name),
        "latest": f"step {trial.row.global_step:,}, {used} of {budget}: {latest}",
    }


def _no_leaderboard(why: str) -> str:
    """Returns a page that says why there is no leaderboard, and is loaded again after 5 s."""
    text = html.escape(one_line(why))
    return (
        '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>No leaderboard yet</title><h1>No leaderboard yet</h1><p>{text}</p>"
    )


def make_server(page: LivePage, host: str, port: int) -> ThreadingHTTPServer:
    """Returns a server of the page; `serve_forever` runs it.

    Args:
        page: The page, which is served at "/", and its status at STATUS.
        host: The address to listen on. On a loopback address, only requests to a loopback name are
            answered, so that pages of other sites cannot read this one through the browser.
        port: The port; 0 for any free port.

    Raises:
        UserError: The address cannot be used.
    """
    answers: dict[str, Callable[[], tuple[str, str]]] = {
        "/": lambda: ("text/html", page.page()),
        STATUS: lambda: ("application/json", json.dumps(page.status())),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if _is_loopback(host) and not _is_loopback(_name_of(self.headers.get("Host", ""))):
                self.send_error(HTTPStatus.FORBIDDEN, "use the name localhost")
            elif path not in answers:
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                kind, text = answers[path]()
                body = text.encode("utf-8", "backslashreplace")
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Does not print requests."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{host}:{port}: cannot listen ({why}); choose another --port") from None


def _name_of(host: str) -> str:
    """Returns the name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
