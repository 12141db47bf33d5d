"""Every case, by theme. Importing a module registers its cases."""

from . import (  # noqa: F401
    account,
    checkpoints,
    cli,
    large,
    losses,
    methods_tour,
    refusals,
    rest,
    sampling,
    scripts,
    sessions,
    training,
)

try:
    import torch  # noqa: F401
except ImportError:
    pass
else:
    from . import torch_losses  # noqa: F401
