"""Each loss against its formula, and its gradient against a loss whose gradient is known."""

from __future__ import annotations

import numpy as np
from basics import *  # noqa: F403

TOKENS = some_tokens(14, 11)
ADVANTAGES = np.array([0, 0, 0, 1, -1, 0.5, 2, -0.5, 1, 1, -2, 0.25, 1], dtype=np.float32)


def on_policy(training) -> np.ndarray:
    return logprobs_of(training, [weighted(TOKENS)])[0].astype(np.float64)


def loss_at_ratio(
    loss: str, ratio: float, advantages: np.ndarray, loss_config: dict | None = None
) -> tuple[float, np.ndarray]:
    """The loss where exp(lp - logprobs) is `ratio` at every token, and the log-probabilities."""
    training = lora()
    now = on_policy(training)
    output = forward_backward(training, [policy_datum(TOKENS, now - np.log(ratio), advantages)], loss, loss_config)
    return loss_of(output), lp(output)[0].astype(np.float64)


def after_one_step(data, loss: str, loss_config: dict | None = None) -> np.ndarray:
    training = lora()
    step(training, data, adam(1e-2), loss, loss_config)
    return on_policy(training)


@case("C32")
def importance_sampling() -> None:
    value, logprobs = loss_at_ratio("importance_sampling", 1.0, ADVANTAGES)
    near(value, -ADVANTAGES.sum(), 1e-3)
    value, _ = loss_at_ratio("importance_sampling", 1.5, ADVANTAGES)
    near(value, -1.5 * ADVANTAGES.sum(), 1e-3)
    # On policy the gradient is -A * dlp: the same step as cross entropy weighted by A.
    near(
        after_one_step([policy_datum(TOKENS, logprobs, ADVANTAGES)], "importance_sampling"),
        after_one_step([datum(TOKENS, weights=ADVANTAGES)], "cross_entropy"),
        5e-3,
    )


@case("C33")
def ppo_clips() -> None:
    ones = np.ones_like(ADVANTAGES)
    value, logprobs = loss_at_ratio("ppo", 1.5, ones)
    near(value, -1.2 * len(ones), 1e-3)
    value, _ = loss_at_ratio("ppo", 0.5, -ones)
    near(value, 0.8 * len(ones), 1e-3)
    for ratio, sign in ((1.5, 1), (0.5, -1)):
        clipped = policy_datum(TOKENS, logprobs - np.log(ratio), sign * ones)
        near(after_one_step([clipped], "ppo"), logprobs, 1e-5)
    unclipped = policy_datum(TOKENS, logprobs - np.log(0.5), ones)
    differ(after_one_step([unclipped], "ppo"), logprobs)


@case("C34")
def ppo_with_thresholds() -> None:
    ones = np.ones_like(ADVANTAGES)
    limits = {"clip_low_threshold": 0.9, "clip_high_threshold": 1.1}
    value, _ = loss_at_ratio("ppo", 1.15, ones, limits)
    near(value, -1.1 * len(ones), 1e-3)
    value, _ = loss_at_ratio("ppo", 0.85, -ones, limits)
    near(value, 0.9 * len(ones), 1e-3)


@case("C35")
def cispo() -> None:
    for ratio, limits, clipped in (
        (2.0, None, 2.0),
        (5.0, None, 4.0),
        (2.0, {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}, 1.2),
        (0.5, {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}, 0.8),
    ):
        value, logprobs = loss_at_ratio("cispo", ratio, ADVANTAGES, limits)
        near(value, -np.sum(clipped * logprobs * ADVANTAGES), 5e-3)


@case("C36")
def dro() -> None:
    value, logprobs = loss_at_ratio("dro", 1.5, ADVANTAGES, {"beta": 0.05})
    near(value, -np.sum(logprobs * ADVANTAGES - 0.5 * 0.05 * np.log(1.5) ** 2), 5e-3)
    training = lora()
    data = [policy_datum(TOKENS, logprobs, ADVANTAGES)]
    refused(lambda: forward_backward(training, data, "dro"), "beta")


@case("C36-gspo")
def gspo() -> None:
    ones = np.ones_like(ADVANTAGES)
    training = lora()
    now = on_policy(training)
    # Tokens 2 and 1/2 times as likely in turn, the first one 1.1 times: only the sequence's mean ratio counts.
    shifts = np.log(2) * np.where(np.arange(len(now)) % 2, 1, -1)
    shifts[0] = np.log(1.1)
    s = np.exp(shifts.mean())
    output = forward_backward(training, [policy_datum(TOKENS, now - shifts, ones)], "gspo")
    near(loss_of(output), -s * len(ones), 1e-3)
    near(output.metrics["ratio_max:max"], s, 1e-4)
    near(output.metrics["clip_fraction:mean"], 0.0)
    near(output.metrics["kl_sample_train:mean"], -shifts.mean(), 1e-4)
    near(
        after_one_step([policy_datum(TOKENS, now - shifts, ADVANTAGES)], "gspo"),
        after_one_step([datum(TOKENS, weights=s * ADVANTAGES)], "cross_entropy"),
        5e-3,
    )
    # Masked to the first token, whose ratio is beyond the threshold: no token of the sequence has a gradient.
    mask = np.zeros_like(ADVANTAGES)
    mask[0] = 1
    clipped = datum(TOKENS, logprobs=now - shifts, advantages=ones, sequence_ratio_mask=mask)
    near(after_one_step([clipped], "gspo", {"clip_low_threshold": 0.95, "clip_high_threshold": 1.05}), now, 1e-5)
    differ(after_one_step([clipped], "gspo"), now)


@case("C38")
def config_of_cross_entropy() -> None:
    training = lora()
    refused(lambda: forward_backward(training, [weighted(TOKENS)], "cross_entropy", {"beta": 1.0}), "beta", "none")
    assert loss_of(forward_backward(training, [weighted(TOKENS)])) > 0


@case("C39")
def several_targets_per_position() -> None:
    rows, columns = 5, 3
    inputs = some_tokens(rows, 3)
    targets = np.random.default_rng(4).integers(16, VOCABULARY, (rows, columns))
    weights = np.random.default_rng(5).random((rows, columns)).astype(np.float32)
    soft = {"target_tokens": tensor(targets, "int64"), "weights": tensor(weights)}
    training = lora()
    output = forward_backward(training, [types.Datum(model_input=text(inputs), loss_fn_inputs=soft)])
    (logprobs,) = lp(output)
    assert logprobs.shape == (rows, columns), logprobs.shape
    near(loss_of(output), -np.sum(logprobs.astype(np.float64) * weights), 1e-3)
    for column in range(columns):
        one = {"target_tokens": tensor(targets[:, column], "int64"), "weights": tensor(weights[:, column])}
        alone = lp(forward_backward(lora(), [types.Datum(model_input=text(inputs), loss_fn_inputs=one)]))[0]
        near(logprobs[:, column], alone, 1e-4)


@case("C39-csr")
def several_targets_sparse() -> None:
    """CSR as the SDK puts it on the wire, without torch: the listed cells count, the rest are zeros."""
    rows, columns = 6, 8
    inputs = some_tokens(rows, 3)
    listed = [(0, 1), (0, 4), (2, 0), (5, 7)]
    ids, weights = some_tokens(len(listed), 8), [0.5, 0.25, 1.0, -0.5]
    crow = [sum(row < r for row, _ in listed) for r in range(rows + 1)]
    col = [column for _, column in listed]
    sparse = {"shape": [rows, columns], "sparse_crow_indices": crow, "sparse_col_indices": col}
    inputs_of = {
        "target_tokens": types.TensorData(data=ids, dtype="int64", **sparse),
        "weights": types.TensorData(data=weights, dtype="float32", **sparse),
    }
    output = forward_backward(lora(), [types.Datum(model_input=text(inputs), loss_fn_inputs=inputs_of)])
    result = output.loss_fn_outputs[0]["logprobs"]
    dense_ids, dense_weights = np.zeros((rows, columns), int), np.zeros((rows, columns), np.float32)
    for (row, column), identity, weight in zip(listed, ids, weights, strict=True):
        dense_ids[row, column], dense_weights[row, column] = identity, weight
    dense = {"target_tokens": tensor(dense_ids, "int64"), "weights": tensor(dense_weights)}
    wanted = forward_backward(lora(), [types.Datum(model_input=text(inputs), loss_fn_inputs=dense)])
    near(loss_of(output), loss_of(wanted), 1e-4)
    assert list(result.shape) == [rows, columns], result
    if getattr(result, "sparse_crow_indices", None) is None:
        near(result.to_numpy()[dense_weights != 0], lp(wanted)[0][dense_weights != 0], 1e-4)
    else:
        near(result.data, lp(wanted)[0][dense_weights != 0], 1e-4)
