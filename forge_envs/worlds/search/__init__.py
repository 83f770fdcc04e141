"""Research over an offline web: a full-text index, pages to read, questions with a proof."""
