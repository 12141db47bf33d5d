"""What cases share: clients, datums, the registry of cases, and assertions whose messages carry the numbers.

Written for every SDK from 0.3.0 on: methods that came later are called only by cases that the matrix restricts.
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import tinker  # noqa: E402
from tinker import types  # noqa: E402
from wire import Wire  # noqa: E402

SERVER = os.environ["TINKER_BASE_URL"]
MODEL = os.environ["CONFORMANCE_MODEL"]
KEY = os.environ["TINKER_API_KEY"]
OTHER_KEY = os.environ["CONFORMANCE_OTHER_KEY"]
STATE_DIR = pathlib.Path(os.environ["CONFORMANCE_STATE_DIR"])
#: For programs that cases start: other cases change the variables of this process while they run.
OWN_ENVIRONMENT = dict(os.environ)
WAIT = 60.0
CONTEXT = 512
VOCABULARY = 512

CASES: dict[str, Callable[[], None]] = {}
WAITING: set[str] = set()


def case(identity: str, *, waits: bool = False) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a case under its id. One that mostly waits runs beside the others."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        assert identity not in CASES, f"two cases are called {identity}"
        CASES[identity] = function
        if waits:
            WAITING.add(identity)
        return function

    return register


def version() -> tuple[int, ...]:
    return tuple(int(part) for part in tinker.__version__.split("."))


def done(value, seconds: float = WAIT):
    """The value of a future; a plain value as it is (older SDKs return clients, newer ones futures of clients)."""
    return value.result(seconds) if hasattr(value, "result") else value


# --- Clients ---------------------------------------------------------------------------------------------------------


def client(key: str | None = None, **options) -> tinker.ServiceClient:
    """A service client, of another tenant if a key is given (in the environment too: old SDKs look only there)."""
    if key is None:
        return tinker.ServiceClient(**options)
    os.environ["TINKER_API_KEY"] = key
    try:
        return tinker.ServiceClient(api_key=key, **options)
    finally:
        os.environ["TINKER_API_KEY"] = KEY


@contextmanager
def watched(**wire_options) -> Iterator[tuple[Wire, tinker.ServiceClient]]:
    """A client that speaks to the server through a recording proxy."""
    with Wire(SERVER, **wire_options) as wire:
        yield wire, client(base_url=wire.url)


def config(**flags) -> dict:
    """Wire option: these flags in the answer of client/config."""
    return {"alter": {"client/config": lambda answer: answer | flags}}


def lora(service: tinker.ServiceClient | None = None, *, rank: int = 8, seed: int = 1, base_model: str = MODEL, **more):
    service = service or client()
    return done(service.create_lora_training_client(base_model=base_model, rank=rank, seed=seed, **more))


def base_sampler(service: tinker.ServiceClient | None = None):
    return done((service or client()).create_sampling_client(base_model=MODEL))


def sampler_of(training):
    return done(training.save_weights_and_get_sampling_client())


def post(name: str, body: dict | bytes, headers: dict[str, str] | None = None) -> tuple[int, dict]:
    """A request past the SDK, for what a client can only do by accident: resend, or speak after its session's end."""
    server = urlsplit(SERVER)
    connection = http.client.HTTPConnection(server.hostname, server.port, timeout=WAIT)
    try:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = headers or {"X-API-Key": KEY, "Content-Type": "application/json"}
        connection.request("POST", f"/api/v1/{name}", payload, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


# --- Training --------------------------------------------------------------------------------------------------------


def tensor(values, dtype: str = "float32") -> types.TensorData:
    return types.TensorData.from_numpy(np.asarray(values, dtype=np.dtype(dtype)))


def text(tokens) -> types.ModelInput:
    return types.ModelInput.from_ints([int(token) for token in tokens])


def some_tokens(count: int, seed: int = 0) -> list[int]:
    """Ordinary tokens (no special ones), always the same for a seed."""
    return np.random.default_rng(seed).integers(16, VOCABULARY, count).tolist()


def datum(tokens, **inputs) -> types.Datum:
    """Next-token prediction over `tokens`; inputs (weights, logprobs, advantages) have len(tokens) - 1 numbers."""
    tensors = {name: tensor(values) for name, values in inputs.items()}
    return types.Datum(
        model_input=text(tokens[:-1]), loss_fn_inputs={"target_tokens": tensor(tokens[1:], "int64"), **tensors}
    )


def weighted(tokens, weight: float = 1.0) -> types.Datum:
    return datum(tokens, weights=np.full(len(tokens) - 1, weight))


def policy_datum(tokens, logprobs, advantages) -> types.Datum:
    return datum(tokens, logprobs=logprobs, advantages=advantages)


def adam(learning_rate: float = 1e-3, **more) -> types.AdamParams:
    return types.AdamParams(learning_rate=learning_rate, **more)


def forward_backward(training, data, loss: str = "cross_entropy", loss_config: dict | None = None):
    return done(training.forward_backward(data, loss, loss_config))


def step(training, data, params: types.AdamParams | None = None, loss: str = "cross_entropy", loss_config=None):
    """forward_backward and optim_step, queued together as scripts do."""
    output = training.forward_backward(data, loss, loss_config)
    stepped = training.optim_step(params or adam())
    result = done(output)
    done(stepped)
    return result


def logprobs_of(training, data) -> list[np.ndarray]:
    """Log-probabilities of the targets under the present weights."""
    return lp(done(training.forward(data, "cross_entropy")))


def lp(output) -> list[np.ndarray]:
    return [each["logprobs"].to_numpy() for each in output.loss_fn_outputs]


def loss_of(output) -> float:
    return output.metrics["loss:sum"]


# --- Sampling --------------------------------------------------------------------------------------------------------


def sample(sampler, prompt, *, n: int = 1, max_tokens: int = 8, temperature: float = 0.0, stop=(), seed=None, **params):
    """`stop=()`, like an absent stop, ends at the model's own end tokens; `[]` never ends."""
    if stop != ():
        params["stop"] = stop
    params = types.SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=seed, **params)
    return done(sampler.sample(prompt=text(prompt), num_samples=n, sampling_params=params))


# --- Assertions ------------------------------------------------------------------------------------------------------


def near(got, wanted, tolerance: float = 1e-4) -> None:
    got, wanted = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    assert got.shape == wanted.shape, f"shape {got.shape}, expected {wanted.shape}"
    worst = np.max(np.abs(got - wanted), initial=0.0)
    assert worst <= tolerance, (
        f"off by {worst:.3g} (allowed {tolerance:g}): got {got.ravel()[:6]}, expected {wanted.ravel()[:6]}"
    )


def differ(one, other, at_least: float = 1e-3) -> None:
    distance = np.max(np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)))
    assert distance >= at_least, f"nothing changed: largest difference {distance:.3g}, expected at least {at_least:g}"


def refused(call: Callable[[], object], *words: str, within: float = 15.0) -> str:
    """`call` must fail at once, as the caller's mistake, with a message that names each of `words`."""
    started = time.monotonic()
    try:
        call()
    except tinker.RequestFailedError as error:
        category = getattr(error.category, "value", error.category)
        assert str(category).lower().endswith("user"), f"category {category!r}: {error}"
        message = str(error)
    except tinker.APIStatusError as error:
        assert 400 <= error.status_code < 500, f"status {error.status_code}: {error}"
        message = str(error)
    except ValueError as error:  # what the SDK makes of a 4xx on a poll
        message = str(error)
    else:
        raise AssertionError(f"was accepted; expected an error that names {', '.join(words)}")
    seconds = time.monotonic() - started
    assert seconds < within, f"the refusal took {seconds:.1f} s"
    for word in words:
        assert word.lower() in message.lower(), f"the message does not name {word!r}: {message}"
    return message
