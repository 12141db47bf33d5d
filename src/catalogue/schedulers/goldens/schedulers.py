"""Writes schedulers.json: the learning rate (and momentum, where it is moved) that torch.optim.lr_scheduler sets at each step.

Twinkle's two warm-ups are transformers' functions of LambdaLR; Megatron's is written out here from the documentation of its
optimizer_param_scheduler, as that package is not needed for anything else.

    $(node scripts/python-env.mjs sdk-0.38.0-torch) src/catalogue/schedulers/goldens/schedulers.py
"""

import json
import math
import pathlib

import torch
from torch.optim import lr_scheduler

HERE = pathlib.Path(__file__).parent
STEPS = 25
LOSSES = [5, 4, 4.2, 4.1, 3.9999, 4, 4, 3, 3, 3, 3, 3, 2.5, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6]

TORCH = [
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 3}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 10}),
    ("StepLR", {"step_size": 4}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [3, 7, 7, 20]}),
    ("MultiStepLR", {"milestones": [0, 5], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 12, "power": 2.5}),
    ("CosineAnnealingLR", {"T_max": 10}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"T_0": 6}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.001}),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 4}),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 4, "step_size_down": 2, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 5, "mode": "exp_range", "gamma": 0.95, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": STEPS}),
    ("OneCycleLR", {"max_lr": 0.1, "epochs": 5, "steps_per_epoch": 5, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": STEPS, "anneal_strategy": "linear", "pct_start": 0.5, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": STEPS, "pct_start": 0.0}),
    ("ReduceLROnPlateau", {"patience": 1}),
    ("ReduceLROnPlateau", {"patience": 2, "factor": 0.5, "cooldown": 2, "min_lr": 0.004, "threshold": 0.1, "threshold_mode": "abs"}),
    ("ReduceLROnPlateau", {"patience": 0, "factor": 0.5, "cooldown": 3}),
    ("ReduceLROnPlateau", {"patience": 3, "mode": "max", "eps": 1e-4}),
]
WARM_UPS = [
    ("CosineWarmupScheduler", {"num_warmup_steps": 5, "num_training_steps": 20}),
    ("CosineWarmupScheduler", {"num_warmup_steps": 0, "num_training_steps": 10, "num_cycles": 1.5}),
    ("LinearWarmupScheduler", {"num_warmup_steps": 5, "num_training_steps": 20}),
    ("LinearWarmupScheduler", {"num_warmup_steps": 0, "num_training_steps": 0}),
]
MEGATRON = [
    ("OptimizerParamScheduler", {"lr_decay_steps": 20}),
    ("default", {"lr_decay_steps": 20, "max_lr": 0.02, "lr_warmup_steps": 5, "init_lr": 0.001, "min_lr": 0.002}),
    ("default", {"lr_decay_steps": 20, "lr_warmup_steps": 4, "lr_decay_style": "linear"}),
    ("default", {"lr_decay_steps": 20, "lr_warmup_steps": 4, "lr_decay_style": "constant"}),
    ("default", {"lr_decay_steps": 20, "lr_warmup_steps": 4, "lr_decay_style": "inverse-square-root", "min_lr": 0.005}),
    *(
        ("default", {"lr_decay_steps": 20, "lr_warmup_steps": 4, "lr_decay_style": "WSD", "wsd_decay_steps": 8, "lr_wsd_decay_style": style})
        for style in ("exponential", "linear", "cosine", "minus_sqrt")
    ),
]
BASE = 0.01


def optimizers():
    weight = torch.zeros(1, requires_grad=True)
    yield "adamw", torch.optim.AdamW([weight], lr=BASE)
    yield "sgd", torch.optim.SGD([weight], lr=BASE, momentum=0.5)


def seen(optimizer):
    group = optimizer.param_groups[0]
    return [group["lr"], group["betas"][0] if "betas" in group else group["momentum"]]


def follow(optimizer, scheduler, metrics=False):
    settings = [seen(optimizer)]
    for step in range(STEPS - 1):
        optimizer.step()
        scheduler.step(LOSSES[step]) if metrics else scheduler.step()
        settings.append(seen(optimizer))
    return settings


def warm_up(optimizer, name, kwargs):
    import transformers

    make = {"CosineWarmupScheduler": transformers.get_cosine_schedule_with_warmup, "LinearWarmupScheduler": transformers.get_linear_schedule_with_warmup}
    return make[name](optimizer, **kwargs)


def megatron(step, lr_decay_steps, max_lr=BASE, init_lr=0.0, min_lr=0.0, lr_warmup_steps=0, lr_decay_style="cosine", wsd_decay_steps=None, lr_wsd_decay_style=None):
    if lr_warmup_steps > 0 and step <= lr_warmup_steps:
        return init_lr + (max_lr - init_lr) * float(step) / float(lr_warmup_steps)
    if lr_decay_style == "constant":
        return max_lr
    if step > lr_decay_steps:
        return min_lr
    if lr_decay_style == "inverse-square-root":
        return max(min_lr, max_lr * max(lr_warmup_steps, 1) ** 0.5 / max(step, 1) ** 0.5)
    ratio = float(step - lr_warmup_steps) / float(lr_decay_steps - lr_warmup_steps)
    if lr_decay_style == "linear":
        coefficient = 1.0 - ratio
    elif lr_decay_style == "cosine":
        coefficient = 0.5 * (math.cos(math.pi * ratio) + 1.0)
    else:
        begin = lr_decay_steps - wsd_decay_steps
        if step <= begin:
            coefficient = 1.0
        else:
            done = float(step - begin) / float(wsd_decay_steps)
            coefficient = {
                "linear": 1.0 - done,
                "cosine": 0.5 * (math.cos(math.pi * done) + 1.0),
                "exponential": 2.0 * math.pow(0.5, done) - 1.0,
                "minus_sqrt": 1.0 - math.sqrt(done),
            }[lr_wsd_decay_style]
    return min_lr + coefficient * (max_lr - min_lr)


cases = []
for rule in ("adamw", "sgd"):
    for name, kwargs in TORCH:
        optimizer = dict(optimizers())[rule]
        scheduler = getattr(lr_scheduler, name)(optimizer, **kwargs)
        cases.append({"name": name, "kwargs": kwargs, "rule": rule, "settings": follow(optimizer, scheduler, name == "ReduceLROnPlateau")})
for name, kwargs in WARM_UPS:
    optimizer = dict(optimizers())["adamw"]
    cases.append({"name": name, "kwargs": kwargs, "rule": "adamw", "settings": follow(optimizer, warm_up(optimizer, name, kwargs))})
for name, kwargs in MEGATRON:
    cases.append({"name": name, "kwargs": kwargs, "rule": "adamw", "settings": [[megatron(step, **kwargs), 0.9] for step in range(STEPS)]})

goldens = {"torch": torch.__version__, "base": BASE, "losses": LOSSES, "cases": cases}
lines = ",\n".join(json.dumps(case) for case in cases)
head = json.dumps({key: goldens[key] for key in ("torch", "base", "losses")})[1:-1]
(HERE / "schedulers.json").write_text(f'{{{head}, "cases": [\n{lines}\n]}}\n')
