"""Training data made of what is there already: pages, stored episodes, thoughts. `forge-train data`."""
