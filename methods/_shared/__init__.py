"""Parts shared by several methods; no file here is a plugin."""
