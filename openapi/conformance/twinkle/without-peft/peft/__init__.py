"""Stands for peft, which needs PyTorch: the client's sampler module imports these names and uses them for nothing."""


class PeftConfig:
    pass


class LoraConfig(PeftConfig):
    pass
