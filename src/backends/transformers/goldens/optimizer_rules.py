"""Writes optimizer-rules.json: what torch.optim.Adam and torch.optim.SGD make of the weights and gradients of optimizer.json, in
float64, with torch.nn.utils.clip_grad_norm_ where a case clips, and what clip_grad_norm_ leaves of gradients in float32.

    $(node scripts/python-env.mjs sdk-0.38.0-torch) src/backends/transformers/goldens/optimizer_rules.py
"""

import json
import pathlib

import torch

HERE = pathlib.Path(__file__).parent
GIVEN = json.loads((HERE / "optimizer.json").read_text())
ADAM = {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
SGD = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}
CASES = {
    "adam": ("adam", {}),
    "adam, weight decay": ("adam", {"weight_decay": 0.1}),
    "adam, clipped": ("adam", {"weight_decay": 0.05, "clip": 0.5}),
    "adam, other betas": ("adam", {"betas": [0.8, 0.95], "eps": 1e-12}),
    "adam, learning rates": ("adam", {"lrs": [1e-4, 1e-2, 0.0, 3e-3, 1e-2], "weight_decay": 0.05}),
    "sgd": ("sgd", {}),
    "sgd, momentum": ("sgd", {"momentum": 0.9}),
    "sgd, dampening": ("sgd", {"momentum": 0.9, "dampening": 0.3}),
    "sgd, Nesterov": ("sgd", {"momentum": 0.9, "nesterov": True}),
    "sgd, all": ("sgd", {"momentum": 0.7, "nesterov": True, "weight_decay": 0.1, "clip": 0.5, "lrs": [1e-3, 1e-2, 0.0, 0.1, 1e-2]}),
}
CLIPS = [[1, 1.0], [7, 0.5], [128, 1e9], [3, 0.0]]


def tensors(values, dtype=torch.float64):
    return {name: torch.tensor(value, dtype=dtype) for name, value in values.items()}


def run(rule, change):
    settings = {"lrs": [1e-2] * len(GIVEN["grads"]), "clip": 0.0, **(ADAM if rule == "adam" else SGD), **change}
    params = {name: value.requires_grad_() for name, value in tensors(GIVEN["initial"]).items()}
    own = {key: settings[key] for key in settings if key not in ("lrs", "clip")}
    optimizer = (torch.optim.Adam if rule == "adam" else torch.optim.SGD)(params.values(), lr=1.0, foreach=False, **own)
    steps = []
    for lr, grads in zip(settings["lrs"], GIVEN["grads"]):
        for name, grad in tensors(grads).items():
            params[name].grad = grad
        if settings["clip"] > 0:
            torch.nn.utils.clip_grad_norm_(params.values(), settings["clip"])
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        steps.append({name: value.tolist() for name, value in params.items()})
    spec = {"rule": rule, "weightDecay": settings["weight_decay"], "clipNorm": settings["clip"]}
    if rule == "adam":
        spec |= {"beta1": settings["betas"][0], "beta2": settings["betas"][1], "epsilon": settings["eps"]}
    else:
        spec |= {key: settings[key] for key in ("momentum", "dampening", "nesterov")}
    return {"spec": spec, "lrs": settings["lrs"], "steps": steps}


def clip(divisor, max_norm):
    params = {name: value.requires_grad_() for name, value in tensors(GIVEN["initial"], torch.float32).items()}
    for name, grad in tensors(GIVEN["grads"][0], torch.float32).items():
        params[name].grad = grad.div_(divisor)
    norm = torch.nn.utils.clip_grad_norm_(params.values(), max_norm)
    return {"divisor": divisor, "max_norm": max_norm, "norm": norm.item(), "grads": {name: value.grad.tolist() for name, value in params.items()}}


goldens = {
    "torch": torch.__version__,
    "cases": {name: run(rule, change) for name, (rule, change) in CASES.items()},
    "clips": [clip(*case) for case in CLIPS],
}
(HERE / "optimizer-rules.json").write_text(json.dumps(goldens) + "\n")
