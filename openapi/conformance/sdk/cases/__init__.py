"""Every case, by theme. Importing a module registers its cases."""

from . import account, checkpoints, losses, methods_tour, refusals, rest, sampling, scripts, sessions, training  # noqa: F401

try:
    import torch  # noqa: F401
except ImportError:
    pass
else:
    from . import torch_losses  # noqa: F401
