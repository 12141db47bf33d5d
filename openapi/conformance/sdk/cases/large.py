"""A result that is so large that it is announced before it is fetched."""

from __future__ import annotations

import json

import numpy as np

from basics import *  # noqa: F403


@case("C73")
def large_result() -> None:
    """Hundreds of thousands of numbers: first their size, so that the client makes room, then they themselves, each once."""
    rows, width = CONTEXT, 128
    tokens = some_tokens(rows, 73)
    targets = tensor(np.random.default_rng(73).integers(16, VOCABULARY, (rows, width)), "int64")
    inputs = {"target_tokens": targets, "weights": tensor(np.full((rows, width), 1 / width))}
    data = [types.Datum(model_input=text(tokens), loss_fn_inputs=inputs) for _ in range(8)]
    with watched() as (wire, service):
        training = lora(service)
        output = done(training.forward(data, "cross_entropy"), 300)
        assert [each.shape for each in lp(output)] == [(rows, width)] * 8
        answers = [exchange.answer for exchange in wire.of("retrieve_future") if exchange.status == 200]
        announced = [i for i, answer in enumerate(answers) if b"complete_metadata" in answer[:200]]
        assert len(announced) == 1, len(announced)
        size = json.loads(answers[announced[0]])["response_payload_size"]
        assert size > 2**20 and [len(answer) for answer in answers].count(size) == 1, size
