"""What several tests use: runs of seconds, made-up records, naive forms."""
