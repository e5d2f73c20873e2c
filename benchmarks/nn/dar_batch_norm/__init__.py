"""DAR-BN, distribution-aware routing batch norm (Zada, Benou, Irani, ICML 2022), for any PyTorch model.

    from ltbench.benchmarks.nn.dar_batch_norm import NoiseAware, convert_batchnorm

    net = NoiseAware(convert_batchnorm(model))
    loss = cross_entropy(net(images, mask), labels)      # mask: bool (B,), true for noise images

Natural and noise images are normalised with separate statistics but share gamma and beta. Running statistics track only
natural images, so a trained model works with ordinary batch norms, and its state dict has the same keys. Shapes are
static: one graph serves every mask, nothing waits for the device, and `torch.compile(fullgraph=True)` works. Statistics
are float32 under autocast. Only torch is required.
"""

from .convert import NoiseAware, batchnorms, convert_batchnorm, copy_to_noise, noise_rows
from .layers import (
    AuxiliaryBatchNorm1d,
    AuxiliaryBatchNorm2d,
    AuxiliaryBatchNorm3d,
    DARBatchNorm1d,
    DARBatchNorm2d,
    DARBatchNorm3d,
)

__all__ = [
    "AuxiliaryBatchNorm1d",
    "AuxiliaryBatchNorm2d",
    "AuxiliaryBatchNorm3d",
    "DARBatchNorm1d",
    "DARBatchNorm2d",
    "DARBatchNorm3d",
    "NoiseAware",
    "batchnorms",
    "convert_batchnorm",
    "copy_to_noise",
    "noise_rows",
]
