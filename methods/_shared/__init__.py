"""What several methods use; no file here is a plugin."""
