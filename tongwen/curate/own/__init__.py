"""Rules and scorers that users add: values of their own, as columns like the others."""
