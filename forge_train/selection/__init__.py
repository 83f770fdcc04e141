"""Of several plays of a task, which one is handed in? Selectors, which see no verdict, and their worth."""
