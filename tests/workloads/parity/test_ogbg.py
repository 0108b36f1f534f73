"""ogbg's metric against a literal version of AlgoPerf's rule, with scikit-learn's precision."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from workloads.ogbg.metrics import mean_average_precision, official_mean_average_precision

TABLES = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=3, max_size=3), min_size=1, max_size=12
)


def official(scores, labels):
    """The mean over tasks; `labels` [N, T] are NaN where they are missing."""
    filled = np.nan_to_num(labels)
    found = []
    for task in range(labels.shape[1]):
        if (filled[:, task] == 1).any() and (filled[:, task] == 0).any():
            there = ~np.isnan(labels[:, task])
            found.append(average_precision_score(filled[there, task], scores[there, task]))
    return np.mean(found) if found else np.nan


@pytest.mark.filterwarnings("ignore:No negative class found")
@given(TABLES, st.integers(0, 5))
def test_a_missing_label_counts_as_a_negative_where_classes_are_looked_for(table, seed):
    labels = np.array(table)
    scores = np.random.default_rng(seed).random(labels.shape).round(1)
    valid = ~np.isnan(labels)
    arguments = torch.tensor(scores), torch.tensor(labels == 1), torch.tensor(valid)
    expected = official(scores, labels)
    np.testing.assert_allclose(official_mean_average_precision(*arguments), expected, rtol=1e-12)


def test_a_task_of_positive_and_missing_labels_has_precision_one():
    labels = torch.tensor([[1, 1], [1, 0], [0, 0]], dtype=torch.bool)
    valid = torch.tensor([[1, 1], [1, 1], [0, 1]], dtype=torch.bool)
    scores = torch.tensor([[0.1, 0.2], [0.3, 0.9], [0.5, 0.1]])
    assert mean_average_precision(scores, labels, valid) == pytest.approx(0.5)
    assert official_mean_average_precision(scores, labels, valid) == pytest.approx(0.75)
    scores[0, 0] = torch.nan
    assert np.isnan(official_mean_average_precision(scores, labels, valid))
