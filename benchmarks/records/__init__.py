"""Records of finished runs: schema, files, and the environment of a run."""
