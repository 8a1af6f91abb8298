"""Batch normalisation that rests is a scaling and a shift: it can be a part of the layer before it."""

from collections import Counter

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(module: nn.Module) -> tuple[fx.GraphModule, int]:
    """The same network with less to compute, and how many normalisations were folded.

    A normalisation is folded where it takes what a convolution or dense layer gives, both are called once, and nobody
    else reads that layer. The module stays as it is; the new one shares with it the layers that are not changed.

    Args:
        module: A network in eval mode.

    Raises:
        Exception: Whatever the forward pass raises when it is traced; one that decides by what is in its input does.

    Reference: Jacob et al., Quantization and training of neural networks, CVPR 2018, section 3.2.
    """
    traced = fx.symbolic_trace(module)
    called = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    layers = dict(traced.named_modules(remove_duplicate=False))
    folded = 0
    for node in [*traced.graph.nodes]:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        fused = _fused(layers[str(before.target)], layers[str(node.target)])
        if fused is None or called[before.target] > 1 or called[node.target] > 1:
            continue
        traced.set_submodule(str(before.target), fused)
        layers[str(before.target)] = fused
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
        folded += 1
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced, folded


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """One layer for two; ``None`` where they do not make one."""
    if not isinstance(norm, _NORMS) or norm.running_mean is None:
        return None
    if isinstance(layer, _CONVOLUTIONS):
        return fuse_conv_bn_eval(layer, norm)
    if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        return fuse_linear_bn_eval(layer, norm)
    return None
