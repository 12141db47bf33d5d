"""Stands in for PyTorch where an SDK imports it as it loads, though nothing that a case does needs it (before 0.8).

It is enough for `import torch` and for `isinstance(value, torch.Tensor)`, and computes nothing. On the path of those SDKs only.
"""


class Tensor:
    """No value is one of these."""
