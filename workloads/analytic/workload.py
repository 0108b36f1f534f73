"""quadratic, quadratic_100, rosenbrock and rosenbrock_100: functions without data."""

from __future__ import annotations

from workloads.analytic.task import QuadraticForm, RosenbrockFunction


class Quadratic(QuadraticForm):
    """(x^2 + 100 y^2) / 2: gradient descent needs steps in proportion to 100, Newton one."""

    name = "quadratic"
    summary = "quadratic function of 2 variables with condition number 100"
    suites = ("classic",)
    validation_target_value = 1e-8
    target_remark = "minimum 0"
    budget_steps = step_hint = 2000
    eval_period_steps = 20
    dimension = 2


class Quadratic100(QuadraticForm):
    """The same in 100 dimensions, rotated."""

    name = "quadratic_100"
    summary = "quadratic function of 100 variables with condition number 100"
    suites = ("classic",)
    validation_target_value = 1e-8
    target_remark = "minimum 0"
    budget_steps = step_hint = 2000
    eval_period_steps = 20
    dimension = 100


class Rosenbrock(RosenbrockFunction):
    """(1 - x)^2 + 100 (y - x^2)^2 (Rosenbrock 1960): a curved valley that is hard to follow."""

    name = "rosenbrock"
    summary = "Rosenbrock's function of 2 variables"
    suites = ("classic",)
    validation_target_value = 1e-6
    target_remark = "minimum 0"
    budget_steps = step_hint = 5000
    eval_period_steps = 50
    dimension = 2


class Rosenbrock100(RosenbrockFunction):
    """The chain of 100 variables; it has a local minimum of about 4 near (-1, 1, ..., 1)."""

    name = "rosenbrock_100"
    summary = "Rosenbrock's function as a chain of 100 variables"
    suites = ("classic",)
    validation_target_value = 1e-6
    target_remark = "minimum 0"
    budget_steps = step_hint = 10000
    eval_period_steps = 100
    dimension = 100
