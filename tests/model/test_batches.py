"""Whatever holds batches comes out as `Batch`."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from onesigma._errors import BatchError
from onesigma.model.batches import Batch, first_batch, iterate_batches

X, Y = torch.zeros(6, 2), torch.zeros(6, dtype=torch.long)


@pytest.mark.parametrize(
    ("batches", "num_args", "keywords", "has_targets"),
    [
        (X, 1, [], False),
        ((X,), 1, [], False),
        ((X, Y), 1, [], True),
        (((X, X), Y), 2, [], True),
        (([X, X], Y), 2, [], True),
        ((X, X, Y), 2, [], True),
        ({"a": X, "labels": Y}, 0, ["a", "labels"], False),
        (({"a": X}, Y), 0, ["a"], True),
        (np.zeros((6, 2)), 1, [], False),
        ((np.zeros((6, 2), np.float32), np.zeros(6, np.int64)), 1, [], True),
        ([(X, Y), (X, Y)], 1, [], True),
        ([[X, Y]], 1, [], True),
        (DataLoader(TensorDataset(X, Y), batch_size=6), 1, [], True),
        ((pair for pair in [(X, Y)]), 1, [], True),
        (iter([{"a": X}]), 0, ["a"], False),
        (Batch(args=(X,), num_samples=6), 1, [], False),
    ],
)
def test_every_form_is_read(batches, num_args, keywords, has_targets):
    batch = first_batch(batches)
    assert (len(batch.args), list(batch.kwargs), batch.targets is not None) == (num_args, keywords, has_targets)
    assert batch.num_samples == 6


def test_a_tuple_is_inputs_with_targets_and_a_list_is_two_batches():
    assert len(list(iterate_batches((X, X)))) == 1
    assert len(list(iterate_batches([X, X]))) == 2


def test_an_iterator_is_not_read_further_than_asked():
    source = iter([X, X, X])
    first_batch(source)
    assert len(list(source)) == 2


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "empty"),
        (iter(()), "empty"),
        ("train.csv", "str 'train.csv'"),
        (["a", "b"], "encode text"),
        (3, "int 3"),
        (torch.zeros(0, 2), "no rows"),
        ((X, torch.zeros(5)), "6 rows and targets 5"),
        (np.array(["a", "b"]), "holds no numbers"),
        (TensorDataset(X, Y), "DataLoader"),
    ],
)
def test_what_cannot_be_fed_is_refused_in_one_clear_sentence(batches, words):
    with pytest.raises(BatchError, match=words):
        list(iterate_batches(batches))


def test_time_major_inputs_count_their_samples_by_the_targets():
    assert first_batch((torch.zeros(7, 6, 2), Y)).num_samples == 6
    assert first_batch((torch.zeros(6, 7), torch.zeros(42))).num_samples == 6


def test_a_table_of_doubles_is_meant_for_a_model_of_floats():
    assert first_batch(np.zeros((6, 2))).args[0].dtype == torch.float32
    assert first_batch(np.zeros((6, 2), np.int32)).args[0].dtype == torch.int32


def test_the_users_own_tensors_cannot_be_written_through_a_batch():
    batch = first_batch((X, Y)).owned_by(nn.Linear(2, 2))
    batch.args[0].add_(1)
    assert torch.equal(X, torch.zeros(6, 2))


def test_inputs_that_ask_for_gradients_still_do():
    x = X.clone().requires_grad_()
    copy = first_batch(x).owned_by(nn.Linear(2, 2)).args[0]
    assert copy.requires_grad
    assert copy.is_leaf


def test_batches_move_to_the_device_of_the_model():
    assert first_batch(X).owned_by(nn.Linear(2, 2, device="meta")).args[0].device.type == "meta"
    assert first_batch(X).owned_by(nn.ReLU()).args[0].device.type == "cpu"
