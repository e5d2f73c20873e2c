"""Parts shared by several datasets; no file here is a plugin."""
