"""Networks and their parts: backbones, batch norms, folding."""
