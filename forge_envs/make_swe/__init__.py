"""SWE tasks from packages: plant bugs, keep those that tests notice, write a swebench 5 task repository."""
