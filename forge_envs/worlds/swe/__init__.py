"""Real repositories in a sandbox: fix the issue, judged by hidden tests."""
