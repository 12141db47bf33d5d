"""Reference values of the catalogue's losses, by PyTorch in float64 with automatic derivatives.

    python losses.py > losses.json        # PyTorch 2.15.0

Written from the formulas of the papers, in the padded [batch, position] form that trainers use; nothing of the TypeScript
is used or copied. Stop-gradients are `detach`. Numbers that travel in float32 are multiples of 1/64, so that float32 has
them exactly.
"""

import json

import torch
from torch.nn.functional import log_softmax, logsigmoid, relu

torch.manual_seed(7)
F64 = torch.float64
LENGTHS = [7, 5, 6, 4]
FIRST = [2, 1, 3, 0]  # where the completion begins
B, T, K = len(LENGTHS), max(LENGTHS), 5


def grid(values):
    return (values * 64).round() / 64


MASK = torch.zeros(B, T, dtype=F64)
for row, (length, first) in enumerate(zip(LENGTHS, FIRST)):
    MASK[row, first : length - 1] = 1
LOGPS = -torch.rand(B, T, dtype=F64) * 4 - 0.02
OLD = grid(LOGPS + 0.5 * torch.randn(B, T, dtype=F64)).clamp(max=-1 / 64)
OLD[1, 2] = grid(LOGPS[1, 2]) + 25  # a ratio beyond what is computed with
REF = grid(LOGPS + 0.7 * torch.randn(B, T, dtype=F64)).clamp(max=-1 / 64)
ADVANTAGES = grid(torch.tensor([1.5, -0.75, 0.5, -1.25], dtype=F64))[:, None].expand(B, T).clone()
MIXED = grid(torch.randn(B, T, dtype=F64))
STUDENT = log_softmax(2 * torch.randn(B, T, 12, dtype=F64), -1)[..., :K].clone()
TEACHER = grid(log_softmax(2 * torch.randn(B, T, 12, dtype=F64), -1)[..., :K])

# --- means ---


def token_mean(x):
    return (x * MASK).sum() / MASK.sum()


def sequence_mean(x):
    return ((x * MASK).sum(1) / MASK.sum(1)).mean()


# --- policy losses ---


def log_ratio(p, old):
    return (p - (p.detach() if old is None else old)).clamp(-20, 20)


def clipped(p, a, old=OLD, epsilon=0.2, epsilon_high=None):
    r = log_ratio(p, old).exp()
    high = epsilon if epsilon_high is None else epsilon_high
    return -torch.minimum(r * a, r.clamp(1 - epsilon, 1 + high) * a)


def k3(p):
    return (REF - p).exp() - (REF - p) - 1


def cispo(p, a, old=OLD, high=0.2):
    return -(log_ratio(p, old).exp().clamp(max=1 + high).detach() * a * p)


def sapo(p, a, old=OLD, positive=1.0, negative=1.0):
    r = log_ratio(p, old).exp()
    tau = torch.where(a > 0, torch.tensor(positive, dtype=F64), torch.tensor(negative, dtype=F64))
    return -(4 / tau) * torch.sigmoid(tau * (r - 1)) * a


def gspo(p, a, old=OLD, epsilon=0.2, high=0.2):
    s = ((log_ratio(p, old) * MASK).sum(1, keepdim=True) / MASK.sum(1, keepdim=True)).exp()
    return -torch.minimum(s * a, s.clamp(1 - epsilon, 1 + high) * a)


# --- preferences: rows alternate, preferred first ---


def sums(x):
    total = (x * MASK).sum(1)
    return total[0::2], total[1::2]


def means(x):
    mean = (x * MASK).sum(1) / MASK.sum(1)
    return mean[0::2], mean[1::2]


def nll(p):
    return -(p * MASK)[0::2].sum() / MASK[0::2].sum()


def margins(p, reference=REF):
    (w, l), (rw, rl) = sums(p), sums(reference)
    return w - rw, l - rl


def dpo(p, beta=0.1, smoothing=0.0, reference=REF):
    a, b = margins(p, reference)
    m = beta * (a - b)
    return (-(1 - smoothing) * logsigmoid(m) - smoothing * logsigmoid(-m)).mean()


def ipo(p, beta):
    a, b = margins(p)
    return ((a - b - 1 / (2 * beta)) ** 2).mean()


def kto_pair(p, beta):
    a, b = margins(p)
    return (1 - torch.sigmoid(beta * a) + 1 - torch.sigmoid(-beta * b)).mean()


def hinge(p, beta):
    a, b = margins(p)
    return relu(1 - beta * (a - b)).mean()


def simpo(p, beta=2.5, gamma=0.5):
    w, l = means(p)
    return -logsigmoid(beta * (w - l) - gamma).mean()


def cpo(p, beta=0.1, bc=1.0):
    w, l = sums(p)
    return -logsigmoid(beta * (w - l)).mean() + bc * nll(p)


def orpo(p, weight=0.1):
    w, l = means(p)

    def odds(x):
        return torch.exp(x) / (1 - torch.exp(x))

    return nll(p) - weight * logsigmoid(torch.log(odds(w) / odds(l))).mean()


# --- distillation ---


def gkd(p, beta, temperature):
    s, t = log_softmax(p / temperature, -1), log_softmax(TEACHER / temperature, -1)

    def kl(a, b):
        return (a.exp() * (a - b)).sum(-1)

    if beta == 0:
        return token_mean(kl(t, s))
    if beta == 1:
        return token_mean(kl(s, t))
    m = (beta * t.exp() + (1 - beta) * s.exp()).log()
    return token_mean(beta * kl(t, m) + (1 - beta) * kl(s, m))


A, X = ADVANTAGES, MIXED
POLICY = ["old", "advantages"]
WITH_REF = [*POLICY, "ref"]
MIXED_IN = ["old", "mixed"]

CASES = [
    ("CrossEntropyLoss", {}, [], lambda p: token_mean(-p)),
    ("CrossEntropyLoss", {"reduction": "sum"}, [], lambda p: (-p * MASK).sum()),
    ("CrossEntropyLoss", {"dft": True}, [], lambda p: token_mean(-p.exp().detach() * p)),
    ("ChunkedCrossEntropyLoss", {"chunk_size": 64, "reduction": "sum"}, [], lambda p: (-p * MASK).sum()),
    ("LigerFusedLinearCrossEntropyLoss", {}, [], lambda p: (-p * MASK).sum()),
    ("GRPOLoss", {}, POLICY, lambda p: sequence_mean(clipped(p, A))),
    ("GRPOLoss", {"epsilon": 0.1, "epsilon_high": 0.4}, MIXED_IN, lambda p: sequence_mean(clipped(p, X, OLD, 0.1, 0.4))),
    ("GRPOLoss", {"beta": 0.04}, WITH_REF, lambda p: sequence_mean(clipped(p, A) + 0.04 * k3(p))),
    ("GRPOLoss", {"beta": 0.5}, ["advantages", "ref"], lambda p: sequence_mean(clipped(p, A, None) + 0.5 * k3(p))),
    ("PPOLoss", {}, MIXED_IN, lambda p: token_mean(clipped(p, X))),
    ("PPOLoss", {"loss_agg_mode": "seq-mean-token-mean"}, POLICY, lambda p: sequence_mean(clipped(p, A))),
    ("BNPOLoss", {"beta": 0.1}, WITH_REF, lambda p: token_mean(clipped(p, A) + 0.1 * k3(p))),
    (
        "DRGRPOLoss",
        {"max_completion_length": 32},
        POLICY,
        lambda p: (clipped(p, A) * MASK).sum() / (B * 32),
    ),
    ("CISPOLoss", {}, MIXED_IN, lambda p: token_mean(cispo(p, X))),
    ("CISPOLoss", {"epsilon": 0.5, "beta": 0.1}, WITH_REF, lambda p: token_mean(cispo(p, A, OLD, 0.5) + 0.1 * k3(p))),
    ("CISPOLoss", {}, ["advantages"], lambda p: token_mean(cispo(p, A, None))),
    ("SAPOLoss", {}, MIXED_IN, lambda p: sequence_mean(sapo(p, X))),
    (
        "SAPOLoss",
        {"tau_pos": 1.0, "tau_neg": 1.05, "beta": 0.2},
        WITH_REF,
        lambda p: sequence_mean(sapo(p, A, OLD, 1.0, 1.05) + 0.2 * k3(p)),
    ),
    ("SAPOLoss", {"tau_pos": 2.0}, ["advantages"], lambda p: sequence_mean(sapo(p, A, None, 2.0, 1.0))),
    ("GSPOLoss", {}, POLICY, lambda p: sequence_mean(gspo(p, A))),
    (
        "GSPOLoss",
        {"epsilon": 0.9, "epsilon_high": 8.0, "beta": 0.3},
        ["old", "mixed", "ref"],
        lambda p: sequence_mean(gspo(p, X, OLD, 0.9, 8.0) + 0.3 * k3(p)),
    ),
    ("DPOLoss", {}, ["ref"], lambda p: dpo(p)),
    ("DPOLoss", {"beta": 0.5, "label_smoothing": 0.1}, ["ref"], lambda p: dpo(p, 0.5, 0.1)),
    ("DPOLoss", {"sft_weight": 1.0}, ["ref"], lambda p: dpo(p) + nll(p)),
    ("DPOLoss", {"reference_free": True}, ["ref"], lambda p: dpo(p, reference=torch.zeros_like(p))),
    ("DPOLoss", {"loss_type": "hinge", "beta": 0.3}, ["ref"], lambda p: hinge(p, 0.3)),
    ("DPOLoss", {"loss_type": "ipo", "beta": 0.2}, ["ref"], lambda p: ipo(p, 0.2)),
    ("DPOLoss", {"loss_type": "kto_pair", "beta": 0.4}, ["ref"], lambda p: kto_pair(p, 0.4)),
    ("SimPOLoss", {}, [], lambda p: simpo(p)),
    ("SimPOLoss", {"beta": 1.0, "gamma": 1.5}, [], lambda p: simpo(p, 1.0, 1.5)),
    ("CPOLoss", {}, [], lambda p: cpo(p)),
    ("CPOLoss", {"beta": 0.3, "bc_coef": 0.0}, [], lambda p: cpo(p, 0.3, 0.0)),
    ("ORPOLoss", {}, [], lambda p: orpo(p)),
    ("ORPOLoss", {"lambda_orpo": 2.0}, [], lambda p: orpo(p, 2.0)),
    ("GKDLoss", {}, ["teacher"], lambda p: gkd(p, 0.5, 1.0)),
    ("GKDLoss", {"beta": 0.0}, ["teacher"], lambda p: gkd(p, 0.0, 1.0)),
    ("GKDLoss", {"beta": 1.0, "temperature": 2.0}, ["teacher"], lambda p: gkd(p, 1.0, 2.0)),
    ("GKDLoss", {"beta": 0.1, "temperature": 0.7}, ["teacher"], lambda p: gkd(p, 0.1, 0.7)),
]


# --- embeddings: groups of an anchor, its positive and negatives ---

EVEN = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
UNEVEN = [[0, 1], [2, 3, 4, 5], [6, 7, 8]]
VECTORS = torch.randn(12, 6, dtype=F64)


def infonce(x, groups, t=0.1, batch=True, hard=None, margin=None, qq=False, dd=False):
    e = x / x.norm(dim=1, keepdim=True)
    if hard:
        groups = [g[:2] + [g[2:][i % (len(g) - 2)] for i in range(hard)] for g in groups]
    losses = []
    for own in groups:
        anchor, positive = own[0], own[1]
        documents = [d for g in groups for d in g[1:]] if batch else own[1:]
        near = [e[anchor] @ e[d] for d in documents if d != positive]
        if qq:
            near += [e[anchor] @ e[g[0]] for g in groups if g[0] != anchor]
        best = e[anchor] @ e[positive]
        if margin is not None:
            near = [s for s in near if s <= best + margin]
        if dd:
            near += [e[positive] @ e[d] for d in documents if d != positive]
        losses.append(torch.logsumexp(torch.stack([best, *near]) / t, 0) - best / t)
    return torch.stack(losses).mean()


EMBEDDING_CASES = [
    ({}, EVEN, lambda x: infonce(x, EVEN)),
    ({"temperature": 0.5, "use_batch": False}, EVEN, lambda x: infonce(x, EVEN, 0.5, False)),
    ({"temperature": 0.3, "include_qq": True, "include_dd": True}, UNEVEN, lambda x: infonce(x, UNEVEN, 0.3, qq=True, dd=True)),
    (
        {"temperature": 0.2, "mask_fake_negative": True, "fake_neg_margin": 0.05, "include_qq": True},
        EVEN,
        lambda x: infonce(x, EVEN, 0.2, margin=0.05, qq=True),
    ),
    ({"hard_negatives": 3, "use_batch": False}, EVEN, lambda x: infonce(x, EVEN, batch=False, hard=3)),
    ({"hard_negatives": 1}, EVEN, lambda x: infonce(x, EVEN, hard=1)),
]


def embedding_case(kwargs, groups, loss):
    size = max(max(g) for g in groups) + 1
    x = VECTORS[:size].clone().requires_grad_(True)
    value = loss(x)
    value.backward()
    labels = [int(any(g[0] == i for g in groups)) for i in range(size)]
    return {"kwargs": kwargs, "labels": labels, "value": value.item(), "gradient": x.grad.tolist()}


def ragged(x):
    return [x[row, :length].tolist() for row, length in enumerate(LENGTHS)]


def case(name, kwargs, inputs, loss):
    p = (STUDENT if "teacher" in inputs else LOGPS).clone().requires_grad_(True)
    value = loss(p)
    value.backward()
    return {"loss": name, "kwargs": kwargs, "inputs": inputs, "value": value.item(), "gradient": ragged(p.grad)}


print(
    json.dumps(
        {
            "pytorch": torch.__version__.split("+")[0],
            "mask": ragged(MASK),
            "logps": ragged(LOGPS),
            "old": ragged(OLD),
            "ref": ragged(REF),
            "advantages": ragged(ADVANTAGES),
            "mixed": ragged(MIXED),
            "student": ragged(STUDENT),
            "teacher": ragged(TEACHER),
            "cases": [case(*c) for c in CASES],
            "vectors": VECTORS.tolist(),
            "embeddings": [embedding_case(*c) for c in EMBEDDING_CASES],
        },
        indent=None,
        separators=(",", ":"),
    )
)
