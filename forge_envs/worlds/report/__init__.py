"""Long reports over an offline web: an outline with citations, then sections out of the evidence it cites."""
