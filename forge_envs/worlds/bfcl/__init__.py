"""The Berkeley Function-Calling Leaderboard (BFCL): several turns over eight simulated systems."""
