"""Writes metrics.json: what the metrics of twinkle-kit 0.5.1 say of a few made-up passes, and Python's way of writing numbers.

The package needs neither its dependencies nor a GPU here: what it imports for hubs and data sets has stand-ins.

    pip download --no-deps --dest twinkle-kit twinkle-kit==0.5.1 && (cd twinkle-kit && unzip -q *.whl)
    PYTHONPATH=twinkle-kit $(node scripts/python-env.mjs sdk-0.38.0-torch) src/catalogue/metrics/goldens/metrics.py
"""

import importlib
import json
import pathlib
import sys
import unittest.mock

import torch


def stand_in(name, folder=None):
    """A package whose modules are found in its folder, but whose own imports are not made."""
    module = unittest.mock.MagicMock(__path__=[str(folder)] if folder else [], __spec__=None)
    sys.modules[name] = module


TWINKLE = next(pathlib.Path(folder) / "twinkle" for folder in sys.path if (pathlib.Path(folder) / "twinkle" / "metric").exists())
stand_in("twinkle", TWINKLE)
stand_in("twinkle.utils", TWINKLE / "utils")
stand_in("twinkle.data_format")
metrics = importlib.import_module("twinkle.metric")

HERE = pathlib.Path(__file__).parent
torch.manual_seed(7)


def numbers(*shape, low=0.0, high=1.0):
    """float32 values with few digits: what is written to JSON is what was computed with."""
    return (low + (high - low) * torch.rand(*shape)).mul(256).round().div(256)


def of_pass(rows, length):
    mask = (torch.rand(rows, length) > 0.3).float()
    mask[:, 1] = 1
    logps = -numbers(rows, length, high=3)
    return {
        "labels": torch.where(mask > 0, torch.ones(rows, length, dtype=torch.long), torch.full((rows, length), -100)),
        "mask": mask,
        "logps": logps,
        "logprobs": logps + numbers(rows, length, low=-0.5, high=0.5),
        "ref_logps": logps + numbers(rows, length, low=-1, high=1),
        "advantages": numbers(rows, 1, low=-1, high=1).expand(rows, length) * mask,
        "entropies": numbers(rows, length, high=2),
        "values": numbers(rows, length, low=-1, high=1),
        "old_values": numbers(rows, length, low=-1, high=1),
        "returns": numbers(rows, length, low=-1, high=2),
    }


def ragged(given, name):
    """As clients send it: a list for each row, over the labels that count."""
    return [row[mask > 0].tolist() for row, mask in zip(given[name], given["mask"])]


def accumulate(metric, given):
    outputs = {key: given[key] for key in ("logps", "entropies", "values")}
    rows = {"old_logps": "logprobs", "advantages": "advantages", "old_values": "old_values", "returns": "returns"}
    kwargs = {key: ragged(given, name) for key, name in rows.items()}
    metric.accumulate({"labels": given["labels"]}, outputs, ref_outputs={"logps": given["ref_logps"]}, **kwargs)


PASSES = [of_pass(4, 6), of_pass(2, 9)]
CASES = [
    ("GRPOMetric", {}),
    ("GRPOMetric", {"epsilon": 0.1, "epsilon_high": 0.3, "temperature": 0.5}),
    ("PPOMetric", {}),
    ("GSPOMetric", {"epsilon": 0.02}),
    ("CISPOMetric", {"epsilon": 0.1}),
    ("PPOValueMetric", {}),
    ("DPOMetric", {}),
    ("DPOMetric", {"beta": 0.5}),
]
cases = []
for name, kwargs in CASES:
    metric = getattr(metrics, name)(device_mesh=None, process_group=None, **kwargs)
    for given in PASSES:
        accumulate(metric, given)
    cases.append({"name": name, "kwargs": kwargs, "result": metric.calculate()})

embeddings = torch.nn.functional.normalize(numbers(6, 4, low=-1, high=1), dim=-1)
anchors = torch.tensor([1, 0, 1, 0, 1, 0])
metric = metrics.EmbeddingMetric(device_mesh=None, process_group=None)
metric.accumulate({"labels": anchors}, {"embeddings": embeddings, "loss": 0.75}, grad_norm=0.125)
embedding = {"vectors": embeddings.tolist(), "anchors": anchors.tolist(), "loss": 0.75, "result": metric.calculate()}

WRITTEN = [0.125, 0.375, 2.5, 3.5, 0.5, 1.5, -0.125, -0.0, 1e-5, 2.0**-11, 1e-4, 123456.789, 9.9999995, 1e22, 1 / 3, 5e-324]
written = [{"value": x, ".4f": f"{x:.4f}", ".2f": f"{x:.2f}", ".0f": f"{x:.0f}", ".6f": f"{x:.6f}", ".6e": f"{x:.6e}"} for x in WRITTEN]

(HERE / "metrics.json").write_text(
    json.dumps(
        {
            "passes": [{key: value.tolist() for key, value in given.items()} for given in PASSES],
            "cases": cases,
            "embedding": embedding,
            "written": written,
        }
    )
    + "\n"
)
