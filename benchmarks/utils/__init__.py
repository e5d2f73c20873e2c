"""Small tools that know nothing of training: files, options, texts."""
