"""Two or more evaluations of the same items: which model is better, and how sure that is."""
