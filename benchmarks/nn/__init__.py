"""Network components: backbones, batch norms and batch-norm folding."""
