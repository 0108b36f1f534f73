"""AlgoPerf's scoring in plain loops, from its description: slow and obvious, and none of our code.

`rules` is a dict with the keys of a ruleset's TOML file. `trials` holds by (submission, workload,
study, trial) the evaluations, each (seconds, value, ...). None is what is not there, inf a miss.
"""

import itertools
import math
import statistics

import numpy as np

INF = math.inf


def first_hit(rules, workload, curve):
    """Index and seconds of the first evaluation that meets the target, None if none does."""
    goal = rules["workloads"][workload]
    for index, (seconds, value, *_) in enumerate(curve):
        if goal["direction"] == "min" and value <= goal["validation_target"]:
            return index, seconds
        if goal["direction"] == "max" and value >= goal["validation_target"]:
            return index, seconds
    return None


def counting_trial(rules, workload, curves, official, listing):
    """Of a study's curves by trial number: the number that counts and its seconds, or (None, inf).

    `listing` is the order in which the file system lists trials; others come after it.
    """
    found = []
    for number, curve in curves.items():
        hit = first_hit(rules, workload, curve)
        if hit is None:
            continue
        index, seconds = hit
        if official:
            place = listing.index(number) if number in listing else len(listing) + number
            found.append((index, place, number, seconds))
        elif seconds <= rules["workloads"][workload]["budget_seconds"]:
            found.append((seconds, number, number, seconds))
    if not found:
        return None, INF
    *_, number, seconds = min(found)
    return number, seconds


def study_table(rules, trials, submissions, official=False, listing=(5, 3, 1, 4, 2)):
    """By (submission, workload, study) the trial number that counts and its seconds.

    The written rules know the planned studies and trials and no others; the script takes whatever
    it finds, and what it does not find is not there.
    """
    curves = {}
    for (submission, workload, study, number), curve in trials.items():
        planned = study < rules["studies"] and 1 <= number <= rules["trials"]
        if official or planned:
            curves.setdefault((submission, workload, study), {})[number] = curve
    table = {}
    for submission in submissions:
        for workload in [*rules["scored"], *rules["held_out"]]:
            for study in range(rules["studies"]):
                if not official:
                    table[submission, workload, study] = (None, INF)
    for (submission, workload, study), of_study in curves.items():
        table[submission, workload, study] = counting_trial(
            rules, workload, of_study, official, listing
        )
    return table


def medians(rules, table, submissions):
    """By (submission, workload) the median over the studies that are there."""
    times = {}
    for submission in submissions:
        for workload in [*rules["scored"], *rules["held_out"]]:
            values = [t for (s, w, _), (_, t) in table.items() if (s, w) == (submission, workload)]
            times[submission, workload] = statistics.median(values) if values else None
    return times


def stages(rules, times, submissions):
    """The times after each rule, the best times on the way, and the ratios, as a dict of dicts."""
    workloads = [*rules["scored"], *rules["held_out"]]
    entered = {key: INF if seconds is None else seconds for key, seconds in times.items()}
    for submission in submissions:
        for variant, base in rules["held_out"].items():
            if entered[submission, base] == INF:
                entered[submission, variant] = INF
    best = {w: min(entered[s, w] for s in submissions) for w in workloads}
    capped = dict(entered)
    for (submission, workload), seconds in entered.items():
        if seconds > rules["r_max"] * best[workload]:
            capped[submission, workload] = INF
    final = {(s, w): capped[s, w] for s in submissions for w in rules["scored"]}
    for submission in submissions:
        for variant, base in rules["held_out"].items():
            if capped[submission, variant] == INF:
                final[submission, base] = INF
    fastest = {w: min(final[s, w] for s in submissions) for w in rules["scored"]}
    ratios = {}
    for (submission, workload), seconds in final.items():
        ratios[submission, workload] = INF if seconds == INF else seconds / fastest[workload]
    return {
        "entered": entered,
        "best": best,
        "capped": capped,
        "final": final,
        "fastest": fastest,
        "ratios": ratios,
    }


def profile(ratios, tau):
    """The share of workloads within tau of the fastest."""
    return sum(1 for ratio in ratios if ratio <= tau) / len(ratios)


def area(ratios, r_max, official):
    """The area under the profile, at most 1: by 100 trapezoid corners, or step by step."""
    if official:
        taus = np.linspace(1, r_max, 100)
        return float(np.trapezoid([profile(ratios, tau) for tau in taus], taus)) / (r_max - 1)
    corners = sorted({1.0, r_max, *(ratio for ratio in ratios if ratio <= r_max)})
    total = 0.0
    for left, right in itertools.pairwise(corners):
        total += profile(ratios, left) * (right - left)
    return total / (r_max - 1)


def scores_of_times(rules, times, submissions, official):
    """By submission the score that median times give."""
    ratios = stages(rules, times, submissions)["ratios"]
    return {
        s: area([ratios[s, w] for w in rules["scored"]], rules["r_max"], official)
        for s in submissions
    }


def scores(rules, trials, submissions, official=False):
    """By submission the score of a board."""
    table = study_table(rules, trials, submissions, official)
    return scores_of_times(rules, medians(rules, table, submissions), submissions, official)


def resampled_scores(rules, trials, submissions, official, draws):
    """The board's scores again for each of `draws`: by workload the numbers of the studies drawn.

    All submissions share a draw; a study that is not there stays away when it is drawn.
    """
    table = study_table(rules, trials, submissions, official)
    boards = []
    for drawn in draws:
        sample = {}
        for submission in submissions:
            for workload, studies in drawn.items():
                for place, study in enumerate(studies):
                    if (submission, workload, study) in table:
                        sample[submission, workload, place] = table[submission, workload, study]
        times = medians(rules, sample, submissions)
        boards.append(scores_of_times(rules, times, submissions, official))
    return boards
