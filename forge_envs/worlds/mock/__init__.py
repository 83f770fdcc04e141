"""The mock domain of τ²-bench: the smallest world in which the customer has tools too."""
