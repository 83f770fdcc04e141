"""Code contests: problems made from a seed, judged by what a program answers, outside the box it runs in."""
