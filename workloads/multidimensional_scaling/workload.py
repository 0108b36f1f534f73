"""multidimensional_scaling, from exact and from rounded distances."""

from __future__ import annotations

from workloads.multidimensional_scaling.task import Scaling


class ExactDistances(Scaling):
    """From exact distances: the minimum is 0."""

    name = "multidimensional_scaling"
    summary = "100 points in the plane from their distances"
    suites = ("classic",)
    validation_target_value = 1e-6
    target_remark = "minimum 0"
    minimum = 0.0


class RoundedDistances(Scaling):
    """From squared distances rounded to integers; the minimum is next to the true points.

    It was found by Levenberg and Marquardt's method from there, see tests/workloads/test_exact.py.
    """

    name = "multidimensional_scaling_rounded"
    summary = "100 points in the plane from distances rounded to integers"
    suites = ("classic",)
    validation_target_value = 1e-3
    target_remark = "minimum by Levenberg-Marquardt"
    minimum = 0.07970876479420268
    decimals = 0
