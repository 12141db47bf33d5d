"""What needs PyTorch in the client: custom losses, and sparse tensors that the SDK makes itself."""

from __future__ import annotations

import numpy as np
import torch
from basics import *  # noqa: F403

from .methods_tour import drive_async

TOKENS = some_tokens(14, 11)


@case("C40")
def custom_loss_squares() -> None:
    data = [weighted(TOKENS)]

    def squares(_data, logprobs):
        return sum((each**2).sum() for each in logprobs), {"mine:mean": 3.0}

    training = lora()
    before = logprobs_of(training, data)[0].astype(np.float64)
    output = done(training.forward_backward_custom([datum(TOKENS)], squares))
    if version() >= (0, 30):  # older SDKs leave the server's own value there
        near(loss_of(output), np.sum(before**2), 1e-2)
    assert output.metrics["mine:mean"] == 3.0, output.metrics
    # The SDK sends cross entropy weighted by minus the gradient: its own loss is sum(lp * d) with d = 2 lp.
    if version() >= (0, 30):
        near(output.metrics["surrogate_loss:sum"], np.sum(2 * before**2), 1e-2)
    done(training.optim_step(adam(1e-2)))
    by_hand = lora()
    step(by_hand, [datum(TOKENS, weights=-2 * before)], adam(1e-2))
    near(logprobs_of(training, data)[0], logprobs_of(by_hand, data)[0], 1e-3)


@case("C40-async")
def custom_loss_async() -> None:
    """The same numbers from the `_async` form."""

    def squares(_data, logprobs):
        return sum((each**2).sum() for each in logprobs), {}

    def tour():
        training = lora()
        wanted = yield training, "forward", [weighted(TOKENS)], "cross_entropy"
        output = yield training, "forward_backward_custom", [datum(TOKENS)], squares
        near(lp(output)[0], lp(wanted)[0], 1e-5)

    drive_async(tour())


@case("C40-traced")
def custom_loss_traced() -> None:
    """A loss that the SDK traces. The server does not take its graph, so the SDK runs it itself."""
    service = client()

    def squares(logprobs):
        loss = (logprobs**2).sum()
        return loss, {"custom/squares:sum": loss}

    handle = done(service.create_custom_loss(squares, {"logprobs": 1}))
    training = lora(service)
    before = logprobs_of(training, [weighted(TOKENS)])[0].astype(np.float64)
    output = done(training.forward_backward_custom([datum(TOKENS)], handle))
    near(loss_of(output), np.sum(before**2), 1e-2)
    near(output.metrics["custom/squares:sum"], np.sum(before**2), 1e-2)


@case("C40-fd")
def custom_loss_falls_as_its_gradient_says() -> None:
    """A finite difference over the wire: Adam's first step moves each weight by lr against the gradient's sign."""
    data = [datum(TOKENS)]

    def squares(_data, logprobs):
        return sum((each**2).sum() for each in logprobs), {}

    values = []
    for learning_rate in (0.0, 5e-5, 1e-4):
        training = lora()
        done(training.forward_backward_custom(data, squares))
        done(training.optim_step(adam(learning_rate)))
        values.append(float(np.sum(logprobs_of(training, [weighted(TOKENS)])[0].astype(np.float64) ** 2)))
    assert values[0] > values[1] > values[2], values
    near((values[0] - values[2]) / (values[0] - values[1]), 2.0, 0.1)


@case("C39-torch")
def sparse_targets_made_by_the_sdk() -> None:
    rows, columns = 12, 16
    inputs = some_tokens(rows, 3)
    targets, weights = torch.zeros(rows, columns, dtype=torch.int64), torch.zeros(rows, columns)
    for row in range(rows):
        targets[row, row % columns] = 20 + row
        weights[row, row % columns] = 0.5 + row
    tensors = {"target_tokens": targets, "weights": weights}
    sparse = types.Datum(model_input=text(inputs), loss_fn_inputs=tensors)
    assert sparse.loss_fn_inputs["target_tokens"].sparse_crow_indices is not None
    dense = types.Datum(
        model_input=text(inputs),
        loss_fn_inputs={name: tensor(t.numpy(), str(t.numpy().dtype)) for name, t in tensors.items()},
    )
    got, wanted = forward_backward(lora(), [sparse]), forward_backward(lora(), [dense])
    near(loss_of(got), loss_of(wanted), 1e-3)
    listed = weights.numpy() != 0
    near(got.loss_fn_outputs[0]["logprobs"].to_numpy()[listed], lp(wanted)[0][listed], 1e-4)


@case("C99")
def custom_loss_that_fails() -> None:
    """The function of the user fails in the client; the model's neighbours, and its next client, work."""
    service = client()
    training = lora(service)
    path = done(training.save_state("a")).path

    def broken(_data, _logprobs):
        raise KeyError("mine")

    try:
        done(training.forward_backward_custom([datum(TOKENS)], broken))
    except KeyError as error:
        assert "mine" in str(error), error
    else:
        raise AssertionError("the error of the function was lost")
    resumed = done(service.create_training_client_from_state(path))
    assert loss_of(step(resumed, [weighted(TOKENS)])) > 0
