"""Records of finished runs: what one holds, where it lies, and the circumstances that it names."""
