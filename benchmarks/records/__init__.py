"""Records of finished runs: their contents, their files, the environment that they name."""
