"""Errors cross from a worker process to the one that shows them."""

import pickle

import pytest

from hf_mner_aug.exceptions import EndpointError, UnknownName, UsageError


@pytest.mark.parametrize(
    "error", [UsageError("no"), UnknownName("method", "edda", {"eda": 1, "lsms": 2}), EndpointError("no", "wrong_key")]
)
def test_an_error_is_the_same_after_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.reason) == (type(error), str(error), error.reason)
