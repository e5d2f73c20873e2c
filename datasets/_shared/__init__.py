"""What several datasets use; no file here is a plugin."""
