"""A reward part from a model that judges: criteria, verdicts, and judges that are judged themselves."""
